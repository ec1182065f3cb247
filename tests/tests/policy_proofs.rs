//! `jeton policy prove` and `check --prove`, as an author of policies runs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use jeton_tests::broker::program;
use serde_json::Value;

/// A file or folder of the repository.
fn shipped(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
    path.into_os_string().into_string().unwrap()
}

/// The example folder, with one text of a file in place of another.
fn changed(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(shipped("policies")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let file = folder.path().join(file);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(file, text.replace(from, to)).unwrap();
    folder
}

fn path(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().unwrap()
}

fn jeton(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("jeton"));
    command.args(arguments).env_remove("CVC5");
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn ends(code: i32, arguments: &[&str]) -> String {
    let output = jeton(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn value(code: i32, arguments: &[&str]) -> Value {
    let arguments = [&["--json"], arguments].concat();
    serde_json::from_str(&ends(code, &arguments)).unwrap()
}

#[test]
fn the_shipped_properties_hold_of_the_shipped_policies() {
    let (policies, properties) = (shipped("policies"), shipped("policy-properties.cedar"));
    let told = ends(0, &["policy", "prove", &policies, &properties]);
    assert!(
        told.contains("proved prod-writes-need-security: no agent writes to production"),
        "{told}"
    );
    assert!(told.ends_with("8 of 8 properties are proved\n"), "{told}");
    assert!(ends(0, &["policy", "check", &policies, "--strict", "--prove"]).contains("0 findings"));

    // The file is in the form of policies, and no broker takes it for some.
    let folder = changed("limits.cedar", "production", "production");
    fs::copy(&properties, folder.path().join("properties.cedar")).unwrap();
    assert_eq!(ends(0, &["policy", "fmt", path(&folder), "--check"]), "");
    let told = ends(65, &["policy", "check", path(&folder)]);
    assert!(
        told.contains("properties.cedar:11: the `@id` `prod-writes-need-security` stands"),
        "{told}"
    );
}

#[test]
fn a_guard_that_was_broken_is_refuted_by_a_request_about_production() {
    let properties = shipped("policy-properties.cedar");
    let folder = changed("limits.cedar", r#"resource.tier == "prod""#, r#"resource.tier == "prd""#);
    let told = ends(65, &["policy", "prove", path(&folder), &properties]);
    assert!(told.contains("REFUTED prod-writes-need-security: "), "{told}");
    assert!(told.contains(&format!("({properties}:11)")), "{told}");
    assert!(told.contains("  allowed by:   builders-write-code\n"), "{told}");
    assert!(
        told.contains("tier `prod`") && told.contains("6 of 8 properties are proved"),
        "{told}"
    );

    let value = value(65, &["policy", "prove", path(&folder), &properties]);
    let refuted: Vec<_> = value["properties"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["verdict"] != "proved")
        .collect();
    assert_eq!(refuted.len(), 2, "{value}");
    let details = &refuted[0]["details"];
    let resource = details["entities"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["uid"]["type"] == "Jeton::Resource");
    assert_eq!(resource.unwrap()["attrs"]["tier"], "prod", "{value}");
    assert_eq!(details["allowed_by"], serde_json::json!(["builders-write-code"]));
    assert_eq!(details["request"]["context"]["approvals"], serde_json::json!([]));

    // An approval of another group lifts it: that is not what the property says.
    let folder = changed("limits.cedar", "Group::\"security\"", "Group::\"friends\"");
    let catalogue = folder.path().join("catalogue.toml");
    let more = fs::read_to_string(&catalogue).unwrap()
        + "\n[[group]]\nname = \"friends\"\nmembers = [\"spiffe://dev.jeton.local/person/bo\"]\n";
    fs::write(catalogue, more).unwrap();
    let told = ends(65, &["policy", "prove", path(&folder), &properties]);
    assert!(told.contains("approved by group `friends`"), "{told}");
}

#[test]
fn a_change_is_shown_to_grant_nothing_new_or_what_it_grants() {
    let policies = shipped("policies");
    let narrow = changed("agents.cedar", "15 * 60", "5 * 60");
    let told = ends(0, &["policy", "prove", path(&narrow), "--no-wider-than", &policies]);
    assert!(told.starts_with("proved `") && told.contains("grants nothing that `"), "{told}");
    let told = ends(65, &["policy", "prove", &policies, "--no-wider-than", path(&narrow)]);
    assert!(
        told.starts_with("REFUTED `") && told.contains("allowed by:   builders-write-code"),
        "{told}"
    );

    let facts = changed("catalogue.toml", "trust = 3", "trust = 4");
    let value = value(65, &["policy", "prove", path(&facts), "--no-wider-than", &policies]);
    assert_eq!(value["verdict"], "not decided", "{value}");
    assert!(value["details"]["words"].as_str().unwrap().contains("trust 3 → "), "{value}");
}

#[test]
fn a_bad_file_of_properties_is_told_with_its_place() {
    let policies = shipped("policies");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.cedar");
    let file = file.to_str().unwrap();
    fs::write(file, "@id(\"a\") @reason(\"r\")\nforbid (principal, action, resource) when { context.tll > 1 };\nforbid (principal, action, resource);").unwrap();
    let told = ends(65, &["policy", "prove", &policies, file]);
    assert!(told.contains("p.cedar:2: ") && told.contains("`tll`"), "{told}");
    assert!(told.contains("p.cedar:3: the property has no `@id`; name it"), "{told}");
    let none = folder.path().join("none.cedar");
    assert!(
        ends(65, &["policy", "prove", &policies, none.to_str().unwrap()]).contains("can't be read")
    );
    ends(64, &["policy", "prove", &policies]);
    ends(64, &["policy", "prove", &policies, file, "--no-wider-than", &policies]);

    fs::write(file, "@id(\"a\") @reason(\"r\")\nforbid (principal, action in Jeton::Action::\"grant\", resource) when { context.ttl < 1 };").unwrap();
    let told = ends(65, &["policy", "prove", &policies, file]);
    assert!(told.contains("SAYS NOTHING a: r"), "{told}");
}

#[test]
fn a_solver_that_is_not_there_or_too_slow_or_wrong_proves_nothing() {
    let (policies, properties) = (shipped("policies"), shipped("policy-properties.cedar"));
    for arguments in [
        &["policy", "prove", &policies, &properties][..],
        &["policy", "check", &policies, "--prove"],
    ] {
        let output = jeton(arguments).env("CVC5", "/nonexistent").output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        assert!(
            text(&output).contains("`/nonexistent`") && text(&output).contains("install cvc5"),
            "{}",
            text(&output)
        );
    }
    let output =
        jeton(&["policy", "check", &policies]).env("CVC5", "/nonexistent").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));

    let folder = tempfile::tempdir().unwrap();
    let wrong = |name: &str, answer: &str| -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let file = folder.path().join(name);
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\nwhile read -r line; do case \"$line\" in '(check-sat)') {answer} ;; esac; done\n"
        );
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    };
    let run = |solver: &Path, timeout: &str| {
        let output = jeton(&["policy", "prove", &policies, &properties, "--timeout", timeout])
            .env("CVC5", solver)
            .output()
            .unwrap();
        assert!(!text(&output).contains("proved prod-writes-need-security"), "{}", text(&output));
        output
    };
    let output = run(&wrong("unsure", "echo unknown"), "1m");
    assert_eq!(output.status.code(), Some(65), "{}", text(&output));
    assert!(text(&output).contains("NOT DECIDED prod-writes-need-security"), "{}", text(&output));
    let output = run(&wrong("silent", ":"), "1s");
    assert_eq!(output.status.code(), Some(65), "{}", text(&output));
    assert!(
        text(&output).contains("the solver was not done after 1 s; give it more by --timeout"),
        "{}",
        text(&output)
    );
    for answer in ["exit 0", "echo '(error \"no\")'", "echo sat; echo '('; echo ')'"] {
        let output = run(&wrong("broken", answer), "1m");
        assert_eq!(output.status.code(), Some(70), "{answer}: {}", text(&output));
        assert!(
            text(&output).contains("FAILED payments-need-security"),
            "{answer}: {}",
            text(&output)
        );
    }
}
