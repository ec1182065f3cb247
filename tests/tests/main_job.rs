//! The main job over real gRPC and mTLS, against a real `jetond` process.

use std::time::{Duration, Instant};

use jeton_proto::v1::{
    GetGrantRequest, GrantState, IntrospectRequest, ListGrantsRequest, ReleaseGrantRequest,
    RenewGrantRequest, RevokeGrantRequest, RevokeMatchingRequest, WhoAmIRequest,
    open_session_request::Binding, revoke_matching_request::Matching,
};
use jeton_tests::broker::{Broker, Caller, opening};
use tonic::Code;
use tonic_types::StatusExt;

const AUDIENCE: &str = "https://git.dev.jeton.local";

async fn is_live(host: &Caller, secret: &str) -> bool {
    let request = IntrospectRequest { credential: secret.into(), audience: AUDIENCE.into() };
    host.introspection().introspect(request).await.unwrap().into_inner().active
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_a_narrow_credential_works_with_it_and_loses_it() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:write"]).await;
    let host = broker.as_("git-host").await;

    let answer = agent.requests("git:acme/api contents:write ref=agent/*").await.unwrap();
    let grant = answer.grant.unwrap();
    let secret = answer.credential.unwrap().secret;
    assert_eq!(grant.state(), GrantState::Active);
    assert!(!grant.policy_ids.is_empty(), "the decision names its policies");
    assert!(is_live(&host, &secret).await);

    let operator = broker.as_("ana").await;
    let revoke =
        RevokeGrantRequest { id: grant.id.clone(), reason: "enough".into(), ..Default::default() };
    let revoked = operator.grants().revoke_grant(revoke).await.unwrap().into_inner().grant.unwrap();
    assert_eq!(revoked.state(), GrantState::Revoked);
    assert!(!is_live(&host, &secret).await, "refused at the next look");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_the_layer_the_policies_and_what_to_ask_instead() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:write"]).await;

    let refused = agent.requests("git:acme/api contents:write ref=main").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let info = refused.get_error_details().error_info().unwrap().clone();
    assert_eq!(info.reason, "DENIED");
    assert_eq!(info.metadata["layer"], "policy");
    assert!(info.metadata["requestable"].contains("ref=agent/*"), "{info:?}");

    let outside = agent.requests("git:other/api contents:read").await.unwrap_err();
    let info = outside.get_error_details().error_info().unwrap().clone();
    assert_eq!(info.metadata["layer"], "envelope");
    assert_eq!(info.metadata["requestable"], "git:acme/* contents:write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_opens_nothing_without_the_key_that_it_is_bound_to() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let mut thief = broker.as_("agent-2").await;
    thief.handle = agent.handle.clone();
    let refused = thief.requests("git:acme/api contents:read").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("bound to another key"), "{}", refused.message());

    let nobody = broker.as_("agent").await;
    let refused = nobody.requests("git:acme/api contents:read").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("jeton-session"), "{}", refused.message());

    let orchestrator = broker.as_("orchestrator").await;
    let mut bearer = opening(&["git:acme/* contents:read"]);
    bearer.binding = Some(Binding::Bearer(true));
    let refused = orchestrator.sessions().open_session(bearer).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "bearer handles are off by default");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_not_open_a_session_for_itself() {
    let broker = Broker::start();
    let agent = broker.as_("agent").await;
    let mut request = opening(&["git:acme/* contents:read"]);
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let refused = agent.sessions().open_session(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_gives_one_grant_and_the_same_credential_again() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let first = agent.requests_with_id("git:acme/api contents:read", "once").await.unwrap();
    let again = agent.requests_with_id("git:acme/api contents:read", "once").await.unwrap();
    assert_eq!(first.grant.unwrap().id, again.grant.unwrap().id);
    assert_eq!(first.credential.unwrap().secret, again.credential.unwrap().secret);
    let other = agent.requests_with_id("git:acme/web contents:read", "once").await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_renewed_released_and_listed_by_its_session_only() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let (other, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let host = broker.as_("git-host").await;
    let id = agent.requests("git:acme/api contents:read").await.unwrap().grant.unwrap().id;

    let renew = RenewGrantRequest { id: id.clone(), ..Default::default() };
    let renewed = agent.grants().renew_grant(renew.clone()).await.unwrap().into_inner();
    assert_eq!(renewed.grant.unwrap().renewals, 1);
    let secret = renewed.credential.unwrap().secret;
    assert!(is_live(&host, &secret).await);
    assert_eq!(other.grants().renew_grant(renew).await.unwrap_err().code(), Code::NotFound);

    let get = GetGrantRequest { id: id.clone() };
    let stranger = broker.as_("agent-2").await;
    let foreign = stranger.grants().get_grant(get.clone()).await.unwrap_err();
    let absent = stranger
        .grants()
        .get_grant(GetGrantRequest { id: "gr_00000000zz0000000000000000".into() })
        .await
        .unwrap_err();
    assert_eq!((foreign.code(), foreign.message()), (absent.code(), absent.message()));

    let list = ListGrantsRequest { session: session.id, ..Default::default() };
    let listed = agent.grants().list_grants(list).await.unwrap().into_inner();
    assert_eq!(listed.grants.len(), 1);

    let release = ReleaseGrantRequest { id: id.clone() };
    let released = agent.grants().release_grant(release.clone()).await.unwrap().into_inner();
    assert_eq!(released.grant.unwrap().state(), GrantState::Released);
    let again = agent.grants().release_grant(release).await.unwrap().into_inner();
    assert_eq!(again.grant.unwrap().state(), GrantState::Released, "again changes nothing");
    assert!(!is_live(&host, &secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_beyond_a_session_takes_an_operator_and_cuts_all_that_matches() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let host = broker.as_("git-host").await;
    let mut secrets = Vec::new();
    for repository in ["api", "web", "api"] {
        let answer = agent.requests(&format!("git:acme/{repository} contents:read")).await.unwrap();
        secrets.push(answer.credential.unwrap().secret);
    }
    let matching = |matching| RevokeMatchingRequest {
        matching: Some(matching),
        reason: "stop".into(),
        ..Default::default()
    };
    let resource = matching(Matching::Resource("git:acme/api".into()));
    let refused = agent.grants().revoke_matching(resource.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let operator = broker.as_("ana").await;
    let cut = operator.grants().revoke_matching(resource).await.unwrap().into_inner();
    assert_eq!(cut.revoked, 2);
    assert!(!is_live(&host, &secrets[0]).await);
    assert!(is_live(&host, &secrets[1]).await);
    let cut =
        agent.grants().revoke_matching(matching(Matching::Session(session.id))).await.unwrap();
    assert_eq!(cut.into_inner().revoked, 1, "a holder may cut its own session");
    let empty =
        operator.grants().revoke_matching(RevokeMatchingRequest::default()).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument, "nothing named never means all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_drains_and_a_start_finds_everything_again() {
    let mut broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let secret =
        agent.requests("git:acme/api contents:read").await.unwrap().credential.unwrap().secret;
    // Everything that works by itself waits for something by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    assert_eq!(broker.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "an idle broker stops at once");
    broker.run();
    let host = broker.as_("git-host").await;
    assert!(is_live(&host, &secret).await, "what was granted holds after a restart");
    let mut agent_again = broker.as_("agent").await;
    agent_again.handle = agent.handle;
    let who = agent_again.sessions().who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!(who.session.unwrap().id, session.id);
    assert_eq!(who.authenticated_by, "mtls");
}
