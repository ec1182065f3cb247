//! The example policies decide what their comments say; bad ones are refused in good words.

use std::{collections::BTreeSet, fs, path::Path};

use jeton_domain::{
    approval::GroupName,
    decision::{Delivery, Question, Rules, Verdict},
    delegation::Chain,
    principal::{PrincipalId, PrincipalKind},
    scope::{Action, Scope, Upstream},
    ttl::{Timestamp, Ttl},
};

use super::{Kept, Opener, Policies, PolicySet, Vocabulary};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/policies");
/// 2026-09-24T12:00:00Z.
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
    delivery: Delivery,
}

impl Ask<'_> {
    fn of(set: &PolicySet) -> Ask<'_> {
        Ask {
            set,
            agent: "agent/build-1",
            person: None,
            ttl: 600,
            approvals: &[],
            delivery: Delivery::Direct,
        }
    }

    /// The answer in one line: `+ids`, `-ids(groups)`, `nothing` or `error ids`.
    fn about(&self, scope: &str) -> String {
        self.question(scope, |question| line(&self.set.judge(question)))
    }

    fn question<T>(&self, scope: &str, put: impl Fn(&Question<'_>) -> T) -> T {
        let scope = Scope::parse(scope).unwrap();
        let approvals: BTreeSet<_> =
            self.approvals.iter().map(|name| GroupName::new(name)).collect();
        let person = self.person.map(id);
        put(&Question {
            agent: &id(self.agent),
            person: person.as_ref(),
            chain: &Chain::default(),
            scope: &scope,
            action: scope.actions.iter().next().unwrap(),
            ttl: Ttl::from_seconds(self.ttl).unwrap(),
            delivery: self.delivery,
            deed: None,
            approvals: &approvals,
            now: Timestamp::from_seconds(NOON),
        })
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
        Verdict::GatewayOnly(ids) => format!("gateway only {}", join(ids)),
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
        (
            "git:acme/payments contents:write ref=main",
            "-only-agent-refs() -prod-writes-need-security(security)",
        ),
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
    assert_eq!(
        approved.about("git:acme/payments contents:write ref=agent/x"),
        "+builders-write-code"
    );
    assert_eq!(approved.about("git:acme/payments contents:write ref=main"), "-only-agent-refs()");
    let orders = "orders:acme/test orders:write";
    assert_eq!(Ask { ttl: 300, ..Ask::of(&set) }.about(orders), "nothing");
    assert_eq!(
        Ask { ttl: 300, person: Some("person/cy"), ..Ask::of(&set) }.about(orders),
        "+builders-write-orders"
    );
}

/// Policies in which writes are limited by what a push brings, calls by their method, and reads by nothing.
fn restricted(rule: &str) -> PolicySet {
    let text = format!(
        r#"
@id("all") permit (principal, action in Jeton::Action::"grant", resource) when {{ context.ttl <= 900 }};
@id("guard") forbid (principal, action in Jeton::Action::"write", resource == Jeton::Resource::"git:acme/prod")
unless {{ context.approvals.contains(Jeton::Group::"security") }};
{rule}
"#
    );
    let catalogue = r#"
upstream = [{ name = "git", actions = ["contents:read", "contents:write"] }, { name = "orders", actions = ["orders:read", "orders:write"] }]
group = [{ name = "security", members = ["ana"] }]
"#;
    PolicySet::from_sources(&[("catalogue.toml", catalogue), ("a.cedar", &text)], &vocabulary())
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn a_rule_about_a_push_or_a_call_denies_direct_delivery() {
    let write = "(principal, action == Jeton::Action::\"contents:write\", resource)";
    for (reads, id) in [
        (
            format!(
                "@id(\"r\") forbid {write} when {{ context has file && context.file like \".github/*\" }};"
            ),
            "r",
        ),
        (
            format!(
                "@id(\"r\") forbid {write} when {{ context has change && context.change == \"force\" }};"
            ),
            "r",
        ),
        (format!("@id(\"r\") forbid {write} unless {{ context has signed_off }};"), "r"),
        (
            format!(
                "@id(\"r\") permit {write} when {{ context has author && context.author == \"a@b\" }};"
            ),
            "r",
        ),
        (format!("@id(\"r\") permit {write} unless {{ context has file }};"), "r"),
        (
            format!(
                "@id(\"r\") forbid {write} when {{ context has bytes && context.bytes > 9 }} unless {{ context.approvals.contains(Jeton::Group::\"security\") }};"
            ),
            "r",
        ),
    ] {
        let set = restricted(&reads);
        let scopes =
            ["git:acme/api contents:write ref=agent/x", "git:acme/prod contents:write ref=agent/x"];
        for approvals in [&[][..], &["security"]] {
            let direct = Ask { approvals, ..Ask::of(&set) };
            for scope in scopes {
                // `unless` a push is signed off, nobody gets a grant at all.
                let fixed = reads.contains("unless { context has signed_off }");
                let wanted = format!("gateway only {id}");
                let about = direct.about(scope);
                assert!(
                    about == wanted || fixed && about.contains("-r()"),
                    "{reads} {scope}: {about}"
                );
            }
            assert_eq!(direct.about("git:acme/api contents:read"), "+all", "{reads}");
            assert_eq!(direct.about("orders:acme/api orders:write"), "+all", "{reads}");
        }
        if !reads.contains("signed_off") {
            let gateway = Ask { delivery: Delivery::Gateway, ..Ask::of(&set) };
            assert!(gateway.about(scopes[0]).starts_with("+all"), "{reads}");
            assert_eq!(gateway.about(scopes[1]), "-guard(security)", "{reads}");
        }
    }
    // A credential to write reads as well.
    let read = "@id(\"r\") forbid (principal, action == Jeton::Action::\"orders:read\", resource) when { context has path };";
    let set = restricted(read);
    for (scope, answer) in [
        ("orders:acme/api orders:read", "gateway only r"),
        ("orders:acme/api orders:write", "gateway only r"),
        ("git:acme/api contents:write", "+all"),
    ] {
        assert_eq!(Ask::of(&set).about(scope), answer);
    }
    let call = "@id(\"c\") forbid (principal, action, resource in Jeton::Upstream::\"orders\") when { context has method && context.method == \"DELETE\" };";
    let set = restricted(call);
    assert_eq!(Ask::of(&set).about("orders:acme/api orders:read"), "gateway only c");
    assert_eq!(Ask::of(&set).about("git:acme/api contents:read"), "+all");
}

#[test]
fn a_policy_opts_out_of_denying_direct_delivery_with_a_reason() {
    let rule = "forbid (principal, action == Jeton::Action::\"contents:write\", resource) when { context has file };";
    let set =
        restricted(&format!("@id(\"r\") @allow_direct(\"CODEOWNERS binds them too\") {rule}"));
    assert_eq!(Ask::of(&set).about("git:acme/api contents:write ref=agent/x"), "+all");
    let text = format!("@id(\"r\") @allow_direct(\" \") {rule}");
    let problems =
        refused(&[("catalogue.toml", "upstream = [{ name = \"git\" }]"), ("a.cedar", &text)]);
    assert!(
        problems[0].contains("the `@allow_direct` of the policy `r` has no reason"),
        "{problems:?}"
    );
}

#[test]
fn a_refusal_tells_the_words_of_the_policy() {
    let set = examples();
    let guard = set.forbids().find(|guard| guard.policy.as_str() == "only-agent-refs").unwrap();
    assert_eq!(
        guard.reason.as_str(),
        "agents write to refs under agent/ only; ask with ref=agent/* and open a pull request"
    );
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
        let verdict = set.may_open(Opener {
            id: &id(opener),
            kind,
            agent: &id(agent),
            person: person.as_ref(),
            chain: &Chain::default(),
            ttl,
            now,
        });
        assert_eq!(line(&verdict), answer, "{opener} for {agent} with {person:?}");
    }
}

#[test]
fn every_problem_of_the_policies_is_told_with_its_place_and_what_to_do() {
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
@id("lifted") permit (principal, action in Jeton::Action::"read", resource) when { context.approvals.contains(Jeton::Group::"security") };
@id("never") permit (principal, action in Jeton::Action::"read", resource) when { context.ttl < 9 && false };
@id("group") forbid (principal, action in Jeton::Action::"read", resource)
unless { context.approvals.contains(Jeton::Group::"secruity") };
@id("main") forbid (principal, action in Jeton::Action::"read", resource) when { context has ref && context.ref == "main" };
@id("equal") forbid (principal, action == Jeton::Action::"write", resource);
@id("number") forbid (principal, action in Jeton::Action::"read", resource == Jeton::Resource::"8");
"#,
        ),
        (
            "b.cedar",
            "\n@id(\"twice\") forbid (principal, action == Jeton::Action::\"contents:read\", resource);",
        ),
        ("c.cedar", "@id(\"c\") permit (principal, action, resource)\n\nwhen { contxt.ttl };"),
        (
            "catalogue.toml",
            r#"upstream = [{ name = "git", case_sensitive = false }]
            resource = [{ upstream = "git", name = "acme/api", id = "7" }]
            group = [{ name = "security", members = ["ana"] }]"#,
        ),
    ]);
    let wanted = [
        ("a.cedar:1: ", "the policy has no `@id`; name it"),
        ("a.cedar:2: ", "the `@id` `two words` is not a name"),
        ("a.cedar:5: ", "templates are not used here; write the policy out"),
        ("a.cedar:6: ", "unrecognized action `Jeton::Action::\"contents:raed\"`; did you mean"),
        ("a.cedar:7: ", "attribute `tll` in context"),
        ("a.cedar:8: ", "the team `biulders` is not in the catalogue; add a [[team]]"),
        ("a.cedar:9: ", "unable to guarantee safety of access to optional attribute `tier`"),
        (
            "a.cedar:10: ",
            "the resource `git:acme/api` goes by its id; write Jeton::Resource::\"7\"",
        ),
        ("a.cedar:11: ", "names of this upstream are compared in lower case; write `git:acme`"),
        (
            "a.cedar:12: ",
            "the policy `lifted` uses `context.approvals` outside a guard; write `forbid",
        ),
        ("a.cedar:13: ", "policy `never`"),
        ("a.cedar:15: ", "the group `secruity` is not in the catalogue"),
        (
            "a.cedar:16: ",
            "where a pattern such as `m*` would slip past it; say which refs are allowed",
        ),
        ("a.cedar:17: ", "no action is equal to it; write `action in Jeton::Action::\"write\"`"),
        ("a.cedar:18: ", "no resource of the catalogue has the id `8`"),
        ("b.cedar:2: ", "the `@id` `twice` stands at a.cedar:3 already"),
        ("c.cedar:3: ", "`contxt`"),
    ];
    for (place, words) in wanted {
        let told =
            found.iter().any(|problem| problem.starts_with(place) && problem.contains(words));
        assert!(told, "{place}{words} in {found:#?}");
    }
    assert!(
        found.iter().all(|told| wanted.iter().any(|(place, _)| told.starts_with(place))),
        "{found:#?}"
    );
}

