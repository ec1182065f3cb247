//! Policy files as they come when an editor, a merge or a disk went wrong: cut off at every byte, and
//! spoilt in ten thousand ways. Loading tells where, or makes a good set; it never panics or hangs,
//! and what is no good never takes the place of what is in force.
//!
//! `JETON_CASES` sets how many are spoilt, `JETON_SEED` where to begin.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jeton_domain::{
    decision::{Delivery, Question, Rules, Verdict},
    delegation::Chain,
    principal::PrincipalId,
    scope::Scope,
    ttl::{Timestamp, Ttl},
};
use jeton_policy::{Kept, Policies, PolicyProblem, PolicySet, Vocabulary};
use jeton_tests::{reference::dice::Dice, spoil::spoilt};
use tempfile::TempDir;

const THREADS: usize = 2;
const CATALOGUE: &str = "catalogue.toml";
/// Not read by the broker: it has its own. A folder with only that has no policy.
const SCHEMA: &str = "jeton.cedarschema";
/// Longest time for one folder. Why so long: other tests run beside this one.
const PATIENCE: Duration = Duration::from_secs(20);
const QUESTIONS: [&str; 5] = [
    "git:acme/api contents:read",
    "git:acme/api contents:write ref=agent/x",
    "git:acme/payments contents:write ref=agent/x",
    "orders:acme/shop orders:write",
    "git:other/api contents:read",
];

/// A folder of policies that is in force.
struct Running {
    home: TempDir,
    policies: Policies,
    /// The hash of the examples as they are.
    first: String,
    names: Vec<String>,
    files: Vec<Vec<u8>>,
}

impl Running {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("policies");
        fs::create_dir(&folder).unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies");
        let names = fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().file_name());
        let names: BTreeSet<_> = names.map(|name| name.into_string().unwrap()).collect();
        let names = Vec::from_iter(names);
        let files: Vec<_> =
            names.iter().map(|name| fs::read(examples.join(name)).unwrap()).collect();
        for (name, bytes) in names.iter().zip(&files) {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let kept = Kept::new(home.path().join("kept"));
        let policies = Policies::load(folder, kept, Vocabulary::default()).unwrap();
        let first = policies.current().hash().to_owned();
        Self { home, policies, first, names, files }
    }

    /// Fills the folder, or leaves only the catalogue beside one file of policies. Why that: what the
    /// others cost is paid again for each case.
    fn filled(&self, alone: Option<usize>) {
        let alone = alone.filter(|which| self.names[*which].ends_with(".cedar"));
        for (place, (name, bytes)) in self.names.iter().zip(&self.files).enumerate() {
            let path = self.home.path().join("policies").join(name);
            if alone.is_none_or(|which| which == place) || name == CATALOGUE {
                fs::write(path, bytes).unwrap();
            } else if path.exists() {
                fs::remove_file(path).unwrap();
            }
        }
    }

    /// Puts other bytes in the place of a file, as a reload would find them. Tells whether they made a
    /// good set.
    fn meets(&self, which: usize, bytes: &[u8]) -> bool {
        let path = self.home.path().join("policies").join(&self.names[which]);
        fs::write(&path, bytes).unwrap();
        let (before, answers) = (self.policies.current(), answers(&self.policies.current()));
        let began = Instant::now();
        let read = self.policies.read();
        assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
        let good = match read {
            Ok(set) => {
                assert!(self.names[which] != SCHEMA || set.hash() == self.first);
                assert_whole(&set, path.parent().unwrap());
                let hash = set.hash().to_owned();
                self.policies.put(set);
                assert_eq!(self.policies.current().hash(), hash);
                true
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "refused without a word");
                problems.iter().for_each(|problem| self.assert_placed(problem, which, bytes));
                assert!(
                    Arc::ptr_eq(&before, &self.policies.current()),
                    "what was in force is gone"
                );
                false
            }
        };
        assert!(good || answers == self::answers(&self.policies.current()));
        fs::write(&path, &self.files[which]).unwrap();
        good
    }

    /// Every problem has its file and line, but for those of a file as a whole.
    fn assert_placed(&self, problem: &PolicyProblem, which: usize, bytes: &[u8]) {
        let place = self.names.iter().position(|name| *name == problem.file);
        let place = place.unwrap_or_else(|| panic!("in no file: {problem}"));
        let bytes = if place == which { bytes } else { &self.files[place] };
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
        match problem.line {
            Some(line) => assert!((1..=lines).contains(&line), "of {lines} lines: {problem}"),
            None => {
                assert!(problem.message.contains("is larger than"), "without a line: {problem}")
            }
        }
    }
}

