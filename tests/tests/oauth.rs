//! The OAuth endpoints, by plain HTTP and by libraries that others wrote, against a real `jetond`.

use std::process::Command;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_tests::{
    broker::Broker,
    issuer::{Issuer, broker},
};
use reqwest::{RequestBuilder, StatusCode};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const READ: &str = "git:acme/api contents:read";

/// A key and the proofs that it makes.
struct Prover(Ed25519KeyPair);

impl Prover {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(self.0.public_key())})
    }

    /// A proof for one call (RFC 9449 §4.2).
    fn proof(&self, url: &str, jti: &str) -> String {
        self.proof_named(url, jti, "EdDSA")
    }

    /// The same with another name of its algorithm.
    fn proof_named(&self, url: &str, jti: &str, algorithm: &str) -> String {
        proof_of(&self.jwk(), algorithm, url, jti, |text| self.0.sign(text).as_ref().to_vec())
    }
}

fn proof_of(
    jwk: &Value,
    algorithm: &str,
    url: &str,
    jti: &str,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let header = json!({"typ": "dpop+jwt", "alg": algorithm, "jwk": jwk});
    let now = jeton_tests::now().as_second();
    let claims = json!({"jti": jti, "htm": "POST", "htu": url, "iat": now});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
}

async fn sent(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let cached =
        answer.headers().get("cache-control").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(cached.as_deref(), Some("no-store"), "answers of the endpoints are kept by nobody");
    let bytes = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn asking<'a>(token: &'a str, scope: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", JWT),
        ("scope", scope),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_exchanges_its_token_for_a_credential_that_is_looked_at_and_taken_back() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let base = broker.env("JETON_ENDPOINT").to_owned();
    let (client, prover) = (broker.http(None), Prover::new());
    let url = format!("{base}/oauth/token");
    let subject = issuer.token(|_| {});
    let request = client.post(&url).header("dpop", prover.proof(&url, "1"));
    let (status, answer) = sent(request.form(&asking(&subject, READ))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        (answer["token_type"].as_str(), answer["scope"].as_str()),
        (Some("DPoP"), Some(READ))
    );
    assert_eq!(answer["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert!((1..=3600).contains(&answer["expires_in"].as_i64().unwrap()), "{answer}");
    let token = answer["access_token"].as_str().unwrap();

    let host = broker.http(Some("git-host"));
    let look = async || {
        let request = host.post(format!("{base}/oauth/introspect"));
        sent(request.form(&[("token", token)])).await.1
    };
    let live = look().await;
    assert_eq!(live["active"], true, "{live}");
    assert_eq!((live["sub"].as_str(), live["scope"].as_str()), (Some("ci/acme/api"), Some(READ)));
    assert_eq!(live["cnf"]["jkt"].as_str().map(str::len), Some(43));
    assert_eq!(live["authorization_details"], answer["authorization_details"]);

    // A token for one resource server looks like none at another.
    let other = broker.http(Some("orders")).post(format!("{base}/oauth/introspect"));
    assert_eq!(sent(other.form(&[("token", token)])).await.1, json!({ "active": false }));
    let named = [("token", token), ("resource", "https://git.dev.jeton.local")];
    let other = broker.http(Some("orders")).post(format!("{base}/oauth/introspect"));
    assert_eq!(sent(other.form(&named)).await.1, json!({ "active": false }));

    // Somebody else may not take it back, its holder may, and again changes nothing.
    let revoke = format!("{base}/oauth/revoke");
    let other = broker.http(Some("agent-2")).post(&revoke).form(&[("token", token)]);
    let (status, refused) = sent(other).await;
    assert_eq!(
        (status, refused["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("unauthorized_client"))
    );
    for jti in ["2", "3"] {
        let own =
            client.post(&revoke).bearer_auth(&subject).header("dpop", prover.proof(&revoke, jti));
        assert_eq!(sent(own.form(&[("token", token)])).await.0, StatusCode::OK);
    }
    assert_eq!(look().await, json!({ "active": false }));
}

/// Points of small order (orders 1, 2, 4 and 8), and one encoding that is not canonical.
const WEAK_POINTS: [&str; 6] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_needs_no_private_key_is_refused() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let url = format!("{}/oauth/token", broker.env("JETON_ENDPOINT"));
    let client = broker.http(None);
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digits).collect()
    };
    // R is the neutral element and S is 0: of the neutral element as a key that is a signature of everything; of the
    // other points it is one of some messages.
    let forged = [bytes(WEAK_POINTS[0]), vec![0; 32]].concat();
    for (number, point) in WEAK_POINTS.iter().enumerate() {
        let jwk =
            json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(bytes(point))});
        for algorithm in ["EdDSA", "Ed25519"] {
            let jti = format!("{number}-{algorithm}");
            let proof = proof_of(&jwk, algorithm, &url, &jti, |_| forged.clone());
            let request = client.post(&url).header("dpop", proof);
            let (status, answer) = sent(request.form(&asking(&issuer.token(|_| {}), READ))).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{point}: {answer}");
            let why = answer["error_description"].as_str().unwrap_or_default();
            assert!(why.contains("small order"), "{point}: {answer}");
        }
    }
    // Nor one for something else.
    let prover = Prover::new();
    let mut jwk = prover.jwk();
    jwk["key_ops"] = json!(["deriveKey"]);
    let proof = proof_of(&jwk, "EdDSA", &url, "ops", |text| prover.0.sign(text).as_ref().to_vec());
    let request = client.post(&url).header("dpop", proof);
    let (status, answer) = sent(request.form(&asking(&issuer.token(|_| {}), READ))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_rfc_9864_is_taken_everywhere_and_given_where_an_upstream_wants_it() {
    let issuer = Issuer::new();
    let broker = jeton_tests::issuer::broker_with(&issuer, |text| {
        let audience = "audience = \"https://git.dev.jeton.local\"\n";
        text.replace(audience, &format!("{audience}algorithm = \"Ed25519\"\n"))
    });
    let base = broker.env("JETON_ENDPOINT").to_owned();
    let (client, prover) = (broker.http(None), Prover::new());
    let url = format!("{base}/oauth/token");
    let subject = issuer.token_named("Ed25519", |_| {});
    let request = client.post(&url).header("dpop", prover.proof_named(&url, "1", "Ed25519"));
    let (status, answer) = sent(request.form(&asking(&subject, READ))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let token = answer["access_token"].as_str().unwrap();
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["alg"], "Ed25519");
    let get = async |path: &str| -> Value {
        client.get(format!("{base}{path}")).send().await.unwrap().json().await.unwrap()
    };
    let keys = get("/.well-known/jwks.json").await;
    let keys = keys["keys"].as_array().unwrap();
    let names: Vec<_> =
        keys.iter().map(|key| (&key["kid"], key["alg"].as_str().unwrap())).collect();
    assert!(names.contains(&(&header["kid"], "Ed25519")), "{names:?}");
    assert_eq!(names.iter().filter(|(_, name)| *name == "EdDSA").count(), 1, "{names:?}");
    let about = get("/.well-known/oauth-authorization-server").await;
    assert_eq!(about["dpop_signing_alg_values_supported"], json!(["EdDSA", "Ed25519", "ES256"]));
    let host = broker.http(Some("git-host")).post(format!("{base}/oauth/introspect"));
    assert_eq!(sent(host.form(&[("token", token)])).await.1["active"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_binds_what_is_exchanged_where_there_is_no_proof() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let url = format!("{}/oauth/token", broker.env("JETON_ENDPOINT"));
    let request = broker.http(Some("agent")).post(&url);
    let detail = json!([{"type": "jeton", "locations": ["git"], "identifier": "acme/api", "actions": ["contents:read"]}]);
    let (subject, detail) = (issuer.token(|_| {}), detail.to_string());
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &subject),
        ("subject_token_type", JWT),
        ("authorization_details", &detail),
        ("audience", "https://git.dev.jeton.local"),
    ];
    let (status, answer) = sent(request.form(&form)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        (answer["token_type"].as_str(), answer["scope"].as_str()),
        (Some("Bearer"), Some(READ))
    );
    let claims = answer["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["cnf"]["x5t#S256"], broker.thumbprint("agent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_the_words_of_oauth() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let url = format!("{}/oauth/token", broker.env("JETON_ENDPOINT"));
    let (client, prover) = (broker.http(None), Prover::new());
    let good = issuer.token(|_| {});
    let ended = issuer.token(|claims| claims["exp"] = json!(1_600_000_000));
    let stranger = issuer.token(|claims| claims["repository"] = json!("evil/api"));
    let with = |name: &'static str, value: &'static str| {
        let mut form = asking(&good, READ);
        form.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            form.push((name, value));
        }
        form
    };
    let two_targets = [with("audience", "git"), vec![("audience", "orders")]].concat();
    let twice = [asking(&good, READ), asking(&good, READ)].concat();
    let detailed =
        [with("scope", ""), vec![("authorization_details", "[{\"type\":\"other\"}]")]].concat();
    for (place, (form, error, words)) in [
        (with("grant_type", "client_credentials"), "unsupported_grant_type", "token-exchange"),
        (with("grant_type", ""), "invalid_request", "`grant_type` is missing"),
        (with("subject_token", ""), "invalid_request", "`subject_token` is missing"),
        (with("subject_token", "a.b.c"), "invalid_request", ""),
        (asking(&ended, READ), "invalid_request", "ended"),
        (asking(&stranger, READ), "invalid_request", ""),
        (with("subject_token_type", "saml"), "invalid_request", "subject_token_type"),
        (with("actor_token", "x"), "invalid_request", "actor_token"),
        (with("scope", ""), "invalid_scope", "nothing was asked for"),
        (with("scope", "git:* contents:read"), "invalid_scope", "without wildcards"),
        (with("scope", "git:acme/api contents:write"), "invalid_scope", "agents write to refs"),
        (with("scope", "nowhere:acme/api contents:read"), "invalid_target", "not configured"),
        (with("audience", "https://other.example"), "invalid_target", "another place"),
        (two_targets, "invalid_target", "another place"),
        (with("actor_token_type", JWT), "invalid_request", "actor_token"),
        (detailed, "invalid_authorization_details", "type jeton"),
        (twice, "invalid_request", "more than once"),
    ]
    .into_iter()
    .enumerate()
    {
        let proof = prover.proof(&url, &format!("wrong-{place}"));
        let (status, answer) = sent(client.post(&url).header("dpop", proof).form(&form)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{place}: {answer}");
        assert_eq!(answer["error"], error, "{place}: {answer}");
        let told = answer["error_description"].as_str().unwrap();
        assert!(told.contains(words), "{place}: {told}");
        assert!(!told.contains(&good), "{place}: the token is not said again");
    }
    let (status, answer) = sent(client.post(&url).form(&asking(&good, READ))).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("invalid_dpop_proof"))
    );
    let replayed = prover.proof(&url, "once");
    let request = |proof: &str| client.post(&url).header("dpop", proof).form(&asking(&good, READ));
    assert_eq!(sent(request(&replayed)).await.0, StatusCode::OK);
    let (_, answer) = sent(request(&replayed)).await;
    assert_eq!(answer["error"], "invalid_dpop_proof", "{answer}");
    let json = client.post(&url).json(&json!({ "grant_type": EXCHANGE }));
    assert_eq!(sent(json).await.1["error"], "invalid_request");

    // Nobody looks at tokens without being somebody, and not everybody may.
    let look = format!("{}/oauth/introspect", broker.env("JETON_ENDPOINT"));
    let (status, answer) = sent(client.post(&look).form(&[("token", "x")])).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (StatusCode::UNAUTHORIZED, Some("invalid_client"))
    );
    let agent = broker.http(Some("agent")).post(&look).form(&[("token", "x")]);
    assert_eq!(sent(agent).await.0, StatusCode::FORBIDDEN);
}

/// Runs a script of another language with where everything is.
fn script(broker: &Broker, command: &mut Command, name: &str, subject: &str) {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("others").join(name);
    let output = command
        .arg(script)
        .arg(broker.env("JETON_ENDPOINT"))
        .arg(broker.data().join("tls"))
        .arg(subject)
        .env("NODE_EXTRA_CA_CERTS", broker.data().join("tls/ca.pem"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told.trim(), "good", "it says what it saw at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_verifier_in_python_works_unchanged() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let mut python = Command::new(jeton_tests::emulate::tools().join("nodeenv/bin/python"));
    script(&broker, &mut python, "exchange.py", &issuer.token(|_| {}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_verifier_in_node_works_unchanged() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let mut node = Command::new(jeton_tests::emulate::node());
    script(&broker, &mut node, "exchange.mjs", &issuer.token(|_| {}));
}
