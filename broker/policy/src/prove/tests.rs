//! Proofs about the shipped policies, and about ones that are broken on purpose.

use std::{fs, path::Path, time::Duration};

use super::*;
use crate::{Vocabulary, problem::Source};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

fn solver() -> Solver {
    Solver::new("cvc5".into(), Duration::from_secs(60)).expect("tests/setup installs cvc5")
}

/// The shipped policies, with one text in place of another.
fn shipped(from: &str, to: &str) -> PolicySet {
    let mut changed = from.is_empty();
    let mut texts = Vec::new();
    for file in fs::read_dir(Path::new(DEPLOY).join("policies")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        changed |= text.contains(from);
        let text = if from.is_empty() { text } else { text.replace(from, to) };
        texts.push((name, text));
    }
    assert!(changed, "{from}");
    texts.retain(|(name, _)| !name.ends_with("schema"));
    let texts: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let set = PolicySet::from_sources(&texts, &Vocabulary::default());
    set.unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A set of few words: an upstream, two actions, some facts.
fn small(policies: &str) -> PolicySet {
    let catalogue = r#"
team = [{ name = "builders" }]
upstream = [{ name = "git", actions = ["contents:read", "contents:write"] }]
resource = [{ upstream = "git", name = "acme/payments", id = "7", tier = "prod", labels = ["pci"] }]
agent = [{ match = "a/*", teams = ["builders"], trust = 4 }]
group = [{ name = "security", members = ["ana"] }]
"#;
    let texts = [("catalogue.toml", catalogue), ("p.cedar", policies)];
    let set = PolicySet::from_sources(&texts, &Vocabulary::default());
    set.unwrap_or_else(|problems| panic!("{policies}: {problems:#?}"))
}

fn text_of(name: &str, text: &str) -> Source {
    Source { name: name.into(), text: text.into() }
}

/// What comes of one property.
fn judged(set: &PolicySet, property: &str) -> Verdict {
    let text = format!("@id(\"p\") @reason(\"r\") {property};");
    let properties = Properties::read(text_of("p.cedar", &text), set);
    let properties = properties.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    prove(set, &properties, &solver()).remove(0).verdict
}

fn refuted(verdict: Verdict) -> CounterExample {
    let Verdict::Refuted(example) = verdict else { panic!("{verdict:?}") };
    *example
}

fn ids(ids: &[PolicyId]) -> Vec<&str> {
    ids.iter().map(PolicyId::as_str).collect()
}

const READ: &str = "@id(\"read\") permit (principal in Jeton::Team::\"builders\", action in Jeton::Action::\"read\", resource);";
const WRITE: &str = "@id(\"write\") permit (principal in Jeton::Team::\"builders\", action in Jeton::Action::\"write\", resource in Jeton::Org::\"git:acme\");";
const GUARD: &str = "@id(\"guard\") forbid (principal, action in Jeton::Action::\"write\", resource is Jeton::Resource) when { resource has tier && resource.tier == \"prod\" } unless { context.approvals.contains(Jeton::Group::\"security\") };";

#[test]
fn the_shipped_policies_have_the_shipped_properties_and_broken_ones_have_not() {
    let whole = shipped("", "");
    let file = Path::new(DEPLOY).join("policy-properties.cedar");
    let told = |set: &PolicySet| {
        let properties = Properties::load(&file, set);
        prove(set, &properties.unwrap_or_else(|problems| panic!("{problems:#?}")), &solver())
    };
    for proof in told(&whole) {
        assert!(matches!(proof.verdict, Verdict::Proved { .. }), "{proof:#?}");
    }
    let broken = [
        (r#"resource.tier == "prod""#, r#"resource.tier == "production""#),
        (
            r#"context.approvals.contains(Jeton::Group::"security")"#,
            r#"context.approvals.contains(Jeton::Group::"security") || context.ttl <= 5"#,
        ),
    ];
    for (from, to) in broken {
        let proofs = told(&shipped(from, to));
        for proof in proofs {
            let expected = proof.id.as_str().ends_with("-need-security");
            if !expected {
                assert!(matches!(proof.verdict, Verdict::Proved { .. }), "{to}: {proof:#?}");
                continue;
            }
            let example = refuted(proof.verdict);
            assert_eq!(ids(&example.allowed_by), ["builders-write-code"], "{example:#?}");
            let entities = example.entities.to_string();
            assert!(entities.contains(r#""tier":"prod""#), "{entities}");
        }
    }
}

#[test]
fn what_always_has_to_be_allowed_is_proved_or_told_by_what_it_is_refused() {
    let set = small(&[READ, WRITE, GUARD].concat());
    let reads = "permit (principal in Jeton::Team::\"builders\", action in Jeton::Action::\"read\", resource)";
    let proved = judged(&set, reads);
    assert!(matches!(proved, Verdict::Proved { kinds: 2, .. }), "{proved:?}");
    let writes = reads
        .replace("\"read\"", "\"write\"")
        .replace("resource)", "resource in Jeton::Org::\"git:acme\")");
    let example = refuted(judged(&set, &writes));
    assert_eq!((ids(&example.refused_by), ids(&example.allowed_by)), (vec!["guard"], vec![]));
    let approved =
        format!("{writes} when {{ context.approvals.contains(Jeton::Group::\"security\") }}");
    assert!(matches!(judged(&set, &approved), Verdict::Proved { .. }));
    let nobody = "permit (principal, action in Jeton::Action::\"read\", resource)";
    let example = refuted(judged(&set, nobody));
    assert_eq!((ids(&example.refused_by), ids(&example.allowed_by)), (vec![], vec![]));
}

#[test]
fn a_direct_credential_may_push_and_call_anything_unless_a_rule_denies_it() {
    let workflow = "context has file && context.file like \".github/workflows/*\"";
    let write = "(principal, action == Jeton::Action::\"contents:write\", resource)";
    let property = format!("forbid {write} when {{ {workflow} }}");
    // Without any rule, and with one that leaves direct delivery out.
    let ignored = format!("@id(\"rule\") @allow_direct(\"why\") {property};");
    for rule in ["", &ignored] {
        let example = refuted(judged(&small(&[READ, WRITE, rule].concat()), &property));
        assert_eq!(ids(&example.allowed_by), ["write"], "{example:#?}");
        let context = &example.request["context"];
        assert_eq!(context["delivery"], "direct", "{context}");
        assert!(context["file"].as_str().unwrap().starts_with(".github/workflows/"), "{context}");
        assert!(context.get("author").is_none() && context.get("method").is_none(), "{context}");
    }
    let rule = format!("@id(\"rule\") {property};");
    let set = small(&[READ, WRITE, &rule].concat());
    assert!(matches!(judged(&set, &property), Verdict::Proved { .. }));
    // What it costs: direct delivery of whatever the scope of the rule matches, and of nothing else.
    let allowed = "permit (principal in Jeton::Team::\"builders\", action == Jeton::Action::\"contents:write\", resource in Jeton::Org::\"git:acme\")";
    let example = refuted(judged(&set, &format!("{allowed} unless {{ context has file }}")));
    assert_eq!(ids(&example.refused_by), ["rule"], "{example:#?}");
    let gateway = "when { context.delivery == \"gateway\" && !(context has file) }";
    assert!(matches!(judged(&set, &format!("{allowed} {gateway}")), Verdict::Proved { .. }));
    let read = "permit (principal in Jeton::Team::\"builders\", action in Jeton::Action::\"read\", resource)";
    assert!(matches!(judged(&set, read), Verdict::Proved { .. }));
    let calls = "forbid (principal, action, resource) when { context has method && context.method == \"DELETE\" }";
    let example = refuted(judged(&set, calls));
    assert_eq!(example.request["context"]["delivery"], "direct");
    // A set that leaves direct delivery out is wider than one that does not.
    let wider = small(&[READ, WRITE, &ignored].concat());
    assert!(matches!(no_wider(&set, &wider, &solver()), Verdict::Proved { .. }));
    assert_eq!(ids(&refuted(no_wider(&wider, &set, &solver())).refused_by), ["rule"]);
}

#[test]
fn a_rule_about_files_of_a_direct_credential_never_matches() {
    let idle = "@id(\"idle\") @allow_direct(\"r\") forbid (principal, action in Jeton::Action::\"write\", resource) when { context.delivery == \"direct\" && context has file };";
    let denied = "@id(\"denied\") permit (principal in Jeton::Team::\"builders\", action in Jeton::Action::\"write\", resource) when { context.delivery == \"direct\" && context.ttl < 9 };";
    let rule = "@id(\"rule\") forbid (principal, action in Jeton::Action::\"write\", resource) when { context has file };";
    let found = |policies: &[&str]| {
        let found = lint::lint(&small(&policies.concat()), &solver()).unwrap();
        assert!(found.undecided.is_empty(), "{found:?}");
        let told = |one: &crate::author::lint::Finding| format!("{} {}", one.policy, one.kind);
        found.findings.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(found(&[READ, WRITE, idle]), ["idle never matches"]);
    assert_eq!(found(&[READ, WRITE, rule]), [""; 0]);
    assert_eq!(found(&[READ, denied, rule]), ["denied shadowed"]);
}

#[test]
fn actions_that_the_catalogue_does_not_list_are_stood_in_for() {
    let set = small(&[READ, WRITE, GUARD].concat());
    let only = "forbid (principal, action in Jeton::Action::\"read\", resource) when { action != Jeton::Action::\"contents:read\" }";
    let example = refuted(judged(&set, only));
    assert_eq!(example.request["action"], "Jeton::Action::\"read\"");
    assert!(example.words.iter().any(|(_, words)| words.contains("does not list")), "{example:?}");
    let listed = READ
        .replace("action in Jeton::Action::\"read\"", "action == Jeton::Action::\"contents:read\"");
    assert!(matches!(judged(&small(&listed), only), Verdict::Proved { .. }));
}

#[test]
fn what_is_named_is_as_the_catalogue_says_and_the_rest_is_whatever_it_may_be() {
    let set = small(&[READ, WRITE, GUARD].concat());
    let write =
        |rest: &str| format!("forbid (principal, action in Jeton::Action::\"write\", {rest})");
    let unapproved = "unless { context.approvals.contains(Jeton::Group::\"security\") }";
    let named = |id: &str| {
        format!("{} {unapproved}", write(&format!("resource == Jeton::Resource::\"{id}\"")))
    };
    assert!(matches!(judged(&set, &named("7")), Verdict::Proved { .. }));
    refuted(judged(&set, &named("git:acme/api")));
    let agent = |name: &str| {
        format!(
            "permit (principal == Jeton::Agent::\"{name}\", action == Jeton::Action::\"contents:read\", resource)"
        )
    };
    assert!(matches!(judged(&set, &agent("a/1")), Verdict::Proved { .. }));
    refuted(judged(&set, &agent("b/1")));
    // A resource is in one organisation, a life is positive, and a delegation has delegators.
    let other = write("resource in Jeton::Org::\"git:other\"");
    assert!(matches!(judged(&set, &other), Verdict::Proved { .. }));
    for never in [
        "context.ttl < 1",
        "context.ttl > 43200",
        "context.delivery == \"post\"",
        "principal.trust > 10",
        "context.depth == 0 && !context.delegators.isEmpty()",
        "context has ref && context.ref == \"\"",
        "!(resource in resource.upstream)",
    ] {
        let verdict = judged(&set, &format!("{} when {{ {never} }}", write("resource")));
        assert!(matches!(verdict, Verdict::Empty), "{never}: {verdict:?}");
    }
}

#[test]
fn a_counter_example_is_plain_and_its_json_is_one_for_the_ordinary_evaluator() {
    let set = small(&[READ, WRITE, GUARD].concat());
    let example = refuted(judged(
        &set,
        "forbid (principal, action in Jeton::Action::\"grant\", resource) when { context.ttl > 600 && resource has tier }",
    ));
    let words: Vec<_> =
        example.words.iter().map(|(name, words)| format!("{name}: {words}")).collect();
    assert!(
        words[0].starts_with("who: agent `spiffe://example/agent` (in team `builders`"),
        "{words:#?}"
    );
    assert_eq!(example.request["context"]["approvals"], serde_json::json!([]), "{words:#?}");
    assert_eq!(example.request["context"]["depth"], 0);
    let schema = set.vocabulary.schema().unwrap();
    let uid = |end: &str| example.request[end].as_str().unwrap().parse().unwrap();
    let action = uid("action");
    let context = cedar_policy::Context::from_json_value(
        example.request["context"].clone(),
        Some((&schema, &action)),
    );
    let request = cedar_policy::Request::new(
        uid("principal"),
        action,
        uid("resource"),
        context.unwrap(),
        Some(&schema),
    )
    .unwrap();
    let entities =
        cedar_policy::Entities::from_json_value(example.entities.clone(), Some(&schema)).unwrap();
    let policies =
        cedar_policy::PolicySet::from_policies(set.policies().map(|(_, policy)| policy.clone()))
            .unwrap();
    let answer = cedar_policy::Authorizer::new().is_authorized(&request, &policies, &entities);
    assert_eq!(answer.decision(), cedar_policy::Decision::Allow);
}

#[test]
fn what_may_fail_to_evaluate_is_never_called_proved() {
    let overflows = "context.ttl * 9223372036854775807 > 0";
    let set = small(READ);
    let verdict = judged(
        &set,
        &format!(
            "forbid (principal, action in Jeton::Action::\"write\", resource) when {{ {overflows} }}"
        ),
    );
    assert!(
        matches!(&verdict, Verdict::NotDecided(why) if why.starts_with("it may fail")),
        "{verdict:?}"
    );
    // A number that no request holds overflows nothing.
    let verdict = judged(
        &set,
        "forbid (principal, action in Jeton::Action::\"write\", resource) when { context.ttl * 1000 > 0 }",
    );
    assert!(matches!(verdict, Verdict::Proved { .. }), "{verdict:?}");
    let failing = format!(
        "{READ} @id(\"odd\") forbid (principal, action in Jeton::Action::\"read\", resource) when {{ {overflows} && false }};"
    );
    let failing = PolicySet::from_sources(
        &[
            (
                "catalogue.toml",
                "team = [{ name = \"builders\" }]\nupstream = [{ name = \"git\", actions = [\"contents:read\"] }]",
            ),
            ("p.cedar", &failing),
        ],
        &Vocabulary::default(),
    );
    if let Ok(failing) = failing {
        let verdict = judged(
            &failing,
            "permit (principal in Jeton::Team::\"builders\", action in Jeton::Action::\"read\", resource)",
        );
        assert!(
            matches!(&verdict, Verdict::Proved { unless_fails, .. } if ids(unless_fails) == ["odd"]),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_set_is_compared_with_another_both_ways() {
    let (wide, narrow) = (small(&[READ, WRITE, GUARD].concat()), small(READ));
    let verdict = no_wider(&narrow, &wide, &solver());
    assert!(matches!(verdict, Verdict::Proved { .. }), "{verdict:?}");
    let example = refuted(no_wider(&wide, &narrow, &solver()));
    assert_eq!((ids(&example.allowed_by), ids(&example.refused_by)), (vec!["write"], vec![]));
    let unguarded = small(&[READ, WRITE].concat());
    let example = refuted(no_wider(&unguarded, &wide, &solver()));
    assert_eq!(ids(&example.refused_by), ["guard"]);
    assert!(example.entities.to_string().contains(r#""tier":"prod""#));
}

#[test]
fn the_same_policies_about_other_facts_are_not_called_no_wider() {
    let with = |agents: &str| {
        let catalogue = format!(
            "team = [{{ name = \"builders\" }}]\nupstream = [{{ name = \"git\", actions = [\"contents:read\"] }}]\nagent = [{agents}]"
        );
        let texts = [("catalogue.toml", catalogue.as_str()), ("p.cedar", READ)];
        PolicySet::from_sources(&texts, &Vocabulary::default()).ok().unwrap()
    };
    let (few, more) = (
        with("{ match = \"a/*\", teams = [\"builders\"] }"),
        with("{ match = \"**\", teams = [\"builders\"] }"),
    );
    let verdict = no_wider(&more, &few, &solver());
    let Verdict::NotDecided(why) = &verdict else { panic!("{verdict:?}") };
    assert!(why.contains("new: agents `**` (team builders)"), "{why}");
    let twice = with("{ match = \"a/*\", trust = 3 }, { match = \"a/*\", teams = [\"builders\"] }");
    let once = with("{ match = \"a/*\", trust = 9 }, { match = \"a/*\", teams = [\"builders\"] }");
    assert!(matches!(no_wider(&once, &twice, &solver()), Verdict::NotDecided(_)));
    assert!(matches!(no_wider(&few, &few, &solver()), Verdict::Proved { .. }));
}

#[test]
fn nothing_is_proved_of_policies_that_look_into_what_they_name() {
    let forbid =
        "@id(\"inside\") forbid (principal, action in Jeton::Action::\"write\", resource) when";
    for inside in [
        "Jeton::Agent::\"a/1\" has name",
        "Jeton::Agent::\"a/1\".trust >= 0",
        "(if context.ttl > 9 then principal else Jeton::Agent::\"a/1\").trust >= 0",
    ] {
        let set = small(&format!("{READ} {WRITE} {forbid} {{ {inside} }};"));
        let write = "forbid (principal, action in Jeton::Action::\"write\", resource)";
        let verdict = judged(&set, write);
        let Verdict::NotDecided(why) = &verdict else { panic!("{inside}: {verdict:?}") };
        assert!(why.starts_with("`inside` looks into something that it names"), "{why}");
        assert!(lint::lint(&set, &solver()).is_err());
    }
}

#[test]
fn impatience_is_told_as_not_decided() {
    let set = small(&[READ, WRITE, GUARD].concat());
    let text = "@id(\"p\") @reason(\"r\") forbid (principal, action in Jeton::Action::\"write\", resource);";
    let properties = Properties::read(text_of("p.cedar", text), &set).unwrap();
    let hurried = Solver::new("cvc5".into(), Duration::ZERO).unwrap();
    let verdict = prove(&set, &properties, &hurried).remove(0).verdict;
    assert!(
        matches!(&verdict, Verdict::NotDecided(why) if why.contains("--timeout")),
        "{verdict:?}"
    );
}

#[test]
fn a_bad_file_of_properties_is_refused_with_places_and_hints() {
    let set = small(READ);
    let refused = |text: &str| -> Vec<String> {
        let problems = Properties::read(text_of("p.cedar", text), &set).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    };
    let good = "@id(\"a\") @reason(\"r\") forbid (principal, action in Jeton::Action::\"write\", resource)";
    for (text, wanted) in [
        ("", "p.cedar: holds no property; write a forbid"),
        ("forbid (principal, action, resource);", "p.cedar:1: the property has no `@id`; name it"),
        (
            "\n@id(\"a\") forbid (principal, action, resource);",
            "p.cedar:2: the property `a` has no `@reason`; say in words",
        ),
        (&format!("{good};\n{good};"), "p.cedar:2: the `@id` `a` stands at p.cedar:1 already"),
        (&format!("{good} when {{ context.tll > 1 }};"), "p.cedar:1: "),
        (
            &format!("{good} when {{ context.approvals.contains(Jeton::Group::\"secruity\") }};"),
            "p.cedar:1: the group `secruity` is not in the catalogue",
        ),
        (&good.replace("action in", "action =="), "p.cedar:1: "),
        (
            &format!("{good};").replace("action in", "action =="),
            "p.cedar:1: `write` is a group of actions",
        ),
        (&format!("{good} when {{ resource has tier && false }};"), "p.cedar:1: "),
    ] {
        let found = refused(text);
        assert!(found.iter().any(|one| one.starts_with(wanted)), "{text}: {found:?}");
    }
}

#[test]
fn what_never_matches_and_what_is_idle_is_found() {
    let never = "@id(\"never\") permit (principal, action in Jeton::Action::\"read\", resource) when { context.ttl > 60 && context.ttl < 50 };";
    let world = "@id(\"posted\") permit (principal, action in Jeton::Action::\"read\", resource) when { context.delivery == \"post\" };";
    let short = "@id(\"short\") permit (principal in Jeton::Team::\"builders\", action == Jeton::Action::\"contents:read\", resource) when { context.ttl < 60 || context.ttl == 60 };";
    let same = short
        .replace("short", "twin")
        .replace("context.ttl < 60 || context.ttl == 60", "context.ttl <= 60");
    let closed =
        "@id(\"closed\") forbid (principal, action in Jeton::Action::\"admin\", resource);";
    let admin = "@id(\"admin\") permit (principal, action in Jeton::Action::\"admin\", resource) when { context.ttl < 9 };";
    let weaker = "@id(\"weaker\") forbid (principal, action in Jeton::Action::\"write\", resource is Jeton::Resource) when { resource has tier && resource.tier == \"prod\" && context.ttl > 9 } unless { context.approvals.contains(Jeton::Group::\"security\") };";
    let found = |policies: &[&str]| {
        let found = lint::lint(&small(&policies.concat()), &solver()).unwrap();
        assert!(found.undecided.is_empty(), "{found:?}");
        let told = |one: &crate::author::lint::Finding| {
            format!("{} {}: {}", one.policy, one.kind, one.words)
        };
        found.findings.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(found(&[READ, WRITE, GUARD, closed]), [""; 0]);
    let starts = |found: Vec<String>, wanted: &[&str]| {
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.starts_with(wanted), "{found} {wanted}");
        }
    };
    starts(
        found(&[never, world, WRITE]),
        &["never never matches: no request", "posted never matches: no request"],
    );
    starts(
        found(&[READ, short, &same]),
        &["short shadowed: `read` matches all", "twin shadowed: `read` matches all"],
    );
    starts(found(&[short, &same]), &["twin shadowed: `short` matches all"]);
    starts(found(&[WRITE, GUARD, weaker]), &["weaker shadowed: `guard` matches all"]);
    starts(found(&[READ, admin, closed]), &["admin shadowed: forbids refuse all that it permits"]);
}
