//! Hostile tokens at every door that takes one, each with the answer that it gets. The tables are
//! kept in `golden/`; a token that opens a door stands there as `opens`.

use std::fmt::Write as _;

use jeton_client::verifier::{Call, PeerThumbprint, RevocationBy, Verifier, VerifierSettings};
use jeton_proto::v1::{IntrospectRequest, WhoAmIRequest};
use jeton_tests::{
    abuse::Forge,
    broker::{Broker, Caller},
    golden,
    issuer::{Issuer, broker},
};
use ring::signature::Ed25519KeyPair;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::Value;
use tonic::{Request, metadata::MetadataValue};
use tonic_types::StatusExt;

const READ: &str = "git:acme/api contents:read";
const AUDIENCE: &str = "https://git.dev.jeton.local";

/// What a door said to each of the tokens.
struct Table(String);

impl Table {
    fn new(doors: [&str; 2]) -> Self {
        Self(format!("{:<38} {:<26} {}\n", "token", doors[0], doors[1]))
    }

    fn row(&mut self, what: &str, answers: [String; 2]) {
        let [one, other] = answers;
        writeln!(self.0, "{what:<38} {one:<26} {other}").unwrap();
    }
}

/// A workload's own token as a bearer at gRPC.
async fn who_am_i(stranger: &Caller, token: &str) -> String {
    let mut request = Request::new(WhoAmIRequest {});
    let Ok(value) = MetadataValue::try_from(format!("Bearer {token}")) else {
        return "can't be sent".to_owned();
    };
    request.metadata_mut().insert("authorization", value);
    match stranger.sessions().who_am_i(request).await {
        Ok(answer) => format!("opens: {}", answer.into_inner().principal),
        Err(status) => {
            let details = status.get_error_details();
            let reason = details.error_info().map(|info| info.reason.clone());
            reason.unwrap_or_else(|| format!("{:?}", status.code()))
        }
    }
}

/// The same as what is exchanged.
async fn exchanged(client: &reqwest::Client, base: &str, token: &str) -> String {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", token),
        ("scope", READ),
    ];
    let answer = client.post(format!("{base}/oauth/token")).form(&form).send().await.unwrap();
    let status = answer.status().as_u16();
    let said: Value = answer.json().await.unwrap_or_default();
    if status == 200 {
        return "opens".to_owned();
    }
    format!("{status} {}", said["error"].as_str().unwrap_or("?"))
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_identity_tokens_get_the_answers_of_the_table() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let nobody = broker.nobody().await;
    let (client, base) = (broker.http(Some("agent")), broker.env("JETON_ENDPOINT").to_owned());
    let good = issuer.token(|_| {});
    let forge = Forge::of(&good, issuer.into_pair(), "at+jwt;x", "repository");
    let mut table = Table::new(["as the caller's identity, gRPC", "exchanged over HTTP"]);
    for (what, token) in forge.tokens() {
        let answers = [who_am_i(&nobody, &token).await, exchanged(&client, &base, &token).await];
        table.row(&what, answers);
    }
    golden::holds("identity_tokens", &table.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_access_tokens_get_the_answers_of_the_table() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let good = agent.requests(READ).await.unwrap().credential.unwrap().secret;
    let folder = std::fs::read_dir(broker.data().join("keys/signing")).unwrap();
    let keys: Vec<_> = folder
        .map(|file| PrivatePkcs8KeyDer::from_pem_file(file.unwrap().path()).unwrap())
        .map(|der| Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap())
        .collect();
    let [pair] = <[_; 1]>::try_from(keys).unwrap();
    let forge = Forge::of(&good, pair, "statuslist+jwt", "sub");

    let tls = broker.data().join("tls");
    let settings = VerifierSettings {
        issuer: "https://dev.jeton.local".to_owned(),
        audience: AUDIENCE.to_owned(),
        keys_url: Some(format!("{}/.well-known/jwks.json", broker.env("JETON_ENDPOINT"))),
        ca: Some(tls.join("ca.pem")),
        revocation: RevocationBy::StatusList,
        ..VerifierSettings::default()
    };
    let verifier = Verifier::new(settings).await.unwrap();
    let certificate = CertificateDer::from_pem_file(tls.join("agent.pem")).unwrap();
    let certificate = Some(PeerThumbprint::of(&certificate));
    let host = broker.as_("git-host").await;
    let mut table = Table::new(["introspected", "at the library's verifier"]);
    for (what, token) in forge.tokens() {
        let request =
            IntrospectRequest { credential: token.clone(), audience: AUDIENCE.to_owned() };
        let looked = match host.introspection().introspect(request).await {
            Ok(answer) if answer.get_ref().active => "opens".to_owned(),
            Ok(_) => "not active".to_owned(),
            Err(status) => format!("{:?}", status.code()),
        };
        let authorization = format!("Bearer {token}");
        let call = Call {
            method: "GET",
            path: "/",
            authorization: Some(&authorization),
            dpop: None,
            certificate,
        };
        let checked = match verifier.check(call).await {
            Ok(_) => "opens".to_owned(),
            Err(refused) => {
                let told = refused.to_string();
                told.strip_prefix("the token is not one for this API: ").unwrap_or(&told).to_owned()
            }
        };
        table.row(&what, [looked, checked]);
    }
    golden::holds("access_tokens", &table.0);
}
