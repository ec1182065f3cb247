//! Policies that are reloaded over and over while others decide: each decision is made by one whole set
//! and names it, and a bad folder takes nobody's place.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use jeton_client::Client;
use jeton_domain::{
    audit::Event,
    decision::{Decision, Rules},
    grant::DecidedBy,
};
use jeton_policy::{Kept, Policies, PolicySet, Vocabulary};
use jeton_tests::{
    broker::{Broker, Caller},
    records::Records,
    reference::{
        self, Case,
        dice::Dice,
        policy::Book,
        real::{decide, load, plain},
    },
    spoil::spoilt,
};
use tokio::task::JoinSet;

/// Threads that decide.
const DECIDING: usize = 3;
/// Decisions of each thread at least.
const DECISIONS: usize = 1_000;
/// Reloads at least that found a set to put in force, and that were refused.
const RELOADS: usize = 100;

/// Two sets and what they answer.
struct Two {
    books: [Book; 2],
    cases: Vec<Case>,
}

impl Two {
    /// Throws sets until they answer half of the cases differently.
    fn throw(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        loop {
            let mut books = [dice.book(), dice.book()];
            // Why: so that nothing else refuses a mixture of both.
            books[1].facts = books[0].facts.clone();
            books.iter_mut().for_each(|book| drop(load(book)));
            let cases: Vec<_> = (0..200).map(|_| dice.case()).collect();
            let [one, other] = &books;
            let differ =
                |case: &&Case| reference::decide(one, case) != reference::decide(other, case);
            if cases.iter().filter(differ).count() > 100 {
                return Self { books, cases };
            }
        }
    }
}

/// Writes a folder of three files: a mixture of two such folders would be another set than both.
fn write(folder: &Path, book: &Book) {
    fs::create_dir(folder).unwrap();
    let cedar = book.cedar();
    let (one, other): (Vec<_>, Vec<_>) =
        cedar.lines().enumerate().partition(|(number, _)| number % 2 == 0);
    for (name, lines) in [("a.cedar", one), ("z.cedar", other)] {
        let text: String = lines.into_iter().map(|(_, line)| format!("{line}\n")).collect();
        fs::write(folder.join(name), text).unwrap();
    }
    fs::write(folder.join("catalogue.toml"), book.facts.toml()).unwrap();
}

/// Lets a link lead elsewhere, at once.
fn swap(link: &Path, to: &str) {
    let draft = link.with_file_name(".draft");
    symlink(to, &draft).unwrap();
    fs::rename(draft, link).unwrap();
}

fn loaded(folder: PathBuf, kept: PathBuf) -> Policies {
    Policies::load(folder, Kept::new(kept), Vocabulary::default()).unwrap()
}

