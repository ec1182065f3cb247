//! Shared signals both ways: a receiver that others' library checks hears of what is taken back, and
//! the word of a trusted transmitter ends a person's sessions.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use jeton_proto::v1::{
    CloseSessionRequest, GetSessionRequest, RevokeGrantRequest, SessionState,
    open_session_request::Binding,
};
use jeton_tests::{
    broker::{Broker, Caller, opening},
    eventually::within,
    issuer::Issuer,
};
use serde_json::{Value, json};

const READ: &str = "git:acme/api contents:read";
const SECRET: &str = "receiver-secret-7Vq2";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
const SOON: Duration = Duration::from_secs(20);

/// A receiver that others' library checks: a process of Node.
struct Receiver {
    child: Child,
    input: ChildStdin,
    port: u16,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start() -> Self {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("others/receiver.mjs");
        let mut child = Command::new(jeton_tests::emulate::node())
            .arg(script)
            .args(["https://siem.example", SECRET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                all.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, input, port: line.trim().parse().unwrap(), heard }
    }

    fn configure(&self, data: &std::path::Path) {
        use std::os::unix::fs::PermissionsExt;
        let secret = data.join("keys/receiver.token");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let file = data.join("jetond.toml");
        let more = format!(
            "\n[[ssf.receiver]]\nurl = \"http://127.0.0.1:{}/events\"\naudience = \"https://siem.example\"\ntoken = \"keys/receiver.token\"\n",
            self.port
        );
        let text = std::fs::read_to_string(&file).unwrap() + &more;
        std::fs::write(file, text).unwrap();
    }

    /// From now on it believes whom this broker's configuration names.
    fn believes(&mut self, broker: &Broker) {
        let keys = broker.env("JETON_JWKS");
        let base = keys.strip_suffix("/.well-known/jwks.json").unwrap();
        writeln!(self.input, "{base}/.well-known/ssf-configuration").unwrap();
    }

    fn of(&self, kind: &str) -> Vec<Value> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|token| token["events"].get(kind).is_some()).cloned().collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn revoke(operator: &Caller, id: &str) {
    let request =
        RevokeGrantRequest { id: id.into(), reason: "leaked".into(), ..Default::default() };
    operator.grants().revoke_grant(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_hears_of_all_that_is_taken_back_also_when_it_or_the_broker_was_away() {
    let mut receiver = Receiver::start();
    let mut broker = Broker::start_with(|data| receiver.configure(data));
    let (agent, session) = broker.agent_with(&[READ]).await;
    let operator = broker.as_("ana").await;
    let first = agent.requests(READ).await.unwrap().grant.unwrap().id;
    revoke(&operator, &first).await;
    receiver.believes(&broker);
    let told = within(SOON, "the receiver hears", async || {
        receiver.of(&format!("{CAEP}/credential-change")).pop()
    })
    .await;
    assert_eq!(
        told["sub_id"],
        json!({"format": "jwt_id", "iss": "https://dev.jeton.local", "jti": first})
    );
    let event = &told["events"][format!("{CAEP}/credential-change")];
    assert_eq!(
        (event["change_type"].as_str(), event["credential_type"].as_str()),
        (Some("revoke"), Some("access-token"))
    );
    assert_eq!(
        (event["initiating_entity"].as_str(), event["reason_admin"]["en"].as_str()),
        (Some("admin"), Some("leaked"))
    );
    assert!(told.get("exp").is_none() && told.get("sub").is_none(), "{told}");
    assert_eq!(receiver.of(VERIFICATION).len(), 1, "the stream was verified first");

    // Killed again and again while grants end: each is told, with one name however often it is sent.
    let mut ended = vec![first];
    for _ in 0..5 {
        for _ in 0..10 {
            let id =
                agent_of(&broker, &agent).await.requests(READ).await.unwrap().grant.unwrap().id;
            revoke(&broker.as_("ana").await, &id).await;
            ended.push(id);
        }
        broker.kill();
        broker.run();
    }
    let names = async || {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for token in receiver.of(&format!("{CAEP}/credential-change")) {
            let (grant, id) = (token["sub_id"]["jti"].as_str(), token["jti"].as_str());
            let ids = names.entry(grant.unwrap().to_owned()).or_default();
            if !ids.contains(&id.unwrap().to_owned()) {
                ids.push(id.unwrap().to_owned());
            }
        }
        ended.iter().all(|grant| names.contains_key(grant)).then_some(names)
    };
    let names = within(SOON, "all are told", names).await;
    assert_eq!(names.len(), ended.len());
    assert!(names.values().all(|ids| ids.len() == 1), "{names:?}");

    let close = CloseSessionRequest { id: session.id.clone(), reason: "over".into() };
    broker.as_("ana").await.sessions().close_session(close).await.unwrap();
    let told = within(SOON, "the session's end is told", async || {
        receiver.of(&format!("{CAEP}/session-revoked")).pop()
    })
    .await;
    assert_eq!(told["sub_id"]["session"], json!({"format": "opaque", "id": session.id}));
    assert_eq!(told["sub_id"]["application"]["uri"], session.agent);
    assert!(!broker.log().contains(SECRET));
}

async fn agent_of(broker: &Broker, agent: &Caller) -> Caller {
    let mut again = broker.as_("agent").await;
    again.handle.clone_from(&agent.handle);
    again
}

const IDP: &str = "https://idp.example";

/// A broker that believes an identity provider about people.
fn believing(idp: &Issuer) -> Broker {
    Broker::start_with(|data| {
        std::fs::write(data.join("idp.json"), idp.jwks().to_string()).unwrap();
        let file = data.join("jetond.toml");
        let more = format!(
            r#"
[[ssf.transmitter]]
issuer = "{IDP}"
audience = "https://jeton.example"
algorithms = ["EdDSA"]
jwks_file = "idp.json"
[[ssf.transmitter.map]]
principal = "spiffe://dev.jeton.local/person/{{id}}"
kind = "person"
[ssf.transmitter.map.claims]
format = "opaque"
id = "*"
"#
        );
        let text = std::fs::read_to_string(&file).unwrap() + &more;
        std::fs::write(file, text).unwrap();
    })
}

/// What an identity provider says when it ends the sessions of a person.
fn ended(person: &str) -> Value {
    let now = jeton_tests::now().as_second();
    json!({
        "iss": IDP, "aud": "https://jeton.example", "iat": now, "jti": format!("{person}-1"),
        "sub_id": {"format": "complex", "user": {"format": "opaque", "id": person}},
        "events": {format!("{CAEP}/session-revoked"): {"event_timestamp": now}},
    })
}

async fn session_for(broker: &Broker, person: &str) -> String {
    let mut open = opening(&[READ]);
    open.person = format!("spiffe://dev.jeton.local/person/{person}");
    open.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let orchestrator = broker.as_("orchestrator").await;
    orchestrator.sessions().open_session(open).await.unwrap().into_inner().session.unwrap().id
}

async fn state(broker: &Broker, id: &str) -> SessionState {
    let get = GetSessionRequest { id: id.to_owned() };
    let found = broker.as_("ana").await.sessions().get_session(get).await.unwrap().into_inner();
    found.session.unwrap().state()
}

async fn tell(broker: &Broker, kind: &str, token: &str) -> (u16, Value) {
    let url = format!("{}/ssf/events", broker.env("JETON_ENDPOINT"));
    let request = broker.http(None).post(url).header("content-type", kind);
    let answer = request.body(token.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

const SET: &str = "application/secevent+jwt";

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_trusted_transmitter_ends_the_sessions_of_a_person() {
    let idp = Issuer::new();
    let broker = believing(&idp);
    let (own, other) = (session_for(&broker, "bea").await, session_for(&broker, "cem").await);
    let signal = idp.signs("secevent+jwt", &ended("bea"));
    assert_eq!(tell(&broker, SET, &signal).await.0, 202);
    assert_eq!(state(&broker, &own).await, SessionState::Closed);
    assert_eq!(state(&broker, &other).await, SessionState::Open);

    // Who caught it and sends it again ends nothing that was opened since.
    let mut old = ended("bea");
    let kind = format!("{CAEP}/session-revoked");
    old["events"][&kind]["event_timestamp"] = json!(jeton_tests::now().as_second() - 60);
    let again = session_for(&broker, "bea").await;
    let entries = log_size(&broker).await;
    for _ in 0..20 {
        assert_eq!(tell(&broker, SET, &idp.signs("secevent+jwt", &old)).await.0, 202);
    }
    assert_eq!(state(&broker, &again).await, SessionState::Open);
    assert_eq!(log_size(&broker).await, entries, "nor does it fill the log");

    // An account that was closed ends them, too; what means nothing here is passed over.
    let mut disabled = ended("cem");
    let kind = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
    disabled["events"] = json!({kind: {"reason": "hijacking"}});
    assert_eq!(tell(&broker, SET, &idp.signs("secevent+jwt", &disabled)).await.0, 202);
    assert_eq!(state(&broker, &other).await, SessionState::Closed);
    let mut strange = ended("bea");
    strange["events"] = json!({"https://example.org/lunch": {}});
    assert_eq!(tell(&broker, SET, &idp.signs("secevent+jwt", &strange)).await.0, 202);
    let mut nobody = ended("bea");
    nobody["sub_id"] = json!({"format": "email", "email": "bea@example.org"});
    assert_eq!(tell(&broker, SET, &idp.signs("secevent+jwt", &nobody)).await.0, 202);
    assert_eq!(state(&broker, &again).await, SessionState::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_that_ends_has_opened_ends_with_it_however_late_that_was() {
    let idp = Issuer::new();
    let broker = believing(&idp);
    let mut open = opening(&[READ]);
    open.person = "spiffe://dev.jeton.local/person/bea".into();
    open.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let orchestrator = broker.as_("orchestrator").await;
    let opened = orchestrator.sessions().open_session(open).await.unwrap().into_inner();
    let above = opened.session.unwrap();
    let mut agent = broker.as_("agent").await;
    agent.handle = Some(opened.handle);
    // The signal is from before the session below was opened, and comes after it.
    let happened = above.open_time.unwrap().seconds - 4;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut open = opening(&[READ]);
    open.parent = above.id.clone();
    open.envelope.as_mut().unwrap().max_grants = 3;
    open.ttl_seconds = 600;
    open.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let below = agent.sessions().open_session(open).await.unwrap().into_inner().session.unwrap();
    let beside = session_for(&broker, "bea").await;
    let mut signal = ended("bea");
    signal["events"][format!("{CAEP}/session-revoked")]["event_timestamp"] = json!(happened);
    assert_eq!(tell(&broker, SET, &idp.signs("secevent+jwt", &signal)).await.0, 202);
    assert_eq!(state(&broker, &above.id).await, SessionState::Closed);
    assert_eq!(state(&broker, &below.id).await, SessionState::Closed, "with all below it");
    assert_eq!(state(&broker, &beside).await, SessionState::Open, "that is another one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_is_sent_again_ends_nothing_that_was_opened_since_also_after_a_restart() {
    let idp = Issuer::new();
    let mut broker = believing(&idp);
    let kind = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
    let mut disabled = ended("bea");
    disabled["events"] = json!({kind: {}});
    let disabled = idp.signs("secevent+jwt", &disabled);
    let own = session_for(&broker, "bea").await;
    assert_eq!(tell(&broker, SET, &disabled).await.0, 202);
    assert_eq!(state(&broker, &own).await, SessionState::Closed);

    // The account is open again, and somebody sends what they caught.
    let since = session_for(&broker, "bea").await;
    assert_eq!(tell(&broker, SET, &disabled).await.0, 202);
    assert_eq!(state(&broker, &since).await, SessionState::Open, "it was received before");
    broker.kill();
    broker.run();
    assert_eq!(tell(&broker, SET, &disabled).await.0, 202);
    assert_eq!(state(&broker, &since).await, SessionState::Open, "a restart forgets nothing");

    // The same of an event that just happened, for all the room that clocks need.
    let just = idp.signs("secevent+jwt", &ended("cem"));
    let own = session_for(&broker, "cem").await;
    assert_eq!(tell(&broker, SET, &just).await.0, 202);
    assert_eq!(state(&broker, &own).await, SessionState::Closed);
    let later = session_for(&broker, "cem").await;
    assert_eq!(tell(&broker, SET, &just).await.0, 202);
    assert_eq!(state(&broker, &later).await, SessionState::Open);

    // An event that is yet to come is no older than its token.
    let mut ahead = ended("bea");
    let now = jeton_tests::now().as_second();
    ahead["iat"] = json!(now - 60);
    ahead["events"][format!("{CAEP}/session-revoked")]["event_timestamp"] = json!(now + 3600);
    assert_eq!(tell(&broker, SET, &idp.signs("secevent+jwt", &ahead)).await.0, 202);
    assert_eq!(state(&broker, &since).await, SessionState::Open, "it was issued before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_over_is_over_for_sessions_that_opened_before_anybody_heard() {
    let idp = Issuer::new();
    let broker = believing(&idp);
    let kind = "https://schemas.openid.net/secevent/risc/event-type/account-purged";
    let mut purged = ended("cem");
    purged["iat"] = json!(jeton_tests::now().as_second() - 600);
    purged["events"] = json!({kind: {}});
    let own = session_for(&broker, "cem").await;
    assert_eq!(tell(&broker, SET, &idp.signs("secevent+jwt", &purged)).await.0, 202);
    assert_eq!(state(&broker, &own).await, SessionState::Closed, "a queue may be slow");
    // Eight days old: nobody remembers whether it came before.
    let mut old = purged.clone();
    old["iat"] = json!(jeton_tests::now().as_second() - 8 * 24 * 3600);
    let own = session_for(&broker, "cem").await;
    assert_eq!(tell(&broker, SET, &idp.signs("secevent+jwt", &old)).await.0, 202);
    assert_eq!(state(&broker, &own).await, SessionState::Open);
}

async fn log_size(broker: &Broker) -> u64 {
    broker.client("audrey").await.checkpoint().await.unwrap().checkpoint.checkpoint().size
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_is_not_exactly_right_ends_nothing_and_is_told_why() {
    let idp = Issuer::new();
    let broker = believing(&idp);
    let own = session_for(&broker, "bea").await;
    let good = ended("bea");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        idp.signs("secevent+jwt", &claims)
    };
    let now = jeton_tests::now().as_second();
    let other = Issuer::new().signs("secevent+jwt", &good);
    for (what, token, err) in [
        ("another issuer", with("iss", json!("https://idp.example/")), "invalid_issuer"),
        ("another audience", with("aud", json!(["x"])), "invalid_audience"),
        ("another key", other, "invalid_key"),
        ("from the future", with("iat", json!(now + 60)), "invalid_request"),
        ("no events", with("events", json!({})), "invalid_request"),
        ("about nobody", with("sub_id", json!({"format": "complex"})), "invalid_request"),
        ("an identity token", idp.signs("JWT", &good), "invalid_request"),
        ("no token", "x".to_owned(), "invalid_request"),
    ] {
        let (status, answer) = tell(&broker, SET, &token).await;
        assert_eq!((status, answer["err"].as_str()), (400, Some(err)), "{what}: {answer}");
        assert!(answer["description"].as_str().is_some_and(|words| words.len() > 10), "{answer}");
    }
    // Spec: RFC 9110 §15.5.14: it is refused before anything reads it as a token.
    let (status, answer) = tell(&broker, SET, &"x".repeat(200_000)).await;
    assert_eq!((status, answer["reason"].as_str()), (413, Some("BODY_TOO_LONG")), "{answer}");
    let (status, answer) = tell(&broker, "application/json", &with("jti", json!("a"))).await;
    assert_eq!((status, answer["err"].as_str()), (400, Some("invalid_request")));
    assert_eq!(state(&broker, &own).await, SessionState::Open);
}