#[test]
fn what_can_be_asked_fits_the_schema_that_policies_are_checked_against() {
    let timed = r#"@id("timed") permit (principal, action in Jeton::Action::"grant", resource)
        when { context.now > datetime("2026-01-01") };"#;
    let catalogue = fs::read_to_string(Path::new(EXAMPLES).join("catalogue.toml")).unwrap();
    let texts = [("a.cedar", timed), ("catalogue.toml", &catalogue)];
    let set = PolicySet::from_sources(&texts, &vocabulary()).unwrap();
    let schema = set.vocabulary.schema().unwrap();
    let (git, orders) = ("git:acme/payments contents:write ref=agent/x", "orders:eu orders:read");
    for (scope, person) in [(git, Some("person/ana")), (orders, None)] {
        let ask = Ask { person, approvals: &["security"], ..Ask::of(&set) };
        ask.question(scope, |question| {
            let prepared = set.prepare(question).unwrap();
            let request = set.grant_request(&prepared, question).unwrap();
            let context = request.context().unwrap().clone();
            let (principal, action, resource) =
                (prepared.principal.clone(), prepared.action.clone(), prepared.resource.clone());
            cedar_policy::Request::new(principal, action, resource, context, Some(&schema))
                .unwrap();
            let entities = prepared.entities.iter().cloned();
            cedar_policy::Entities::from_entities(entities, Some(&schema)).unwrap();
        });
    }
}

