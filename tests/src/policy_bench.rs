//! The benchmark of deciding: what loading and one decision cost with few and with many policies over
//! one large catalogue.
//!
//! Each policy is about something of its own, as in a company where each team writes for itself: a team
//! in an organisation, a team at a resource, one agent, or a guard of an organisation. Three hold
//! everywhere. So about as many policies apply to a question in a small set as in a large one, and what
//! is measured is the cost of all the others.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use jeton_domain::{
    decision::{self, Decision, Delivery, GrantRequest, Standing},
    delegation::Chain,
    id::{Row, SessionId, Tag},
    principal::{Issuers, PrincipalId},
    revocation::Stops,
    scope::{Scope, ScopeBound},
    session::{Binding, Envelope, Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};
use jeton_policy::{PolicySet, Vocabulary};
use serde::Serialize;

use crate::reference::dice::Dice;

const TEAMS: usize = 200;
const ORGS: usize = 1_000;
/// Policies that hold for everybody.
const EVERYWHERE: usize = 3;
const FILES: usize = 20;
const NOW: i64 = 1_790_251_200;

/// What to measure.
pub struct Plan {
    /// Policies of each set; the first is what the others are compared with.
    pub policies: Vec<usize>,
    /// Resources of the catalogue.
    pub resources: usize,
    /// Decisions of each kind.
    pub decisions: usize,
}

/// What was measured.
#[derive(Serialize)]
pub struct Report {
    resources: usize,
    catalogue_mib: f64,
    decisions: usize,
    sets: Vec<Measured>,
    ratios: Vec<Ratio>,
}

/// One set. Times of decisions are nanoseconds.
#[derive(Serialize)]
struct Measured {
    policies: usize,
    load_ms: f64,
    /// What the set takes of the memory, once loaded.
    memory_mib: f64,
    /// An agent and a resource that were not seen before.
    unseen: Times,
    /// A ref and a life that were not asked for before, of an agent and a resource that were.
    fresh: Times,
    /// Just what was asked before.
    repeated: Times,
    allowed: usize,
    guarded: usize,
    denied: usize,
}

#[derive(Serialize, Clone, Copy)]
struct Times {
    p50_ns: f64,
    p99_ns: f64,
}

/// Medians of a set divided by those of the first.
#[derive(Serialize)]
struct Ratio {
    policies: usize,
    to: usize,
    unseen: f64,
    fresh: f64,
    repeated: f64,
}

impl Report {
    /// A table for people.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { resources, catalogue_mib, decisions, sets, ratios } = self;
        let mut text = format!(
            "{resources} resources ({catalogue_mib:.1} MiB of catalogue), {decisions} decisions of each kind; p50 / p99 in µs\n\n{:>8} {:>9} {:>10} {:>17} {:>17} {:>17}  {}\n",
            "policies",
            "load ms",
            "memory MiB",
            "unseen",
            "fresh",
            "repeated",
            "allowed/guarded/denied"
        );
        for set in sets {
            let Measured { policies, load_ms, memory_mib, allowed, guarded, denied, .. } = set;
            let times = [set.unseen, set.fresh, set.repeated]
                .map(|times| format!("{:.1} / {:.1}", times.p50_ns / 1e3, times.p99_ns / 1e3));
            let [unseen, fresh, repeated] = times;
            let _ = writeln!(
                text,
                "{policies:>8} {load_ms:>9.0} {memory_mib:>10.0} {unseen:>17} {fresh:>17} {repeated:>17}  {allowed}/{guarded}/{denied}"
            );
        }
        for Ratio { policies, to, unseen, fresh, repeated } in ratios {
            let _ = write!(
                text,
                "\n{policies} ÷ {to}: unseen {unseen:.2}, fresh {fresh:.2}, repeated {repeated:.2}"
            );
        }
        text
    }
}

/// Measures.
///
/// # Panics
/// When a set is refused.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let catalogue = catalogue(plan.resources);
    let sets: Vec<_> =
        plan.policies.iter().map(|count| measure(*count, plan, &catalogue)).collect();
    let first = &sets[0];
    let ratios = sets.iter().skip(1).map(|set| Ratio {
        policies: set.policies,
        to: first.policies,
        unseen: set.unseen.p50_ns / first.unseen.p50_ns,
        fresh: set.fresh.p50_ns / first.fresh.p50_ns,
        repeated: set.repeated.p50_ns / first.repeated.p50_ns,
    });
    let ratios = ratios.collect();
    Report {
        resources: plan.resources,
        catalogue_mib: catalogue.len() as f64 / f64::from(1 << 20),
        decisions: plan.decisions,
        sets,
        ratios,
    }
}

