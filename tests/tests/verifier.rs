//! The verifier of the client library, as owners of APIs run it: the examples, as real processes,
//! against a real `jetond`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use jeton_client::{
    Ask, Binding, Client, DpopKey, OpenSession, Scope,
    verifier::{Call, PeerThumbprint, Refused, RevocationBy, Verifier, VerifierSettings},
};
use jeton_domain::scope::ScopeBound;
use jeton_proto::v1::RevokeGrantRequest;
use jeton_tests::{
    broker::{AGENT, Broker, program},
    eventually::within,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const ISSUER: &str = "https://dev.jeton.local";
const GIT: &str = "https://git.dev.jeton.local";
const READ: &str = "git:acme/api contents:read";
/// The list's life at the verifier, and what its making takes.
const LISTED: Duration = Duration::from_secs(15);

/// An example that runs.
struct Api {
    child: Child,
    url: String,
}

impl Api {
    fn start(broker: &Broker, name: &str, more: &[&str]) -> Self {
        let tls = broker.data().join("tls");
        let keys = format!("{}/.well-known/jwks.json", broker.env("JETON_ENDPOINT"));
        let mut child = Command::new(program(&format!("examples/{name}")))
            .args([ISSUER, GIT, &keys])
            .arg(tls.join("ca.pem"))
            .args(more)
            .envs(broker.envs().iter().cloned())
            .env("JETON_CERT", tls.join("git-host.pem"))
            .env("JETON_KEY", tls.join("git-host.key"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session bound to a key, and a client with its handle.
async fn session(broker: &Broker, binding: Binding) -> Client {
    let key = match &binding {
        Binding::Key(key) => Some(key.clone()),
        _ => None,
    };
    let opening = OpenSession {
        agent: AGENT.to_owned(),
        person: None,
        task: "a test".to_owned(),
        allow: vec![ScopeBound::parse("git:acme/* contents:read").unwrap()],
        max_grants: 1000,
        max_grant_ttl: Duration::from_secs(600),
        ttl: Duration::from_secs(3600),
        binding,
        parent: None,
    };
    let opened = broker.client("orchestrator").await.open_session(&opening).await.unwrap();
    broker.client("agent").await.with_handle(opened.handle, key)
}

/// A grant's id and its token.
async fn token(agent: &Client) -> (String, String) {
    let ask =
        Ask { ttl: Some(Duration::from_secs(300)), ..Ask::direct(Scope::parse(READ).unwrap()) };
    let granted = agent.request_grant(ask).await.unwrap();
    (granted.grant.id, granted.secret.unwrap().secret.expose().to_owned())
}

async fn revoke(broker: &Broker, id: &str) {
    let request = RevokeGrantRequest { id: id.into(), ..Default::default() };
    broker.as_("ana").await.grants().revoke_grant(request).await.unwrap();
}

/// Calls the example API with a DPoP token: the status, the challenge and the text.
async fn get(api: &Api, key: &DpopKey, token: &str, resource: &str) -> (u16, String, String) {
    let url = format!("{}/invoices/{resource}", api.url);
    let proof = key.proof("GET", &url, token).unwrap();
    send(&url, Some(("DPoP", token)), Some(&proof)).await
}

async fn send(
    url: &str,
    token: Option<(&str, &str)>,
    proof: Option<&str>,
) -> (u16, String, String) {
    jeton_tests::crypto();
    let mut request = reqwest::Client::new().get(url);
    if let Some((scheme, token)) = token {
        request = request.header("authorization", format!("{scheme} {token}"));
    }
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    let answer = request.send().await.unwrap();
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    (answer.status().as_u16(), challenge, answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_axum_api_opens_to_good_tokens_with_their_key_and_closes_when_they_are_revoked() {
    let broker = Broker::start();
    let api = Api::start(&broker, "axum_api", &[]);
    let key = DpopKey::generate().unwrap();
    let agent = session(&broker, Binding::Key(key.clone())).await;
    let (id, good) = token(&agent).await;

    let (status, _, text) = get(&api, &key, &good, "acme/api").await;
    assert_eq!((status, text.as_str()), (200, &*format!("invoices of acme/api for {AGENT}\n")));
    let (status, _, text) = get(&api, &key, &good, "acme/web").await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("the token opens git:acme/api contents:read"), "{text}");

    let url = format!("{}/invoices/acme/api", api.url);
    let proof = key.proof("GET", &url, &good).unwrap();
    assert_eq!(send(&url, Some(("DPoP", &good)), Some(&proof)).await.0, 200);
    let other = DpopKey::generate().unwrap();
    let foreign = other.proof("GET", &url, &good).unwrap();
    let post = key.proof("POST", &url, &good).unwrap();
    let elsewhere = key.proof("GET", "https://elsewhere.example/invoices/acme/api", &good).unwrap();
    let unbound = key.proof("GET", &url, "another token").unwrap();
    let last = if good.ends_with('A') { 'Q' } else { 'A' };
    let forged = format!("{}{last}", &good[..good.len() - 1]);
    let bound = key.proof("GET", &url, &forged).unwrap();
    for (what, with, proof, told) in [
        ("no token", None, None, "Bearer, DPoP algs="),
        ("no proof", Some(("DPoP", &good)), None, "send a DPoP proof with it"),
        ("as a bearer", Some(("Bearer", &good)), None, "send it as `authorization: DPoP"),
        (
            "a used proof",
            Some(("DPoP", &good)),
            Some(&proof),
            "DPoP error=\"invalid_dpop_proof\", error_description=\"the DPoP proof was used before",
        ),
        ("another key", Some(("DPoP", &good)), Some(&foreign), "made by another key"),
        ("another method", Some(("DPoP", &good)), Some(&post), "for another method"),
        ("another place", Some(("DPoP", &good)), Some(&elsewhere), "for another URL"),
        ("another token", Some(("DPoP", &good)), Some(&unbound), "base64url SHA-256"),
        (
            "a forged token",
            Some(("DPoP", &forged)),
            Some(&bound),
            "DPoP error=\"invalid_token\", error_description=\"the token is not one for this API: its signature is wrong",
        ),
        ("a forged bearer", Some(("Bearer", &forged)), None, "Bearer error=\"invalid_token\""),
    ] {
        let with = with.map(|(scheme, token)| (scheme, token.as_str()));
        let (status, challenge, _) = send(&url, with, proof.map(String::as_str)).await;
        assert_eq!(status, 401, "{what}");
        assert!(challenge.contains(told), "{what}: {challenge}");
    }

    revoke(&broker, &id).await;
    let refused = async || {
        let (status, challenge, _) = get(&api, &key, &good, "acme/api").await;
        (status == 401).then_some(challenge)
    };
    let challenge = within(LISTED, "the list tells of it", refused).await;
    assert!(challenge.contains("the token was revoked"), "{challenge}");
    let (_, another) = token(&agent).await;
    assert_eq!(get(&api, &key, &another, "acme/api").await.0, 200, "others stay good");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_listens_closes_at_once_and_when_it_hears_nothing_any_more() {
    let mut broker = Broker::start();
    let api = Api::start(&broker, "axum_api", &["watch"]);
    let key = DpopKey::generate().unwrap();
    let agent = session(&broker, Binding::Key(key.clone())).await;
    let (id, good) = token(&agent).await;
    let (_, other) = token(&agent).await;
    let opens = async || (get(&api, &key, &good, "acme/api").await.0 == 200).then_some(());
    within(Duration::from_secs(5), "it has heard", opens).await;

    revoke(&broker, &id).await;
    let began = Instant::now();
    let closed = async || (get(&api, &key, &good, "acme/api").await.0 == 401).then_some(());
    within(Duration::from_secs(1), "it closes", closed).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(get(&api, &key, &other, "acme/api").await.0, 200);

    broker.kill();
    let unsure = async || (get(&api, &key, &other, "acme/api").await.0 == 503).then_some(());
    within(Duration::from_secs(8), "silence closes it", unsure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tonic_service_takes_a_token_from_the_holder_of_its_certificate_alone() {
    let broker = Broker::start();
    let tls = broker.data().join("tls");
    let file = |name: &str| tls.join(name).display().to_string();
    let api = Api::start(&broker, "tonic_api", &[&file("server.pem"), &file("server.key")]);
    let agent = session(&broker, Binding::CertificateFile(tls.join("agent.pem"))).await;
    let (id, good) = token(&agent).await;
    let call = async |who: &str, authorization: Option<String>| {
        let channel = broker.channel(who, &api.url).await.unwrap();
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        HealthClient::new(channel).check(request).await.map(drop)
    };
    call("agent", Some(format!("Bearer {good}"))).await.unwrap();
    let refused = call("orchestrator", Some(format!("Bearer {good}"))).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    assert!(refused.message().contains("certificate of this connection is another one"));
    let refused = call("agent", None).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    revoke(&broker, &id).await;
    let closed = async || call("agent", Some(format!("Bearer {good}"))).await.err();
    let closed = within(LISTED, "the list tells of it", closed).await;
    assert_eq!(closed.message(), "the token was revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_takes_no_token_for_another_and_none_that_it_can_not_look_up() {
    // The algorithm by its other name (RFC 9864).
    let mut broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let audience = format!("audience = \"{GIT}\"\n");
        let named = text.replace(&audience, &format!("{audience}algorithm = \"Ed25519\"\n"));
        std::fs::write(file, named).unwrap();
    });
    let tls = broker.data().join("tls");
    let agent = session(&broker, Binding::CertificateFile(tls.join("agent.pem"))).await;
    let (id, good) = token(&agent).await;
    let keys = format!("{}/.well-known/jwks.json", broker.env("JETON_ENDPOINT"));
    let verifier = async |issuer: &str, audience: &str, revocation: RevocationBy| {
        let settings = VerifierSettings {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            keys_url: Some(keys.clone()),
            ca: Some(tls.join("ca.pem")),
            revocation,
            ..VerifierSettings::default()
        };
        Verifier::new(settings).await.unwrap()
    };
    let der = std::fs::read(tls.join("agent.pem")).unwrap();
    let der =
        <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(
            &der,
        )
        .unwrap();
    let authorization = format!("Bearer {good}");
    let call = Call {
        method: "POST",
        path: "/",
        authorization: Some(&authorization),
        dpop: None,
        certificate: Some(PeerThumbprint::of(&der)),
    };
    let access = verifier(ISSUER, GIT, RevocationBy::StatusList).await.check(call).await.unwrap();
    assert_eq!((access.grant.as_str(), access.agent.as_str()), (id.as_str(), AGENT));
    assert!(access.allows("contents:read", "acme/api"));
    assert!(!access.allows("contents:write", "acme/api"));
    assert!(!access.allows("contents:read", "acme"));

    let other = verifier(ISSUER, "https://orders.dev.jeton.local", RevocationBy::OwnEnd).await;
    let error = other.check(call).await.unwrap_err();
    assert!(error.to_string().contains("its audience is another one"), "{error}");
    let other = verifier("https://dev.jeton.local/", GIT, RevocationBy::OwnEnd).await;
    let error = other.check(call).await.unwrap_err();
    assert!(error.to_string().contains("its issuer is another one"), "{error}");
    let asks =
        verifier(ISSUER, GIT, RevocationBy::Introspection(broker.client("git-host").await)).await;
    asks.check(call).await.unwrap();
    revoke(&broker, &id).await;
    assert_eq!(asks.check(call).await.unwrap_err(), Refused::Revoked, "never late");
    let fresh = async || {
        let lists = verifier(ISSUER, GIT, RevocationBy::StatusList).await;
        (lists.check(call).await == Err(Refused::Revoked)).then_some(())
    };
    within(Duration::from_secs(1), "a fresh list knows", fresh).await;
    let lists = verifier(ISSUER, GIT, RevocationBy::StatusList).await;
    broker.kill();
    for unsure in [asks, lists] {
        let error = unsure.check(call).await.unwrap_err();
        assert!(matches!(error, Refused::Unsure(_)), "{error}");
    }
}