#[test]
fn a_policy_that_reads_the_time_gets_it() {
    let office = r#"@id("office") permit (principal, action in Jeton::Action::"read", resource)
        when { context.now.toTime() == duration("12h") && context.now == datetime("2026-09-24T12:00:00Z") };"#;
    let set = PolicySet::from_sources(&[("a.cedar", office)], &vocabulary()).unwrap();
    assert_eq!(Ask::of(&set).about("git:acme/api contents:read"), "+office");
}

#[test]
fn a_policy_that_fails_makes_the_answer_an_error_even_beside_a_permit() {
    let texts = r#"@id("all") permit (principal, action in Jeton::Action::"read", resource);
        @id("overflow") permit (principal, action in Jeton::Action::"read", resource)
        when { context.ttl + 9223372036854775807 > 0 };"#;
    let set = PolicySet::from_sources(&[("a.cedar", texts)], &vocabulary()).unwrap();
    assert_eq!(Ask::of(&set).about("git:acme/api contents:read"), "error overflow");
    assert_eq!(Ask::of(&set).about("orders:acme/x orders:write"), "nothing");
}

#[test]
fn a_policy_as_deep_as_a_file_can_hold_is_a_problem_and_no_crash() {
    let parts = [
        ("(", ")"),
        ("[", "]"),
        ("{a: ", "}"),
        ("!", ""),
        ("-", ""),
        ("if true then ", " else true"),
        ("", " && true"),
        ("", ".a"),
    ];
    let set = |open: &str, close: &str, times: usize| {
        let (open, close) = (open.repeat(times), close.repeat(times));
        let scope = "principal, action in Jeton::Action::\"read\", resource";
        let text = format!("@id(\"deep\") permit ({scope}) when {{ {open}true{close} }};");
        PolicySet::from_sources(&[("a.cedar", &text)], &vocabulary())
    };
    for (open, close) in parts {
        assert!(set(open, close, 100_000).is_err(), "{open}");
    }
    for (open, close, times) in
        [("(", ")", 40), ("if true then ", " else true", 400), ("", " && true", 400)]
    {
        let set = set(open, close, times).unwrap_or_else(|problems| panic!("{problems:?}"));
        let answer = Ask::of(&set).about("git:acme/api contents:read");
        assert!(["+deep", "error deep"].contains(&answer.as_str()), "{answer}");
    }
}