fn measure(count: usize, plan: &Plan, catalogue: &str) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), count, plan.resources, catalogue);
    let before = resident();
    let began = Instant::now();
    let set = PolicySet::load(folder.path(), &Vocabulary::default())
        .unwrap_or_else(|problems| panic!("{:?}", problems.first()));
    let load = began.elapsed();
    let memory = resident() - before;
    let mut dice = Dice::new(7);
    let subjects: Vec<_> =
        (0..plan.decisions).map(|_| Subject::throw(&mut dice, count, plan.resources)).collect();
    // The few that come again and again, as the agents of a day do.
    let few = &subjects[..plan.decisions.min(200)];
    let (mut allowed, mut guarded, mut denied) = (0, 0, 0);
    let unseen = times(subjects.iter().map(|subject| {
        let (took, decision) = subject.decide(&set, "agent/x", 600);
        match decision {
            Decision::Permit(_) => allowed += 1,
            Decision::NeedsApproval { .. } => guarded += 1,
            Decision::Deny(_) => denied += 1,
        }
        took
    }));
    let fresh = times((0..plan.decisions).map(|n| {
        let ttl = 1 + u32::try_from(n / few.len() % 599).unwrap();
        few[n % few.len()].decide(&set, &format!("agent/fix-{n}"), ttl).0
    }));
    // Why other lives than above: the memory of those questions is full by now.
    let set = PolicySet::load(folder.path(), &Vocabulary::default()).ok().unwrap();
    few.iter().for_each(|subject| drop(subject.decide(&set, "agent/x", 600)));
    let repeated =
        times((0..plan.decisions).map(|n| few[n % few.len()].decide(&set, "agent/x", 600).0));
    Measured {
        policies: count,
        load_ms: load.as_secs_f64() * 1e3,
        memory_mib: memory,
        unseen,
        fresh,
        repeated,
        allowed,
        guarded,
        denied,
    }
}

fn times(took: impl Iterator<Item = Duration>) -> Times {
    let mut took: Vec<_> = took.map(|took| took.as_secs_f64() * 1e9).collect();
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    Times { p50_ns: at(50), p99_ns: at(99) }
}

/// Who asks for what: in a session of its own, so that only the decision is measured.
struct Subject {
    session: Session,
    place: String,
}

impl Subject {
    /// One that a policy of the set is about.
    fn throw(dice: &mut Dice, policies: usize, resources: usize) -> Self {
        let about = About::of(dice.roll(policies - EVERYWHERE), resources);
        let agent = format!("spiffe://acme.dev/team-{}/agent-{}", about.team, dice.roll(500));
        let (upstream, action) = dice.pick(&[("git", "contents:read"), ("git", "contents:write")]);
        // One of the resources of the same organisation.
        let resource = about.org + ORGS * dice.roll(resources / ORGS);
        let resource = if dice.once_in(2) { about.resource } else { resource };
        let bound = format!("{upstream}:** contents:write");
        let name = |text: &str| PrincipalId::parse(text).unwrap();
        let session = Session {
            id: SessionId::new(Row::new(1).unwrap(), Tag([7; 10])),
            agent: name(&agent),
            person: Some(name("spiffe://acme.dev/person/ana")),
            opener: name("spiffe://acme.dev/orchestrator"),
            task: Words::default(),
            envelope: Envelope::new(vec![ScopeBound::parse(&bound).unwrap()], 10, 900).unwrap(),
            binding: Binding::Bearer,
            handle_hash: [0; 32],
            opened: Timestamp::from_seconds(NOW),
            deadline: Timestamp::from_seconds(NOW + 100_000),
            chain: Chain::default(),
            issuers: vec![],
        };
        Self { session, place: format!("{upstream}:{} {action}", name_of(resource)) }
    }

    fn decide(&self, set: &PolicySet, reference: &str, ttl: u32) -> (Duration, Decision) {
        let request = GrantRequest {
            scope: Scope::parse(&format!("{} ref={reference}", self.place)).unwrap(),
            ttl: Ttl::from_seconds(ttl),
            delivery: Delivery::Direct,
            deed: None,
            reason: Words::default(),
        };
        let (approvals, stops, issuers) = (BTreeSet::new(), Stops::default(), Issuers::default());
        let standing = Standing {
            session: &self.session,
            state: &SessionState::Open,
            approvals: &approvals,
            approved_by: &[],
            stops: &stops,
            issuers: &issuers,
            now: Timestamp::from_seconds(NOW),
        };
        let began = Instant::now();
        let decision = decision::decide(set, standing, &request);
        (began.elapsed(), decision)
    }
}

