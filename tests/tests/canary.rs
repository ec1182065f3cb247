//! Canaries in every secret slot: none in logs at the finest level, errors, metrics, files, process.

use std::{fs, path::Path};

use jeton_proto::v1::{
    CloseSessionRequest, GetGrantRequest, GetSessionRequest, IntrospectRequest, ListGrantsRequest,
    ListSessionsRequest, ReleaseGrantRequest, RenewGrantRequest, RequestGrantRequest,
    RevokeGrantRequest, RevokeMatchingRequest, WhoAmIRequest, open_session_request::Binding,
    revoke_matching_request::Matching,
};
use jeton_tests::{
    broker::{Broker, Caller, opening, scope},
    canary::{Canaries, forms},
    eventually::within,
    github::{Github, KEY},
    github_front::{Call, Script},
    raw::{Raw, framed},
    records::Records,
};

const AUDIENCE: &str = "https://git.dev.jeton.local";

/// What callers were told, beside the credentials themselves.
#[derive(Default)]
struct Heard(String);

impl Heard {
    /// Keeps an answer or a refusal; both must be free of secrets.
    fn keep<T: std::fmt::Debug>(&mut self, answer: &T) {
        self.0.push_str(&format!("{answer:?}\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_where_none_may_be() {
    let github = Github::pretended().await;
    let mut broker = Broker::start_with(|data| {
        github.configure(data);
        let config = data.join("jetond.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text + "\n[log]\nfilter = \"trace\"\n").unwrap();
    });
    let mut canaries = Canaries::default();
    key_files(broker.data(), &mut canaries);
    let mut heard = Heard::default();
    let raw = everything(&broker, &github, &mut canaries, &mut heard).await;
    let metrics = metrics(&broker).await;
    let (environment, arguments) = (process(&broker, "environ"), process(&broker, "cmdline"));
    // While it runs: the write-ahead log still holds what a stop would fold in.
    let mut places = files(broker.data());
    assert!(places.iter().any(|(name, _)| name.ends_with("jeton.db-wal")));
    broker.stop();
    places.extend(files(broker.data()));
    places.push(("errors and answers".into(), heard.0.into_bytes()));
    places.push(("metrics".into(), metrics));
    places.push(("environment".into(), environment));
    places.push(("arguments".into(), arguments));

    let log = places.iter().find(|(name, _)| name.ends_with("/log")).unwrap();
    let text = String::from_utf8_lossy(&log.1);
    for source in ["h2::", "hyper_util::"] {
        let fine = text.lines().any(|line| line.contains("TRACE") && line.contains(source));
        assert!(fine, "no `{source}` in the log: it is not as fine as it gets");
    }
    let mut leaks = Vec::new();
    for (place, text) in &places {
        assert!(!text.is_empty() || !place.ends_with("log"), "{place} is empty");
        leaks.extend(canaries.found_in(text).iter().map(|canary| format!("{canary} in {place}")));
        // No token of GitHub's at all, also none that its answer garbled or that nobody received.
        if text.windows(4).any(|window| window == b"ghs_") {
            leaks.push(format!("a GitHub token in {place}"));
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(
        !canaries.found_in(&raw).is_empty(),
        "the same search finds a token in the answer that carries it"
    );
}

#[test]
fn the_search_finds_a_planted_canary_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "ghs_16C7e42F292c6912E7710c838347Ae178B4a";
    let mut canaries = Canaries::default();
    canaries.add("planted", secret);
    for (number, (form, bytes)) in forms(secret).into_iter().enumerate() {
        let text = [b"level=TRACE value=".as_slice(), &bytes, b" more"].concat();
        fs::write(folder.path().join(number.to_string()), text).unwrap();
        let found =
            files(folder.path()).iter().any(|(_, text)| !canaries.found_in(text).is_empty());
        assert!(found, "{form}");
        fs::remove_file(folder.path().join(number.to_string())).unwrap();
    }
    assert!(canaries.found_in(b"level=TRACE value=ghs_ and nothing else").is_empty());
}

/// Every key that the broker reads.
fn key_files(data: &Path, canaries: &mut Canaries) {
    canaries.add_pem("App key", KEY.pem());
    canaries.add("sealing key", fs::read_to_string(data.join("keys/sealing.key")).unwrap().trim());
    canaries.add_pem("TLS key", &fs::read_to_string(data.join("tls/server.key")).unwrap());
    let mut signing = 0;
    for entry in fs::read_dir(data.join("keys/signing")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        if text.contains("PRIVATE KEY") {
            canaries.add_pem("signing key", &text);
            signing += 1;
        }
    }
    assert!(signing > 0, "there is a signing key to look for");
}

/// Every call, granted and refused. Gives a raw answer that carries a token.
async fn everything(
    broker: &Broker,
    github: &Github,
    canaries: &mut Canaries,
    heard: &mut Heard,
) -> Vec<u8> {
    let (agent, session) = broker
        .agent_with(&["git:acme/* contents:write,contents:read", "github:acme/* contents:read"])
        .await;
    let handle = agent.handle.clone().unwrap();
    canaries.add("session handle", &handle);
    canaries.add("secret part of a session handle", handle.rsplit('_').next().unwrap());
    let operator = broker.as_("ana").await;
    let host = broker.as_("git-host").await;

    let mut ids = Vec::new();
    for text in ["git:acme/api contents:read", "github:acme/web contents:read"] {
        let answer = agent.requests_with_id(text, "once").await;
        // The second asks for something else under the same id.
        heard.keep(&answer.as_ref().err());
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => agent.requests(text).await.unwrap(),
        };
        let (grant, secret) = (answer.grant.unwrap(), answer.credential.unwrap().secret);
        add_credential(canaries, &secret);
        heard.keep(&grant);
        let renew = RenewGrantRequest { id: grant.id.clone(), ..Default::default() };
        let renewed = agent.grants().renew_grant(renew).await.unwrap().into_inner();
        heard.keep(&renewed.grant);
        add_credential(canaries, &renewed.credential.unwrap().secret);
        for audience in [AUDIENCE, "https://elsewhere"] {
            let look = IntrospectRequest { credential: secret.clone(), audience: audience.into() };
            heard.keep(&host.introspection().introspect(look.clone()).await);
            heard.keep(&agent.introspection().introspect(look).await);
        }
        ids.push(grant.id);
    }
    refusals(broker, github, &agent, heard).await;
    looks(&operator, &agent, &session.id, &ids, heard).await;
    ends(broker, &operator, &agent, &session.id, &ids, heard).await;
    raw_token(broker, canaries).await
}

fn add_credential(canaries: &mut Canaries, secret: &str) {
    canaries.add("credential", secret);
    if secret.starts_with("ey") {
        canaries.add("signature of a credential", secret.rsplit('.').next().unwrap());
    }
}

/// What is refused by callers' mistakes and by an upstream that fails or lies.
async fn refusals(broker: &Broker, github: &Github, agent: &Caller, heard: &mut Heard) {
    for text in [
        "git:other/api contents:read",
        "git:acme/api contents:write ref=main",
        "github:acme/vault contents:read",
    ] {
        heard.keep(&agent.requests(text).await.unwrap_err());
    }
    for script in [
        Script::BroaderPermissions,
        Script::AllRepositories,
        Script::TokenWithCrlf,
        Script::TruncatedJson,
        Script::CutAfterAccepting,
        Script::ServerErrorAfterAccepting,
        Script::Unauthorized401,
        Script::Redirect,
        Script::Html200,
    ] {
        github.front.next(Call::Mint, script);
        heard.keep(&agent.requests("github:acme/web contents:read").await.unwrap_err());
    }
    let mut thief = broker.as_("agent-2").await;
    thief.handle = agent.handle.clone();
    heard.keep(&thief.requests("git:acme/api contents:read").await.unwrap_err());
    let mut broken = agent.clone();
    broken.handle = agent.handle.as_ref().map(|handle| format!("{handle}x"));
    heard.keep(&broken.requests("git:acme/api contents:read").await.unwrap_err());

    let handle = agent.handle.clone().unwrap();
    let twice = [("jeton-session", handle.as_str()), ("jeton-session", handle.as_str())];
    let as_token = format!("Bearer {handle}");
    let mut raw = Raw::connect(broker, Some("agent")).await.unwrap();
    let path = "/jeton.v1.SessionService/WhoAmI";
    heard.keep(&raw.call(path, &twice, framed(&WhoAmIRequest {})).await);
    let mut nobody = Raw::connect(broker, None).await.unwrap();
    heard
        .keep(&nobody.call(path, &[("authorization", &as_token)], framed(&WhoAmIRequest {})).await);
    heard.keep(
        &nobody
            .call(path, &[("dpop", &handle), ("jeton-session", &handle)], framed(&WhoAmIRequest {}))
            .await,
    );
    heard.keep(
        &nobody.call("/nowhere", &[("jeton-session", &handle)], handle.clone().into_bytes()).await,
    );
}

async fn looks(
    operator: &Caller,
    agent: &Caller,
    session: &str,
    ids: &[String],
    heard: &mut Heard,
) {
    for caller in [operator, agent] {
        heard.keep(&caller.sessions().who_am_i(WhoAmIRequest {}).await);
        heard.keep(&caller.sessions().get_session(GetSessionRequest { id: session.into() }).await);
        heard.keep(&caller.sessions().list_sessions(ListSessionsRequest::default()).await);
        heard.keep(&caller.grants().list_grants(ListGrantsRequest::default()).await);
        for id in ids {
            heard.keep(&caller.grants().get_grant(GetGrantRequest { id: id.clone() }).await);
        }
    }
}

async fn ends(
    broker: &Broker,
    operator: &Caller,
    agent: &Caller,
    session: &str,
    ids: &[String],
    heard: &mut Heard,
) {
    heard.keep(&agent.grants().release_grant(ReleaseGrantRequest { id: ids[0].clone() }).await);
    let revoke =
        RevokeGrantRequest { id: ids[1].clone(), reason: "enough".into(), ..Default::default() };
    heard.keep(&operator.grants().revoke_grant(revoke.clone()).await);
    heard.keep(
        &agent
            .grants()
            .renew_grant(RenewGrantRequest { id: ids[1].clone(), ..Default::default() })
            .await,
    );
    heard.keep(
        &agent
            .grants()
            .revoke_matching(RevokeMatchingRequest {
                matching: Some(Matching::All(true)),
                ..Default::default()
            })
            .await,
    );
    heard.keep(
        &operator
            .grants()
            .revoke_matching(RevokeMatchingRequest {
                matching: Some(Matching::Upstream("git".into())),
                ..Default::default()
            })
            .await,
    );
    heard.keep(
        &operator
            .sessions()
            .close_session(CloseSessionRequest { id: session.into(), reason: "over".into() })
            .await,
    );
    heard.keep(&agent.requests("git:acme/api contents:read").await.unwrap_err());
    within(std::time::Duration::from_secs(20), "tokens are taken back", async || {
        (Records::open(broker.data()).queued_revocations() == 0).then_some(())
    })
    .await;
}

/// A grant over a connection whose bytes we see.
async fn raw_token(broker: &Broker, canaries: &mut Canaries) -> Vec<u8> {
    let orchestrator = broker.as_("orchestrator").await;
    let mut request = opening(&["git:acme/* contents:read"]);
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let handle = orchestrator.sessions().open_session(request).await.unwrap().into_inner().handle;
    canaries.add("session handle", &handle);
    let ask = RequestGrantRequest {
        scope: Some(scope("git:acme/api contents:read")),
        ttl_seconds: 60,
        reason: "a test".into(),
        request_id: "seen".into(),
        delivery: jeton_proto::v1::Delivery::Direct.into(),
    };
    let mut raw = Raw::connect(broker, Some("agent")).await.unwrap();
    let headers = [("jeton-session", handle.as_str())];
    let answer =
        raw.call("/jeton.v1.GrantService/RequestGrant", &headers, framed(&ask)).await.unwrap();
    assert_eq!(answer.code, Some(0), "{}", answer.message);
    let mut agent = broker.as_("agent").await;
    agent.handle = Some(handle);
    let again = agent.grants().request_grant(ask).await.unwrap().into_inner();
    add_credential(canaries, &again.credential.unwrap().secret);
    answer.body.to_vec()
}

async fn metrics(broker: &Broker) -> Vec<u8> {
    let url = format!("{}/metrics", broker.env("JETON_ADMIN"));
    let page = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    assert!(String::from_utf8_lossy(&page).contains("jeton_live_grants"));
    page.to_vec()
}

fn process(broker: &Broker, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{}/{file}", broker.pid())).unwrap()
}

/// Everything in a folder but the key files themselves.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_key =
            path.ends_with("keys") || path.extension().is_some_and(|ending| ending == "key");
        if path.is_dir() && !is_key {
            found.extend(files(&path));
        } else if path.is_file() && !is_key {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found
}
