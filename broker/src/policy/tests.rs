//! The example policies decide what their comments say; bad ones are refused in good words.

use std::{collections::BTreeSet, fs, path::Path};

use jeton_domain::{
    approval::GroupName,
    decision::{Delivery, Question, Rules, Verdict},
    principal::{PrincipalId, PrincipalKind},
    scope::{Action, Scope, Upstream},
    ttl::{Timestamp, Ttl},
};

use super::{Policies, PolicySet, Vocabulary};

mod slices;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policies");
const NOON: i64 = 1_790_251_200;

fn vocabulary() -> Vocabulary {
    let known = [("git", "contents:read contents:write"), ("orders", "orders:read orders:write")];
    let known = known.map(|(upstream, actions)| {
        let actions = actions.split(' ').map(|action| Action::parse(action).unwrap()).collect();
        (Upstream::parse(upstream).unwrap(), actions)
    });
    Vocabulary::new(&known)
}

fn id(name: &str) -> PrincipalId {
    PrincipalId::parse(&format!("spiffe://dev.jeton.local/{name}")).unwrap()
}

struct Ask<'a> {
    set: &'a PolicySet,
    agent: &'a str,
    person: Option<&'a str>,
    ttl: u32,
    approvals: &'a [&'a str],
}

impl Ask<'_> {
    fn of(set: &PolicySet) -> Ask<'_> {
        Ask { set, agent: "agent/build-1", person: None, ttl: 600, approvals: &[] }
    }

    /// The answer in one line: `+ids`, `-ids(groups)`, `nothing` or `error ids`.
    fn about(&self, scope: &str) -> String {
        let scope = Scope::parse(scope).unwrap();
        let approvals: BTreeSet<_> = self.approvals.iter().map(|name| GroupName::new(name)).collect();
        let person = self.person.map(id);
        let question = Question {
            agent: &id(self.agent),
            person: person.as_ref(),
            scope: &scope,
            action: scope.actions.iter().next().unwrap(),
            ttl: Ttl::from_seconds(self.ttl).unwrap(),
            delivery: Delivery::Direct,
            approvals: &approvals,
            now: Timestamp::from_seconds(NOON),
        };
        line(&self.set.judge(&question))
    }
}