/// What a policy is about.
struct About {
    team: usize,
    org: usize,
    resource: usize,
}

impl About {
    fn of(policy: usize, resources: usize) -> Self {
        // Why mixed: by a plain multiple, policies a thousand apart would be about one team in one organisation,
        // and ten of them would apply where one should.
        let mixed = (policy ^ (policy >> 3)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let resource = (mixed >> 20) % resources;
        Self { team: policy % TEAMS, org: resource % ORGS, resource }
    }
}

fn name_of(resource: usize) -> String {
    format!("org-{}/repo-{resource}", resource % ORGS)
}

fn catalogue(resources: usize) -> String {
    let mut text = String::from(
        "[[upstream]]\nname = \"git\"\nactions = [\"contents:read\", \"contents:write\", \"contents:admin\"]\n[[group]]\nname = \"security\"\nmembers = [\"spiffe://acme.dev/person/bo\"]\n",
    );
    for team in 0..TEAMS {
        let _ = write!(
            text,
            "[[team]]\nname = \"team-{team}\"\n[[agent]]\nmatch = \"spiffe://acme.dev/team-{team}/*\"\nteams = [\"team-{team}\"]\ntrust = 3\n"
        );
    }
    for resource in 0..resources {
        let tier = if resource.is_multiple_of(10) { "prod" } else { "test" };
        let _ = write!(
            text,
            "[[resource]]\nupstream = \"git\"\nname = \"{}\"\nid = \"{}\"\ntier = \"{tier}\"\nowner = \"team-{}\"\n",
            name_of(resource),
            1_000_000 + resource,
            resource % TEAMS,
        );
    }
    text
}

/// Writes so many policies, in files as teams would.
fn write(folder: &Path, count: usize, resources: usize, catalogue: &str) {
    let mut files = vec![String::new(); FILES];
    files[0] = String::from(
        r#"@id("all-read") permit (principal, action in Jeton::Action::"read", resource) when { resource has tier && resource.tier == "test" && context.ttl <= 900 };
@id("agent-refs") forbid (principal, action == Jeton::Action::"contents:write", resource) unless { context has ref && context.ref like "agent/*" };
@id("prod-admin") forbid (principal, action in Jeton::Action::"admin", resource) when { resource has tier && resource.tier == "prod" } unless { context.approvals.contains(Jeton::Group::"security") };
"#,
    );
    for policy in 0..count - EVERYWHERE {
        let About { team, org, resource } = About::of(policy, resources);
        let file = &mut files[policy % FILES];
        let team = format!("Jeton::Team::\"team-{team}\"");
        let org = format!("Jeton::Org::\"git:org-{org}\"");
        let resource = format!("Jeton::Resource::\"{}\"", 1_000_000 + resource);
        let _ = match policy % 10 {
            0..4 => writeln!(
                file,
                "@id(\"p{policy}\") permit (principal in {team}, action in Jeton::Action::\"read\", resource in {org}) when {{ context.ttl <= 3600 }};"
            ),
            4..6 => writeln!(
                file,
                "@id(\"p{policy}\") permit (principal in {team}, action in [Jeton::Action::\"contents:write\", Jeton::Action::\"contents:read\"], resource == {resource}) when {{ context.ttl <= 900 && context has ref && context.ref like \"agent/*\" }};"
            ),
            6..8 => writeln!(
                file,
                "@id(\"p{policy}\") permit (principal in {team}, action == Jeton::Action::\"contents:write\", resource in {org}) when {{ context has person && context.ttl <= 600 }};"
            ),
            8 => writeln!(
                file,
                "@id(\"p{policy}\") permit (principal == Jeton::Agent::\"spiffe://acme.dev/team-{}/agent-{}\", action in Jeton::Action::\"write\", resource) when {{ resource has tier && resource.tier == \"test\" && context.ttl <= 300 }};",
                policy % TEAMS,
                policy / TEAMS,
            ),
            _ => writeln!(
                file,
                "@id(\"p{policy}\") forbid (principal, action in Jeton::Action::\"write\", resource in {org}) when {{ resource has tier && resource.tier == \"prod\" }} unless {{ context.approvals.contains(Jeton::Group::\"security\") }};"
            ),
        };
    }
    for (number, text) in files.iter().enumerate() {
        fs::write(folder.join(format!("team-{number}.cedar")), text).unwrap();
    }
    fs::write(folder.join("catalogue.toml"), catalogue).unwrap();
}

/// What this process has in memory, in MiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
