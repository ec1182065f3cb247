//! How refusals teach: over HTTP as problem details, over gRPC as details of the status, and for clients
//! of OAuth as its own errors with the same members. The words are kept in `golden/`.

use std::fmt::Write as _;

use jeton_proto::v1::{RevokeMatchingRequest, revoke_matching_request::Matching};
use jeton_tests::{
    broker::{Broker, Caller},
    golden, issuer,
};
use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt;

/// A refusal's details, in lines that never differ from run to run.
fn told(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "jeton.dev");
    let mut metadata: Vec<_> = info.metadata.iter().collect();
    metadata.sort();
    let mut text = format!("  {:?} {}\n  {}\n", status.code(), info.reason, status.message());
    for (key, value) in metadata {
        let value = if key == "policy_hash" { "HASH" } else { value };
        writeln!(text, "    {key}: {}", value.replace('\n', " | ")).unwrap();
    }
    text
}

async fn refused(agent: &Caller, scope: &str) -> String {
    told(&agent.requests(scope).await.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_over_grpc_says_layer_policies_what_to_ask_for_and_how() {
    let broker = Broker::start();
    let envelope = [
        "git:acme/* contents:read,contents:write",
        "orders:acme/shop orders:write",
        "git:elsewhere/x contents:read",
    ];
    let (agent, _) = broker.agent_with(&envelope).await;
    let mut table = String::new();
    for scope in [
        "orders:acme/other orders:read",
        "git:acme/api contents:write ref=main",
        "git:elsewhere/x contents:read",
        "orders:acme/shop orders:write",
    ] {
        write!(table, "{scope}\n{}", refused(&agent, scope).await).unwrap();
    }
    let ana = broker.as_("ana").await;
    let stop = RevokeMatchingRequest {
        matching: Some(Matching::Resource("git:acme/api".into())),
        reason: "look first".into(),
        stop: true,
        ..Default::default()
    };
    ana.grants().revoke_matching(stop).await.unwrap();
    let scope = "git:acme/api contents:read";
    write!(table, "{scope}, stopped\n{}", refused(&agent, scope).await).unwrap();
    // What waits for people is no refusal: the answer names who can lift it.
    let prod = "git:acme/payments contents:write ref=agent/x";
    let waits = agent.requests(prod).await.unwrap().grant.unwrap();
    let guard = &waits.guards[0];
    assert_eq!(
        (guard.policy_id.as_str(), &guard.groups[..]),
        ("prod-writes-need-security", &["security".to_owned()][..])
    );
    golden::holds("denials", &table);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_refuse_in_the_words_of_problems() {
    let broker = Broker::start();
    let (base, keys) = (broker.env("JETON_ENDPOINT"), broker.env("JETON_JWKS"));
    let public = keys.strip_suffix("/.well-known/jwks.json").unwrap();
    let mut table = String::new();
    for (who, method, url) in [
        (None, "GET", format!("{base}/nowhere")),
        (None, "GET", format!("{base}/log/checkpoint")),
        (Some("agent"), "GET", format!("{base}/log/checkpoint")),
        (Some("audrey"), "GET", format!("{base}/log/tile/0/999")),
        (Some("audrey"), "GET", format!("{base}/log/tile/x")),
        (Some("audrey"), "GET", format!("{base}/log/tile/%ff")),
        (Some("audrey"), "POST", format!("{base}/log/checkpoint")),
        (None, "GET", format!("{base}/status/4000000000")),
        (None, "GET", format!("{base}/.well-known/oauth-protected-resource/nowhere")),
        (None, "GET", format!("{base}/ssf/events")),
        (None, "POST", format!("{base}/ssf/events")),
        (None, "GET", format!("{public}/nowhere")),
        (None, "POST", format!("{public}/.well-known/jwks.json")),
    ] {
        let client = broker.http(who);
        let request = client.request(method.parse().unwrap(), &url).body("");
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let kind = headers["content-type"].to_str().unwrap().to_owned();
        assert_eq!(headers["cache-control"], "no-store", "{url}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body["status"], status, "{url}");
        let path = url.strip_prefix(base).or(url.strip_prefix(public)).unwrap();
        let who = who.unwrap_or("nobody");
        writeln!(table, "{method} {path} as {who}\n  {kind}\n  {body}").unwrap();
    }
    golden::holds("problems", &table);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_over_oauth_keeps_its_form_and_teaches_the_same() {
    let tokens = issuer::Issuer::new();
    let broker = issuer::broker(&tokens);
    let url = format!("{}/oauth/token", broker.env("JETON_ENDPOINT"));
    let subject = tokens.token(|_| {});
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &subject),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("scope", "git:acme/api contents:write"),
    ];
    let answer = broker.http(Some("agent")).post(&url).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let mut said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let hash = said.as_object_mut().unwrap().remove("policy_hash").unwrap();
    assert_eq!(hash.as_str().unwrap().len(), 32);
    assert_eq!(
        said,
        json!({
            "error": "invalid_scope",
            "error_description": "the policy `only-agent-refs` refuses `contents:write`: agents write to refs under agent/ only; ask with ref=agent/* and open a pull request",
            "reason": "DENIED",
            "layer": "policy",
            "policies": ["only-agent-refs"],
            "requestable": ["git:acme/api contents:read"],
            "ask": "ask for one of `requestable` (GrantService.RequestGrant)",
        })
    );
}