#[test]
fn each_decision_of_a_reload_storm_is_made_by_one_set_and_names_it() {
    let seed = 5;
    println!("seed {seed}");
    let Two { books, cases } = Two::throw(seed);
    let home = tempfile::tempdir().unwrap();
    // As Kubernetes mounts a config map: each file is a link through one that is swapped.
    let folder = home.path().join("policies");
    fs::create_dir(&folder).unwrap();
    let hashes = [("one", &books[0]), ("other", &books[1])].map(|(name, book)| {
        write(&home.path().join(name), book);
        let set = PolicySet::load(&home.path().join(name), &Vocabulary::default());
        set.map_err(|problems| format!("{problems:?}")).unwrap().hash().to_owned()
    });
    let link = folder.join("..data");
    write(&folder.join("..0"), &books[0]);
    swap(&link, "..0");
    for name in ["a.cedar", "z.cedar", "catalogue.toml"] {
        symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
    }
    let policies = loaded(folder.clone(), home.path().join("kept"));

    let over = AtomicBool::new(false);
    let (decided, swaps) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let by: Mutex<BTreeMap<usize, usize>> = Mutex::default();
    let swapping = || {
        let mut dice = Dice::new(seed);
        while !over.load(Ordering::Relaxed) {
            let number = swaps.fetch_add(1, Ordering::Relaxed) + 1;
            let next = format!("..{number}");
            write(&folder.join(&next), &books[dice.roll(2)]);
            if dice.once_in(3) {
                fs::write(folder.join(&next).join("z.cedar"), "permit (").unwrap();
            }
            swap(&link, &next);
            // The one before may still be read; the one before that goes, as Kubernetes takes it away.
            if let Some(old) = number.checked_sub(2) {
                fs::remove_dir_all(folder.join(format!("..{old}"))).unwrap();
            }
        }
    };
    let reloading = || {
        let (mut good, mut bad) = (0, 0);
        while good < RELOADS || bad < RELOADS || decided.load(Ordering::Relaxed) < DECIDING {
            let before = policies.current().hash().to_owned();
            match policies.read() {
                Ok(set) => {
                    assert!(hashes.contains(&set.hash().to_owned()), "a set of two folders");
                    policies.put(set);
                    good += 1;
                }
                Err(problems) => {
                    assert!(!problems.is_empty());
                    assert_eq!(policies.current().hash(), before);
                    bad += 1;
                }
            }
        }
        println!("{good} sets put in force, {bad} folders refused");
    };
    let deciding = |number: usize| {
        let mut dice = Dice::new(number as u64);
        let mut count = 0;
        let mut seen = BTreeMap::new();
        while !over.load(Ordering::Relaxed) {
            let case = &cases[dice.roll(cases.len())];
            let decision = decide(&policies.current(), case);
            let hash = &decided_by(&decision).policy_hash;
            let which = hashes.iter().position(|known| *known == **hash);
            let which = which.unwrap_or_else(|| panic!("by {hash}, which is neither"));
            assert_eq!(plain(&decision), reference::decide(&books[which], case), "{case:#?}");
            *seen.entry(which).or_default() += 1;
            count += 1;
            if count == DECISIONS {
                decided.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut by = by.lock().unwrap();
        seen.into_iter().for_each(|(which, count): (usize, usize)| {
            *by.entry(which).or_default() += count;
        });
    };
    // Why in any case: a thread that failed must not let the others wait.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(swapping);
        (0..DECIDING).for_each(|number| drop(scope.spawn(move || deciding(number))));
        let _ends = Ends(&over);
        reloading();
    });
    let by = by.into_inner().unwrap();
    println!("decisions by each set: {by:?}, {swaps:?} swaps");
    assert!(by.len() == 2 && by.values().all(|count| *count > DECISIONS / 10), "{by:?}");
}

fn decided_by(decision: &Decision) -> &DecidedBy {
    match decision {
        Decision::Permit(permit) => permit.decided_by(),
        Decision::NeedsApproval { decided_by, .. } => decided_by,
        Decision::Deny(denial) => &denial.decided_by,
    }
}

/// Grants that are asked for while the broker's folder is swapped.
const REQUESTS: usize = 1_000;
/// Requests under way at once.
const AT_ONCE: usize = 40;
const WIDE: &str = "git:acme/api contents:write ref=agent/x";
const NARROW: &str = "git:acme/api contents:write ref=agent/safe/x";