/// A set that loaded is of all its files as they are, and has an answer to every question.
fn assert_whole(set: &PolicySet, folder: &Path) {
    for source in set.sources() {
        let text = fs::read_to_string(folder.join(&source.name)).unwrap();
        assert!(text == source.text, "{} is not what was loaded", source.name);
    }
    let broken = |verdict: &Verdict| matches!(verdict, Verdict::Error(_));
    assert!(!answers(set).iter().any(broken), "a good set can't answer");
}

fn answers(set: &PolicySet) -> Vec<Verdict> {
    let agent = PrincipalId::parse("spiffe://dev.jeton.local/agent/build-42").unwrap();
    let ask = |text: &&str| {
        let scope = Scope::parse(text).unwrap();
        set.judge(&Question {
            agent: &agent,
            person: Some(&agent),
            chain: &Chain::default(),
            scope: &scope,
            action: scope.actions.iter().next().unwrap(),
            ttl: Ttl::from_seconds(60).unwrap(),
            delivery: Delivery::Direct,
            deed: None,
            approvals: &BTreeSet::new(),
            now: Timestamp::from_seconds(0),
        })
    };
    QUESTIONS.iter().map(ask).collect()
}

/// Runs so many cases on two threads, each with a folder of its own; counts the good ones.
fn all(first: u64, count: u64, case: impl Fn(&Running, u64) -> bool + Sync) -> usize {
    let (next, good) = (AtomicU64::new(first), AtomicUsize::new(0));
    let work = || {
        let running = Running::start();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= first + count {
                return;
            }
            good.fetch_add(usize::from(case(&running, number)), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    good.into_inner()
}

/// Says which case it was when something is wrong with it.
fn told<T>(words: impl FnOnce() -> String, case: impl FnOnce() -> T) -> T {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(case))
        .unwrap_or_else(|_| panic!("above: {}", words()))
}

#[test]
fn a_file_cut_off_anywhere_is_refused_with_its_place_or_is_a_good_set() {
    let Running { names, files, .. } = Running::start();
    let mut cuts = vec![];
    for (which, (name, file)) in names.iter().zip(&files).enumerate() {
        // Why not everywhere: nobody looks into that one.
        let step = if name == SCHEMA { 64 } else { 1 };
        cuts.extend((0..file.len()).step_by(step).map(|at| (which, at)));
    }
    let good = all(0, cuts.len() as u64, |running, number| {
        let (which, at) = cuts[number as usize];
        let words = || format!("{} cut off at {at}", names[which]);
        running.filled(Some(which));
        told(words, || running.meets(which, &files[which][..at]))
    });
    println!("{} places, {good} of them between policies or in comments", cuts.len());
    assert!((300..cuts.len() - 3_000).contains(&good), "{good}");
}

#[allow(clippy::disallowed_methods, reason = "the size of a test is set from outside")]
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

#[test]
fn a_file_spoilt_in_any_way_is_refused_with_its_place_or_is_a_good_set() {
    let (count, first) = (number("JETON_CASES", 10_000), number("JETON_SEED", 0));
    println!("seeds {first} to {}", first + count);
    let good = all(first, count, |running, seed| {
        let mut dice = Dice::new(seed);
        let mut which = dice.roll(running.files.len());
        if running.names[which] == SCHEMA && !dice.once_in(8) {
            which = 0;
        }
        let bytes = spoilt(&mut dice, &running.files, which);
        let name = &running.names[which];
        running.filled((!dice.once_in(8)).then_some(which));
        told(|| format!("JETON_SEED={seed}, {name}"), || running.meets(which, &bytes))
    });
    println!("{good} of {count} are good all the same");
    assert!((count as usize / 10..count as usize * 6 / 10).contains(&good), "{good} of {count}");
}
