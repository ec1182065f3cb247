//! One person is one person, however it signs in: for approvals, emergencies, offboarding and its sessions.

use std::fs;

use jeton_client::{Client, ErrorKind, Reach};
use jeton_proto::v1::{
    GrantState, OpenSessionRequest, RevokeMatchingRequest, Session, WhoAmIRequest,
    open_session_request::Binding, revoke_matching_request::Matching,
};
use jeton_tests::{
    broker::{Broker, Caller, opening},
    issuer::{ISSUER, Issuer},
};
use serde_json::json;
use tonic::Code;

const PROD: &str = "git:acme/payments contents:write ref=agent/fix";
const ENVELOPE: [&str; 1] = ["git:acme/* contents:read,contents:write"];
const ANA: &str = "ana@acme.dev";
const ANA_CERTIFICATE: &str = "spiffe://dev.jeton.local/person/ana";

/// A broker that knows people by their mail address, from an issuer that counts some among the approvers; two
/// of them have to approve.
fn broker(issuer: &Issuer, people: &str) -> Broker {
    Broker::start_with(|data| {
        let change = |name: &str, change: &dyn Fn(String) -> String| {
            let path = data.join(name);
            fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        };
        let more = format!(
            "\n[[issuer]]\nissuer = \"{ISSUER}\"\naudience = \"jeton\"\nalgorithms = [\"EdDSA\"]\njwks_file = \"jwks.json\"\ngroups_claim = \"groups\"\n[[issuer.map]]\nprincipal = \"{{email}}\"\nkind = \"person\"\n[issuer.map.claims]\nemail = \"**\"\n"
        );
        change("jetond.toml", &|text| text + &more);
        fs::write(data.join("jwks.json"), issuer.jwks().to_string()).unwrap();
        let claimed =
            format!("claimed = [{{ issuer = \"{ISSUER}\", group = \"approvers\" }}]\nquorum = 2");
        change("policies/catalogue.toml", &|text| {
            let listed = "[[person]]\nid = \"spiffe://dev.jeton.local/person/ana\"";
            assert!(text.contains(listed));
            let text = if people.is_empty() { text } else { text.replace(listed, people) };
            text.replace("quorum = 1", &claimed)
        });
    })
}

/// Somebody with a token of the issuer.
async fn with_token(broker: &Broker, issuer: &Issuer, email: &str, subject: &str) -> Client {
    let file = broker.data().join(format!("{email}-{subject}.jwt"));
    let token = issuer.token(|claims| {
        claims["email"] = json!(email);
        claims["sub"] = json!(subject);
        claims["groups"] = json!(["approvers"]);
    });
    fs::write(&file, token).unwrap();
    let settings = jeton_client::Settings {
        endpoint: Some(broker.env("JETON_ENDPOINT").to_owned()),
        ca: Some(broker.data().join("tls/ca.pem")),
        identity_token_file: Some(file),
        ..Default::default()
    };
    settings.connect().await.unwrap()
}

/// The agent, in a session for a person, and a request of it that waits.
async fn waiting(broker: &Broker, person: &str) -> (Caller, String) {
    let agent = broker.agent_for(person, &ENVELOPE).await;
    let pending = agent.requests(PROD).await.unwrap().grant.unwrap();
    assert_eq!(pending.state(), GrantState::Pending);
    (agent, pending.id)
}

async fn approves(who: &Client, id: &str) -> Result<(), jeton_client::Error> {
    let asked = who.get_approval(id).await?;
    who.approve(&asked, Reach::Once, "").await.map(|_| ())
}

