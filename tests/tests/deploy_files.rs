//! What lies in `deploy/` is read as it would be where it is deployed.

use std::path::Path;

use jeton_broker::{
    config::{Config, UpstreamKind},
    identity::oidc::KeyPlace,
};

const CONFIGURATION: &str = include_str!("../../deploy/jetond.toml");
const UNIT: &str = include_str!("../../deploy/jetond.service");

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/jeton"))
        .map_err(|problems| {
            problems.iter().map(|p| format!("{}: {}\n", p.line, p.words)).collect::<String>()
        })
        .unwrap_or_else(|problems| panic!("deploy/jetond.toml:\n{problems}"))
}

#[test]
fn the_example_configuration_is_good_and_shows_every_kind_of_everything() {
    let config = parse(CONFIGURATION);
    assert_eq!(config.policies, Path::new("/etc/jeton/policies"));
    assert!(!config.bearer_handles);
    assert!(config.grpc.unix_socket.is_some());
    assert!(config.grpc.tls.crl.is_some());
    assert_eq!(config.grpc.external_urls.len(), 2);

    assert_eq!(config.upstreams.len(), 2);
    let kinds = config.upstreams.iter().map(|upstream| match &upstream.kind {
        UpstreamKind::GithubApp { app_id, .. } => format!("github-app {app_id}"),
        UpstreamKind::StaticKey { actions, .. } => format!("static-key {}", actions.len()),
        UpstreamKind::Signed { actions, .. } => format!("signed {}", actions.len()),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["github-app 123456", "signed 2"]);
    let sensitive = config.upstreams.iter().map(|upstream| upstream.case_sensitive);
    assert_eq!(sensitive.collect::<Vec<_>>(), [false, true]);
    let odd = CONFIGURATION.replacen("app_id", "case_sensitive = true\napp_id", 1);
    assert!(Config::parse(&odd, Path::new("/etc/jeton")).is_err(), "GitHub tells no cases apart");

    let issuers = &config.identity.issuers;
    let mappings: Vec<usize> = issuers.iter().map(|issuer| issuer.mappings.len()).collect();
    assert_eq!(mappings, [1, 1, 2, 1]);
    assert!(issuers.iter().any(|issuer| issuer.keys == KeyPlace::Discovery));
    assert!(issuers.iter().any(|issuer| matches!(issuer.keys, KeyPlace::JwksUrl(_))));
    assert!(issuers.iter().any(|issuer| matches!(issuer.keys, KeyPlace::File(_))));
    assert_eq!(issuers.iter().filter(|issuer| issuer.max_age.is_some()).count(), 1);

    assert_eq!((config.approval.webhooks.len(), config.approval.reviewers.len()), (2, 1));
    assert_eq!(config.identity.unix.len(), 2);
    assert_eq!(config.identity.roles.len(), 3);
}

#[test]
fn the_example_configuration_names_every_key() {
    // Why an unknown key: the words that refuse it list the keys that are known there.
    let folder = Path::new("/etc/jeton");
    for table in ["grpc", "gateway", "http", "admin", "store", "keys", "policy", "sessions", "log"]
    {
        let probe = CONFIGURATION.replacen(
            &format!("\n[{table}]\n"),
            &format!("\n[{table}]\nno_such_key = 1\n"),
            1,
        );
        assert_ne!(probe, CONFIGURATION, "[{table}] is missing");
        shows_all(table, &probe, folder);
    }
    for table in ["issuer", "issuer.map", "unix_account", "role", "approval.reviewer"] {
        let probe = CONFIGURATION.replacen(
            &format!("\n[[{table}]]\n"),
            &format!("\n[[{table}]]\nno_such_key = 1\n"),
            1,
        );
        assert_ne!(probe, CONFIGURATION, "[[{table}]] is missing");
        shows_all(table, &probe, folder);
    }
}

/// Reads the known keys out of the words about the unknown one, and looks for each in the file.
fn shows_all(table: &str, probe: &str, folder: &Path) {
    let problems = Config::parse(probe, folder).err().unwrap();
    let words: Vec<&str> = problems.iter().map(|problem| problem.words.as_str()).collect();
    let [words] = words[..] else { panic!("[{table}]: {words:?}") };
    let (_, known) = words.split_once("known here are ").unwrap();
    for key in known.split(", ") {
        let shown = CONFIGURATION.lines().any(|line| {
            let line = line.trim_start();
            let set = |line: &str| {
                line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
            };
            set(line) || line == format!("[[{table}.{key}]]")
        });
        assert!(shown, "`{key}` of [{table}] is not shown in deploy/jetond.toml");
    }
}

#[test]
fn the_unit_runs_what_the_command_line_has_and_nothing_writable_but_its_state() {
    let has = |line: &str| UNIT.lines().any(|other| other == line);
    for line in [
        "ExecStart=/usr/local/bin/jetond serve --config /etc/jeton/jetond.toml",
        "ExecReload=kill -HUP $MAINPID",
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
        "LimitCORE=0",
        "StateDirectory=jeton",
        "UMask=0077",
        "MemoryMax=4G",
        "TasksMax=1024",
    ] {
        assert!(has(line), "{line}");
    }
    assert!(!UNIT.contains("ReadWritePaths"));
}