fn line(verdict: &Verdict) -> String {
    let join = |ids: &[jeton_domain::decision::PolicyId]| {
        ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    match verdict {
        Verdict::Allow(ids) => format!("+{}", join(ids)),
        Verdict::Forbid(guards) => {
            let guard = |guard: &jeton_domain::approval::Guard| {
                let groups: Vec<_> = guard.groups.iter().map(GroupName::as_str).collect();
                format!("-{}({})", guard.policy, groups.join(" "))
            };
            guards.iter().map(guard).collect::<Vec<_>>().join(" ")
        }
        Verdict::Nothing => "nothing".into(),
        Verdict::Error(ids) => format!("error {}", join(ids)),
    }
}

fn examples() -> PolicySet {
    PolicySet::load(Path::new(EXAMPLES), &vocabulary())
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn refused(texts: &[(&str, &str)]) -> Vec<String> {
    let problems = PolicySet::from_sources(texts, &vocabulary()).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_examples_let_builders_read_acme_and_write_where_agents_write() {
    let set = examples();
    let ask = Ask::of(&set);
    for (scope, answer) in [
        ("git:acme/unlisted contents:read", "+builders-read"),
        ("orders:acme/live orders:read", "+builders-read"),
        ("git:other/api contents:read", "nothing"),
        ("git:acme contents:read", "nothing"),
        ("git:acme/api contents:write ref=agent/fix-1", "+builders-write-code"),
        ("git:acme/api contents:write ref=agent/**", "+builders-write-code"),
        ("git:acme/api contents:write ref=main", "-only-agent-refs()"),
        ("git:acme/api contents:write ref=ma*", "-only-agent-refs()"),
        ("git:acme/api contents:write ref=**", "-only-agent-refs()"),
        ("git:acme/api contents:write", "-only-agent-refs()"),
        ("git:acme/payments contents:write ref=agent/x", "-prod-writes-need-security(security)"),
        ("git:acme/payments contents:write ref=main", "-only-agent-refs() -prod-writes-need-security(security)"),
        ("github:acme/payments contents:write ref=agent/x", "-prod-writes-need-security(security)"),
        ("git:acme/api pull_requests:write ref=agent/x", "nothing"),
        ("git:acme/api contents:made-up", "nothing"),
        ("nowhere:acme/api contents:read", "nothing"),
    ] {
        assert_eq!(ask.about(scope), answer, "{scope}");
    }
    let late = Ask { ttl: 901, ..Ask::of(&set) };
    assert_eq!(late.about("git:acme/api contents:write ref=agent/x"), "nothing");
    let stranger = Ask { agent: "robot", ..Ask::of(&set) };
    assert_eq!(stranger.about("git:acme/api contents:read"), "nothing");
    let approved = Ask { approvals: &["security"], ..Ask::of(&set) };
    assert_eq!(approved.about("git:acme/payments contents:write ref=agent/x"), "+builders-write-code");
    assert_eq!(approved.about("git:acme/payments contents:write ref=main"), "-only-agent-refs()");
    let orders = "orders:acme/test orders:write";
    assert_eq!(Ask { ttl: 300, ..Ask::of(&set) }.about(orders), "nothing");
    assert_eq!(Ask { ttl: 300, person: Some("person/cy"), ..Ask::of(&set) }.about(orders), "+builders-write-orders");
}

#[test]
fn a_refusal_tells_the_words_of_the_policy() {
    let set = examples();
    let guard = set.forbids().find(|guard| guard.policy.as_str() == "only-agent-refs").unwrap();
    assert_eq!(guard.reason.as_str(), "agents write to refs under agent/ only; ask with ref=agent/* and open a pull request");
}

#[test]
fn the_examples_let_orchestrators_and_the_platform_open_sessions() {
    use PrincipalKind::{Person, Workload};
    let set = examples();
    for (opener, kind, agent, person, hours, answer) in [
        ("orchestrator", Workload, "agent/build-1", None, 1, "+orchestrators-open"),
        ("orchestrator", Workload, "agent/build-1", Some("person/cy"), 1, "+orchestrators-open"),
        ("orchestrator", Workload, "agent/build-1", None, 13, "nothing"),
        ("orchestrator", Workload, "robot", None, 1, "nothing"),
        ("orchestrator", Person, "agent/build-1", None, 1, "nothing"),
        ("agent/build-1", Workload, "agent/build-1", None, 1, "nothing"),
        ("person/ana", Person, "robot", None, 100, "+platform-opens"),
        ("person/ana", Person, "robot", Some("person/ana"), 1, "+platform-opens"),
        ("person/ana", Person, "robot", Some("person/bo"), 1, "nothing"),
        ("person/ana", Workload, "robot", None, 1, "nothing"),
        ("person/bo", Person, "robot", None, 1, "nothing"),
    ] {
        let person = person.map(id);
        let (ttl, now) = (Ttl::from_seconds(hours * 3600).unwrap(), Timestamp::from_seconds(NOON));
        let verdict = set.may_open(&id(opener), kind, &id(agent), person.as_ref(), ttl, now);
        assert_eq!(line(&verdict), answer, "{opener} for {agent} with {person:?}");
    }
}

#[test]
fn every_problem_of_a_folder_is_told_with_its_place() {
    let found = refused(&[
        (
            "a.cedar",
            r#"permit (principal, action, resource);
@id("two words") permit (principal, action, resource);
@id("twice") permit (principal, action == Jeton::Action::"contents:read", resource);

@id("template") permit (principal == ?principal, action, resource);
@id("typo") permit (principal, action == Jeton::Action::"contents:raed", resource);
@id("context") permit (principal, action in Jeton::Action::"grant", resource) when { context.tll < 9 };
@id("team") permit (principal in Jeton::Team::"biulders", action in Jeton::Action::"read", resource);
@id("tier") permit (principal, action in Jeton::Action::"read", resource) when { resource.tier == "x" };
@id("by-name") forbid (principal, action in Jeton::Action::"read", resource == Jeton::Resource::"git:acme/api");
@id("by-case") forbid (principal, action in Jeton::Action::"read", resource in Jeton::Org::"git:Acme");
@id("lifted") permit (principal, action in Jeton::Action::"read", resource) when { context.approvals.contains(Jeton::Group::"x") };
@id("impossible") permit (principal, action in Jeton::Action::"read", resource) when { context.ttl < 9 && false };
"#,
        ),
        ("b.cedar", "\n@id(\"twice\") forbid (principal, action == Jeton::Action::\"contents:read\", resource);"),
        ("c.cedar", "@id(\"c\") permit (principal, action, resource)\n\nwhen { contxt.ttl };"),
        ("catalogue.toml", "upstream = [{ name = \"git\" }]\nresource = [{ upstream = \"git\", name = \"acme/api\", id = \"7\" }]\ntean = 1"),
    ]);
    assert_eq!(found.len(), 1 + 12 + 2, "{found:#?}");
}