/// Whether the agent gets what it asked for.
async fn is_given(agent: &Caller, id: &str) -> bool {
    let claim = jeton_proto::v1::ClaimGrantRequest { id: id.to_owned() };
    agent.grants().claim_grant(claim).await.unwrap().into_inner().credential.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_spellings_of_an_address_are_neither_two_approvers_nor_somebody_else() {
    let issuer = Issuer::new();
    let broker = broker(&issuer, "");
    let (agent, id) = waiting(&broker, ANA).await;
    for spelling in ["Ana@acme.dev", "ANA@acme.dev", ANA] {
        let own = with_token(&broker, &issuer, spelling, "00u1").await;
        let refused = approves(&own, &id).await.unwrap_err();
        assert!(refused.to_string().contains("acts for you"), "{spelling}: {refused}");
    }
    // Of somebody else two spellings are one of the two people that it takes.
    for spelling in ["Cy@acme.dev", "CY@Acme.dev"] {
        let _ = approves(&with_token(&broker, &issuer, spelling, "00u2").await, &id).await;
        assert!(!is_given(&agent, &id).await, "{spelling}");
    }
    // And so is one account under two addresses.
    let (agent, id) = waiting(&broker, ANA).await;
    for address in ["dee@acme.dev", "dee.new@acme.dev"] {
        approves(&with_token(&broker, &issuer, address, "00u3").await, &id).await.unwrap();
        assert!(!is_given(&agent, &id).await, "{address}");
    }
    approves(&broker.client("bo").await, &id).await.unwrap();
    assert!(is_given(&agent, &id).await, "two people");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_person_is_one_by_certificate_token_and_account() {
    let issuer = Issuer::new();
    let people = format!(
        "[[person]]\nid = \"{ANA}\"\naliases = [\"{ANA_CERTIFICATE}\", \"ana.alt@acme.dev\"]\naccounts = [{{ issuer = \"{ISSUER}\", subject = \"00u1\" }}]"
    );
    let broker = broker(&issuer, &people);
    let by_certificate = broker.client("ana").await;
    let (agent, id) = waiting(&broker, "cy@acme.dev").await;
    approves(&by_certificate, &id).await.unwrap();
    for (address, subject) in
        [("Ana@acme.dev", "1"), ("ana.ALT@acme.dev", "2"), ("another@acme.dev", "00u1")]
    {
        let by_token = with_token(&broker, &issuer, address, subject).await;
        let _ = approves(&by_token, &id).await;
        assert!(!is_given(&agent, &id).await, "{address}: the same person again");
    }
    let asked = by_certificate.get_approval(&id).await.unwrap();
    let givers: Vec<_> = asked.given.iter().map(|given| given.by.as_str()).collect();
    assert_eq!(givers, [ANA], "one name in the record");
    // For whom the agent acts is the same person too.
    for own in [ANA_CERTIFICATE, "ANA@acme.dev"] {
        let (_, id) = waiting(&broker, own).await;
        let refused = approves(&by_certificate, &id).await.unwrap_err();
        assert!(refused.to_string().contains("acts for you"), "{own}: {refused}");
    }
    let caller = broker.as_("ana").await;
    let me = caller.sessions().who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    let me = format!("{me:?}");
    assert!(me.contains(ANA) && me.contains("person"), "{me}");
}

async fn session_for(broker: &Broker, person: &str) -> Result<Session, tonic::Status> {
    let request = OpenSessionRequest {
        person: person.to_owned(),
        binding: Some(Binding::CertificateSha256(broker.thumbprint("agent"))),
        ..opening(&ENVELOPE)
    };
    let orchestrator = broker.as_("orchestrator").await;
    orchestrator.sessions().open_session(request).await.map(|one| one.into_inner().session.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_leaves_under_every_name() {
    let issuer = Issuer::new();
    let people = format!("[[person]]\nid = \"{ANA}\"\naliases = [\"{ANA_CERTIFICATE}\"]");
    let broker = broker(&issuer, &people);
    let names = [ANA, "ANA@acme.dev", ANA_CERTIFICATE];
    for name in names {
        let session = session_for(&broker, name).await.unwrap();
        assert_eq!(session.person, ANA, "a session is for one name of the person");
    }
    let other = session_for(&broker, "bo@acme.dev").await.unwrap();
    let revoke = RevokeMatchingRequest {
        matching: Some(Matching::Person("Ana@Acme.dev".into())),
        reason: "left".into(),
        stop: true,
        ..Default::default()
    };
    // Operators go by the name that they signed in with.
    let operator = broker.as_("ana").await;
    let cut = operator.grants().revoke_matching(revoke).await.unwrap().into_inner();
    assert_eq!(cut.sessions_closed, 3, "{cut:?}");
    for name in names {
        let refused = session_for(&broker, name).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{name}: {refused:?}");
        assert!(refused.message().contains("stopped"), "{name}: {refused:?}");
    }
    session_for(&broker, "bo@acme.dev").await.unwrap();
    assert_eq!(other.person, "bo@acme.dev");
    let (_, id) = waiting(&broker, "cy@acme.dev").await;
    let by_token = with_token(&broker, &issuer, "aNa@acme.dev", "00u1").await;
    let refused = approves(&by_token, &id).await.unwrap_err();
    assert!(refused.to_string().contains("stopped"), "{refused}");
    assert_ne!(refused.kind(), ErrorKind::NotFound);
}
