//! `jeton policy`, as an author of policies uses it: on a folder, and against a broker's log.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use jeton_tests::broker::{Broker, program};
use serde_json::Value;

const AGENT: &str = "spiffe://dev.jeton.local/agent/build-42";

/// A file or folder of the repository.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// The example folder, to change it.
fn folder(change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(shipped("policies")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    change(folder.path());
    folder
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    let changed = text.replace(from, to);
    assert_ne!(text, changed, "{from}");
    fs::write(file, changed).unwrap();
}

fn policy(arguments: &[&str]) -> Output {
    Command::new(program("jeton")).arg("policy").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn good(arguments: &[&str]) -> String {
    let output = policy(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn bad(arguments: &[&str]) -> String {
    let output = policy(arguments);
    assert_eq!(output.status.code(), Some(65), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn path(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().unwrap()
}

#[test]
fn the_shipped_policies_are_good_in_form_and_hold_their_cases() {
    let (policies, cases) = (shipped("policies"), shipped("policy-cases.toml"));
    let (policies, cases) = (policies.to_str().unwrap(), cases.to_str().unwrap());
    assert!(good(&["check", policies, "--strict"]).contains("8 policies are good, 0 findings"));
    assert_eq!(good(&["fmt", policies, "--check"]), "");
    let told = good(&["test", policies, cases, "--cover-all"]);
    assert!(told.contains("12 of 12 cases hold; 5 of 5 policies decided in one"), "{told}");
}

#[test]
fn a_check_tells_problems_with_their_place_and_what_is_odd() {
    let broken = folder(|folder| {
        edit(&folder.join("agents.cedar"), "@id(\"builders-read\")\n", "");
        edit(&folder.join("limits.cedar"), "Group::\"security\"", "Group::\"secruity\"");
    });
    let told = bad(&["check", path(&broken)]);
    assert!(told.contains("agents.cedar:") && told.contains("has no `@id`"), "{told}");
    assert!(told.contains("limits.cedar:") && told.contains("`secruity`"), "{told}");

    let odd = folder(|folder| {
        let all = "@id(\"all\")\npermit (principal, action, resource);\n";
        fs::write(folder.join("odd.cedar"), all).unwrap();
    });
    let told = good(&["check", path(&odd)]);
    assert!(told.contains("all: matches everything"), "{told}");
    assert!(told.contains("all: no expiry"), "{told}");
    assert!(told.contains("builders-read: shadowed: `all` says it already"), "{told}");
    bad(&["check", path(&odd), "--strict"]);
}

#[test]
fn the_form_is_one_and_keeps_comments() {
    let untidy = folder(|folder| {
        let policy = "// Why it is here.\n@id(\"x\") forbid(principal,action==Jeton::Action::\"orders:write\",\n\n\nresource) when{context.ttl>60};";
        fs::write(folder.join("untidy.cedar"), policy).unwrap();
    });
    assert_eq!(bad(&["fmt", path(&untidy), "--check"]), "would change untidy.cedar\n");
    assert_eq!(good(&["fmt", path(&untidy)]), "changed untidy.cedar\n");
    assert_eq!(good(&["fmt", path(&untidy), "--check"]), "");
    let tidy = fs::read_to_string(untidy.path().join("untidy.cedar")).unwrap();
    assert!(tidy.starts_with("// Why it is here.\n@id(\"x\")\nforbid (\n"), "{tidy}");
}

#[test]
fn a_case_that_fails_says_what_was_answered_and_why() {
    let narrow = folder(|folder| edit(&folder.join("agents.cedar"), "15 * 60", "5 * 60"));
    let cases = shipped("policy-cases.toml");
    let told = bad(&["test", path(&narrow), cases.to_str().unwrap()]);
    assert!(told.contains("FAILED builders push to their own branches (line 22)"), "{told}");
    assert!(told.contains("expected allow, got deny: no policy allows `contents:write`"), "{told}");
    assert!(told.contains("11 of 12 cases hold"), "{told}");

    let file = narrow.path().with_extension("toml");
    fs::write(
        &file,
        "[[case]]\nname = \"x\"\nagent = \"a\"\nscope = \"git:* contents:read\"\nexpect = \"allow\"\n",
    )
    .unwrap();
    let told = bad(&["test", path(&narrow), file.to_str().unwrap()]);
    assert!(told.contains(".toml:1: the resource `*` is not a name"), "{told}");
    fs::write(&file, "[[case]]\nname = \"x\"\nagnet = \"a\"\n").unwrap();
    let told = bad(&["test", path(&narrow), file.to_str().unwrap()]);
    assert!(told.contains(".toml:3: unknown field `agnet`"), "{told}");
    fs::remove_file(file).unwrap();
}

#[test]
fn a_question_is_answered_with_reason_policies_and_the_nearest_change() {
    let policies = shipped("policies");
    let policies = policies.to_str().unwrap();
    let told =
        good(&["explain", policies, "git:acme/api contents:write ref=main", "--agent", AGENT]);
    assert!(told.starts_with("deny: git:acme/api contents:write ref=main for "), "{told}");
    assert!(told.contains("would be:     git:acme/api contents:write ref=agent/*"), "{told}");
    assert!(told.contains("policies:     only-agent-refs"), "{told}");
    let prod = "git:acme/payments contents:write ref=agent/x";
    let told = good(&["explain", policies, prod, "--agent", AGENT]);
    assert!(told.starts_with("needs approval"), "{told}");
    let told = good(&["explain", policies, prod, "--agent", AGENT, "--approved-by", "security"]);
    assert!(told.starts_with("allow"), "{told}");
    let told = good(&["can", policies, "--agent", AGENT]);
    let line = told.lines().find(|line| line.starts_with("git:acme/payments contents:write ref="));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains("needs approval") && line.ends_with("security"), "{line}");
    let told = good(&["who", policies, "git:acme/api contents:read"]);
    assert!(told.contains("spiffe://dev.jeton.local/agent/**      any       allow"), "{told}");
    assert!(told.contains("spiffe://dev.jeton.local/orchestrator  any       deny"), "{told}");
}

#[test]
fn two_folders_are_compared_in_words() {
    let policies = shipped("policies");
    let policies = policies.to_str().unwrap();
    assert_eq!(good(&["diff", policies, policies]), "the same\n");
    let other = folder(|folder| {
        edit(&folder.join("agents.cedar"), "15 * 60", "5 * 60");
        edit(&folder.join("catalogue.toml"), "quorum = 1", "quorum = 2");
        edit(&folder.join("catalogue.toml"), "tier = \"prod\"\nowner = \"platform\"\n\n#", "\n#");
        fs::remove_file(folder.join("sessions.cedar")).unwrap();
    });
    let told = good(&["diff", policies, path(&other)]);
    for line in [
        "changed: permit `builders-write-code`: its conditions",
        "gone: permit `orchestrators-open`",
        "changed: group `security`: ",
        "changed: resource `orders:acme/live`: tier prod, owner platform → ",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_is_decided_again_by_other_policies() {
    let broker = Broker::start();
    let envelope = ["git:acme/* contents:read,contents:write"];
    let (agent, _) = broker.agent_with(&envelope).await;
    for _ in 0..3 {
        agent.requests("git:acme/api contents:write ref=agent/x").await.unwrap();
    }
    agent.requests("git:acme/api contents:read").await.unwrap();
    agent.requests("git:acme/payments contents:write ref=agent/x").await.unwrap();
    agent.requests("git:acme/api contents:write ref=main").await.unwrap_err();
    agent.requests("orders:acme/shop orders:read").await.unwrap_err();

    let replayed = |folder: &str| -> Value {
        let tls = broker.data().join("tls");
        let output = Command::new(program("jeton"))
            .args(["--json", "policy", "replay", folder, "--since", "1h"])
            .envs(broker.envs().iter().cloned())
            .env("JETON_CERT", tls.join("audrey.pem"))
            .env("JETON_KEY", tls.join("audrey.key"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let same = replayed(broker.data().join("policies").to_str().unwrap());
    assert_eq!(
        (&same["requests"], same["flips"].as_array().unwrap().len()),
        (&6.into(), 0),
        "{same}"
    );

    let other = folder(|folder| {
        edit(&folder.join("agents.cedar"), "15 * 60", "5 * 60");
        edit(
            &folder.join("catalogue.toml"),
            "name = \"acme/payments\"\ntier",
            "name = \"acme/pay\"\ntier",
        );
    });
    let flips = replayed(path(&other));
    let found: Vec<_> = flips["flips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flip| {
            let word = |name: &str| flip[name].as_str().unwrap().to_owned();
            (word("scope"), word("was"), word("would_be"), flip["count"].as_u64().unwrap())
        })
        .collect();
    let writes = |resource: &str| format!("git:acme/{resource} contents:write ref=agent/x");
    let wanted = [
        (writes("api"), "allow".to_owned(), "deny".to_owned(), 3),
        (writes("payments"), "needs approval".to_owned(), "allow".to_owned(), 1),
    ];
    assert_eq!(found, wanted, "{flips}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_that_was_needed_is_suggested_and_is_enough() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read,contents:write"]).await;
    for place in 0..5 {
        let scope = format!("git:acme/api contents:write ref=agent/fix-{place}");
        agent.requests(&scope).await.unwrap();
    }
    agent.requests("git:acme/web contents:read").await.unwrap();
    agent.requests("git:acme/payments contents:write ref=agent/x").await.unwrap();
    let as_auditor = |arguments: &[&str]| -> Value {
        let tls = broker.data().join("tls");
        let output = Command::new(program("jeton"))
            .args(["--json", "policy"])
            .args(arguments)
            .envs(broker.envs().iter().cloned())
            .env("JETON_CERT", tls.join("audrey.pem"))
            .env("JETON_KEY", tls.join("audrey.key"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let own = broker.data().join("policies");
    let found = as_auditor(&["suggest", own.to_str().unwrap(), "--since", "1h"]);
    let one = &found["agents"][0];
    assert_eq!(one["agent"], AGENT);
    let envelope = ["git:acme/api contents:write ref=agent/*", "git:acme/web contents:read"];
    assert_eq!(one["envelope"], serde_json::json!(envelope), "what nobody approved was not needed");
    assert_eq!(
        found["never_decided"],
        serde_json::json!(["builders-write-orders", "only-agent-refs"])
    );

    // Those policies alone give all of it, and nothing that was not used.
    let least = folder(|folder| {
        fs::write(folder.join("agents.cedar"), one["policies"].as_str().unwrap()).unwrap();
    });
    good(&["check", path(&least)]);
    let flips = as_auditor(&["replay", path(&least), "--since", "1h"]);
    let flips: Vec<_> =
        flips["flips"].as_array().unwrap().iter().map(|flip| &flip["scope"]).collect();
    assert_eq!(flips, ["git:acme/payments contents:write ref=agent/x"]);
    let told = good(&["explain", path(&least), "git:acme/other contents:read", "--agent", AGENT]);
    assert!(told.starts_with("deny"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_goes_back_to_a_set_that_it_had_by_one_command() {
    let mut broker = Broker::start();
    let as_ = |broker: &Broker, who: &str, arguments: &[&str]| -> Output {
        let tls = broker.data().join("tls");
        Command::new(program("jeton"))
            .arg("policy")
            .args(arguments)
            .envs(broker.envs().iter().cloned())
            .env("JETON_CERT", tls.join(format!("{who}.pem")))
            .env("JETON_KEY", tls.join(format!("{who}.key")))
            .output()
            .unwrap()
    };
    let ana = broker.client("ana").await;
    let first = ana.policies().await.unwrap().hash;
    let scope = "git:acme/api contents:write ref=agent/x";
    let (agent, _) = broker.agent_with(&["git:acme/* contents:write"]).await;
    agent.requests(scope).await.unwrap();

    let file = broker.data().join("policies/agents.cedar");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "permit (").unwrap();
    let told = as_(&broker, "ana", &["reload"]);
    assert_eq!(told.status.code(), Some(65), "{}", text(&told));
    assert!(text(&told).contains("agents.cedar:1"), "{}", text(&told));
    assert_eq!(ana.policies().await.unwrap().hash, first, "a bad set replaces nothing");
    fs::write(&file, good.replace("agent/*", "agent/safe/*")).unwrap();
    assert!(as_(&broker, "ana", &["reload"]).status.success());
    let second = ana.policies().await.unwrap().hash;
    assert_ne!(first, second);
    agent.requests(scope).await.unwrap_err();

    for arguments in [&["reload"][..], &["rollback", &first, "--reason", "x"]] {
        for who in ["audrey", "agent"] {
            let refused = as_(&broker, who, arguments);
            assert_eq!(refused.status.code(), Some(77), "{who}: {}", text(&refused));
        }
    }
    let kept = broker.data().join("fetched");
    let fetched = as_(&broker, "audrey", &["fetch", &first, "--out", kept.to_str().unwrap()]);
    assert!(fetched.status.success(), "{}", text(&fetched));
    let told = good_diff(&kept, &broker.data().join("policies"));
    assert!(told.contains("changed: permit `builders-write-code`: its conditions"), "{told}");

    let back = as_(&broker, "ana", &["rollback", &first, "--reason", "too narrow"]);
    assert!(back.status.success(), "{}", text(&back));
    agent.requests(scope).await.unwrap();
    let loaded = as_(&broker, "audrey", &["loaded"]);
    assert!(text(&loaded).contains(&format!("in place of the folder's, {second}")));
    assert_eq!(broker.stop(), Some(0));
    broker.run();
    let ana = broker.client("ana").await;
    assert_eq!(ana.policies().await.unwrap().hash, first, "it holds over a restart");
    fs::write(&file, good.replace("15 * 60", "14 * 60")).unwrap();
    let done = ana.reload_policies().await.unwrap();
    assert!(done.changed && done.hash != first && done.hash != second, "{done:?}");
    let filter = jeton_client::EntryFilter {
        event: Some("policy_rolled_back".into()),
        ..Default::default()
    };
    let page = jeton_client::PageOf { size: 10, token: None };
    let entries = ana.list_entries(filter, true, page).await.unwrap().items;
    assert!(entries.len() == 1 && entries[0].line.contains("too narrow"), "{entries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_takes_two_the_first_operator_only_proposes() {
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let roles = "[[role]]\nrole = \"operator\"\nprincipals = [\"spiffe://dev.jeton.local/person/bo\"]\n";
        let text = text.replace("[policy]\n", "[policy]\nsecond_person = true\n");
        fs::write(file, format!("{text}\n{roles}")).unwrap();
    });
    let (ana, bo) = (broker.client("ana").await, broker.client("bo").await);
    let first = ana.policies().await.unwrap().hash;
    let file = broker.data().join("policies/agents.cedar");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("15 * 60", "14 * 60")).unwrap();
    let second = ana.reload_policies().await.unwrap().hash;
    assert_ne!(first, second);
    for _ in 0..2 {
        assert!(!ana.roll_back_policies(&first, "too narrow").await.unwrap());
        assert_eq!(ana.policies().await.unwrap().hash, second, "one, however often");
    }
    assert!(bo.roll_back_policies(&"0".repeat(32), "x").await.is_err());
    assert!(bo.roll_back_policies(&first, "it was").await.unwrap());
    assert_eq!(ana.policies().await.unwrap().hash, first);
    assert!(!bo.roll_back_policies(&second, "no").await.unwrap(), "each going back takes two");
}

fn good_diff(old: &Path, new: &Path) -> String {
    good(&["diff", old.to_str().unwrap(), new.to_str().unwrap()])
}