#[test]
fn a_bad_folder_never_replaces_a_good_set() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let permit = |id: &str| {
        format!("@id(\"{id}\") permit (principal, action in Jeton::Action::\"read\", resource);")
    };
    write("catalogue.toml", "");
    write("a.cedar", &permit("one"));
    write("README.md", "not read");
    let home = tempfile::tempdir().unwrap();
    let load = || {
        let kept = Kept::new(home.path().join("kept"));
        Policies::load(folder.path().to_owned(), kept, vocabulary())
            .unwrap_or_else(|found| panic!("{found:?}"))
    };
    let policies = load();
    let reload = || policies.read().map(|set| policies.put(set));
    let answer = || Ask::of(&policies.current()).about("git:acme/api contents:read");
    let first = policies.current().hash().to_owned();
    assert_eq!(answer(), "+one");
    write(
        "a.cedar",
        "@id(\"two\") permit (principal, action in Jeton::Action::\"raed\", resource);",
    );
    assert!(reload().is_err());
    assert_eq!((answer(), policies.current().hash()), ("+one".to_owned(), first.as_str()));
    write("a.cedar", &permit("two"));
    reload().unwrap();
    assert_ne!(policies.current().hash(), first);
    assert_eq!(answer(), "+two");
    let second = policies.current().hash().to_owned();

    // Back to the first: it holds, over a restart too, until the folder is another than now.
    let kept: Vec<_> = policies.kept().list().unwrap().into_iter().map(|one| one.hash).collect();
    assert!(kept.contains(&first) && kept.contains(&second) && kept.len() == 2, "{kept:?}");
    let (set, pin) = policies.back(&first).unwrap();
    assert_eq!((set.hash(), pin.instead_of.as_str()), (first.as_str(), second.as_str()));
    policies.kept().pin(Some(&pin)).unwrap();
    policies.put(set);
    reload().unwrap();
    assert_eq!(policies.current().hash(), first);
    assert_eq!(load().current().hash(), first);
    write("a.cedar", &permit("three"));
    reload().unwrap();
    assert_eq!(answer(), "+three");

    for odd in ["", "..", "../kept", &"0".repeat(32)] {
        assert!(policies.back(odd).is_err(), "{odd}");
    }
    fs::write(home.path().join("kept").join(&first).join("a.cedar"), permit("x")).unwrap();
    let edited = policies.back(&first).err().unwrap();
    assert!(edited[0].to_string().contains("somebody edited it"), "{edited:?}");
}

#[test]
fn an_answer_from_memory_is_the_answer_of_the_same_question_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("catalogue.toml"), "").unwrap();
    let policies = r#"
        @id("short") permit (principal, action in Jeton::Action::"read", resource)
        when { context.ttl <= 600 };
        @id("branch") permit (principal, action in Jeton::Action::"write", resource)
        when { context has ref && context.ref like "agent/*" };
        "#;
    fs::write(folder.path().join("a.cedar"), policies).unwrap();
    let set =
        PolicySet::load(folder.path(), &vocabulary()).unwrap_or_else(|found| panic!("{found:?}"));
    let ask = |scope: &str, ttl| Ask { ttl, ..Ask::of(&set) }.about(scope);
    for _ in 0..2 {
        assert_eq!(ask("git:acme/api contents:read", 600), "+short");
        assert_eq!(ask("git:acme/api contents:read", 601), "nothing");
        assert_eq!(ask("git:acme/api contents:write ref=agent/x", 601), "+branch");
        assert_eq!(ask("git:acme/api contents:write ref=main", 601), "nothing");
    }
}