/// A broker whose folder is a link to `one`, beside `other` and `bad`.
fn linked() -> Broker {
    Broker::start_with(|data| {
        let folder = data.join("policies");
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
        fs::rename(&folder, data.join("one")).unwrap();
        for copy in ["other", "bad"] {
            fs::create_dir(data.join(copy)).unwrap();
            for file in &files {
                let name = file.file_name();
                fs::copy(data.join("one").join(&name), data.join(copy).join(&name)).unwrap();
            }
        }
        edit(&data.join("other/agents.cedar"), "builders-write-code", "builders-write-safe");
        edit(&data.join("other/agents.cedar"), "\"agent/*\"", "\"agent/safe/*\"");
        edit(&data.join("bad/agents.cedar"), "@id(\"builders-read\")", "");
        swap(&folder, "one");
    })
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Goes over to a folder, and tells the hash that is in force then.
async fn over_to(broker: &Broker, operator: &Client, name: &str) -> String {
    let before = operator.policies().await.unwrap().hash;
    swap(&broker.data().join("policies"), name);
    let done = operator.reload_policies().await.unwrap();
    assert_eq!(done.problems.is_empty(), name != "bad", "{name}: {done:?}");
    if name == "bad" {
        assert_eq!((done.changed, &done.hash), (false, &before), "a bad folder replaces nothing");
    }
    done.hash
}

async fn asks(agent: Caller, first: usize) -> usize {
    let mut granted = 0;
    for number in (first..REQUESTS).step_by(AT_ONCE) {
        let scope = if number.is_multiple_of(3) { NARROW } else { WIDE };
        granted += usize::from(agent.requests(scope).await.is_ok());
    }
    granted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_decides_each_of_a_thousand_grants_by_one_set_while_its_folder_is_swapped() {
    let mut broker = linked();
    let operator = broker.client("ana").await;
    let (agent, _) = broker.agent_with(&["git:acme/* contents:write"]).await;
    let one = over_to(&broker, &operator, "one").await;
    let other = over_to(&broker, &operator, "other").await;
    assert_ne!(one, other);
    let mut asking = JoinSet::new();
    (0..AT_ONCE).for_each(|number| drop(asking.spawn(asks(agent.clone(), number))));
    let mut granted = 0;
    let mut reloads = 0;
    let folders = ["one", "bad", "other", "bad"];
    while !asking.is_empty() {
        let hash = over_to(&broker, &operator, folders[reloads % folders.len()]).await;
        assert!([&one, &other].contains(&&hash), "{hash}");
        reloads += 1;
        while let Some(done) = asking.try_join_next() {
            granted += done.unwrap();
        }
    }

    // Why: denials beyond the log budget are counted, and a stop writes the counts.
    drop((agent, operator));
    broker.stop();
    let mut by: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let (mut found, mut refused) = (0, 0);
    for event in Records::open(broker.data()).events() {
        let (scope, decided_by, kind) = match event {
            Event::Issued { about, .. } => (about.scope, about.decided_by, "issued"),
            Event::Denied { scope, decided_by, .. } => (scope, decided_by, "denied"),
            Event::PolicyLoaded { policy_hash, refused: why } => {
                assert!([&one, &other].contains(&&policy_hash), "{policy_hash}");
                refused += usize::from(why.is_some());
                continue;
            }
            Event::DenialsSummarized { counts, .. } => {
                let summarized: u64 = counts.iter().map(|one| one.count).sum();
                *by.entry(("other", "denied")).or_default() += usize::try_from(summarized).unwrap();
                continue;
            }
            _ => continue,
        };
        let is_one = *decided_by.policy_hash == *one;
        assert!(is_one || *decided_by.policy_hash == *other, "{decided_by:?}");
        let narrow = scope.to_string() == NARROW;
        assert!(narrow || scope.to_string() == WIDE, "{scope}");
        let wanted = if is_one || narrow { "issued" } else { "denied" };
        assert_eq!(kind, wanted, "{scope} by {decided_by:?}");
        let ids: Vec<_> = decided_by.policies.iter().map(|id| id.as_str()).collect();
        let writes = if is_one { "builders-write-code" } else { "builders-write-safe" };
        let wanted: &[&str] = if kind == "issued" { &[writes] } else { &[] };
        assert_eq!(ids, wanted, "{scope} by {decided_by:?}");
        found += usize::from(kind == "issued");
        *by.entry((if is_one { "one" } else { "other" }, kind)).or_default() += 1;
    }
    println!("{reloads} reloads, {refused} refused; {by:?}");
    assert_eq!(by.values().sum::<usize>(), REQUESTS);
    assert_eq!(found, granted, "what was answered is what is recorded");
    assert!(by.len() == 3 && by.values().all(|count| *count > 20), "{by:?}");
    assert!(refused > 4, "{refused}");
}

/// Folders that one broker meets, one after the other.
const MET: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_meets_spoilt_folders_goes_on_with_the_last_good_set() {
    println!("seeds 0 to {MET}");
    let broker = linked();
    let data = broker.data().to_owned();
    let operator = broker.client("ana").await;
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let names = ["agents.cedar", "catalogue.toml", "limits.cedar", "sessions.cedar"];
    let files = names.map(|name| fs::read(data.join("one").join(name)).unwrap());
    let (mut hash, mut good, mut decided) = (operator.policies().await.unwrap().hash, 0, 0);
    for seed in 0..MET {
        let mut dice = Dice::new(seed);
        let which = dice.roll(files.len());
        let spoilt = spoilt(&mut dice, &files, which);
        let folder = format!("met-{seed}");
        fs::create_dir(data.join(&folder)).unwrap();
        for (place, (name, file)) in names.iter().zip(&files).enumerate() {
            let bytes = if place == which { &spoilt } else { file };
            fs::write(data.join(&folder).join(name), bytes).unwrap();
        }
        swap(&data.join("policies"), &folder);
        let done = operator.reload_policies().await.unwrap();
        if done.problems.is_empty() {
            good += 1;
            hash = done.hash;
        } else {
            assert_eq!(done.hash, hash, "seed {seed}: a bad folder replaces nothing");
        }
        assert_eq!(operator.policies().await.unwrap().hash, hash, "seed {seed}");
        // Some good sets permit nothing any more.
        if let Ok(answer) = agent.requests("git:acme/api contents:read").await {
            assert_eq!(answer.grant.unwrap().policy_hash, hash, "seed {seed}");
            decided += 1;
        }
    }
    println!("{good} good, {decided} grants");
    assert!((10..MET - 50).contains(&good) && decided > MET / 2, "{good}, {decided}");
}
