//! Sessions below sessions, and what taking back does to them: over real gRPC, against a real
//! `jetond` process.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_proto::v1::{
    CloseSessionRequest, Delegator, Entry, GetGrantRequest, GetSessionRequest, GrantState,
    IntrospectRequest, IntrospectResponse, LiftStopRequest, ListEntriesRequest, ListStopsRequest,
    OpenSessionRequest, OpenSessionResponse, RevokeMatchingRequest, RevokeMatchingResponse,
    Session, SessionState, Stop, open_session_request::Binding, revoke_matching_request::Matching,
    stop,
};
use jeton_tests::broker::{Broker, Caller, opening};
use serde_json::{Value, json};
use tonic::{Code, Status};

const AUDIENCE: &str = "https://git.dev.jeton.local";
const SUB_AGENT: &str = "spiffe://dev.jeton.local/agent/review-7";
const LOST: &str = "git:acme/api contents:read";

/// A request of `agent` to open a session for the other agent below its own.
fn below(broker: &Broker, parent: &Session, envelope: &[&str]) -> OpenSessionRequest {
    let mut request = opening(envelope);
    request.agent = SUB_AGENT.into();
    request.parent = parent.id.clone();
    request.envelope.as_mut().unwrap().max_grants = 3;
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent-2")));
    request
}

async fn open(caller: &Caller, request: OpenSessionRequest) -> Result<OpenSessionResponse, Status> {
    caller.sessions().open_session(request).await.map(tonic::Response::into_inner)
}

/// The other agent, with a session below the first one's.
async fn delegate(broker: &Broker, parent: &Caller, session: &Session) -> (Caller, Session) {
    let request = below(broker, session, &["git:acme/* contents:read"]);
    let opened = open(parent, request).await.unwrap();
    let mut child = broker.as_("agent-2").await;
    child.handle = Some(opened.handle);
    (child, opened.session.unwrap())
}

async fn introspect(broker: &Broker, secret: &str) -> IntrospectResponse {
    let request = IntrospectRequest { credential: secret.into(), audience: AUDIENCE.into() };
    broker.as_("git-host").await.introspection().introspect(request).await.unwrap().into_inner()
}

async fn secret(caller: &Caller, scope: &str) -> String {
    caller.requests(scope).await.unwrap().credential.unwrap().secret
}

async fn revoke(broker: &Broker, matching: Matching, stop: bool) -> RevokeMatchingResponse {
    let operator = broker.as_("ana").await;
    let reason = "an incident".into();
    let matching = Some(matching);
    let request = RevokeMatchingRequest { matching, reason, stop, ..Default::default() };
    operator.grants().revoke_matching(request).await.unwrap().into_inner()
}

async fn entries(broker: &Broker, event: &str) -> Vec<Value> {
    let request = ListEntriesRequest {
        filter: Some(jeton_proto::v1::EntryFilter { event: event.into(), ..Default::default() }),
        ..Default::default()
    };
    let auditor = broker.as_("audrey").await;
    let found = auditor.audit().list_entries(request).await.unwrap().into_inner().entries;
    found.iter().map(|Entry { text, .. }| serde_json::from_str(text).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_agent_gets_a_part_and_everybody_is_told_through_whom() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:write"]).await;
    let (child, below) = delegate(&broker, &agent, &session).await;
    let link = Delegator { session: session.id.clone(), agent: session.agent.clone() };
    assert_eq!((&below.delegators, &below.agent[..]), (&vec![link.clone()], SUB_AGENT));
    assert!(below.expire_time.unwrap().seconds <= session.expire_time.unwrap().seconds);

    let answer = child.requests("git:acme/api contents:read").await.unwrap();
    let grant = answer.grant.unwrap();
    assert_eq!(grant.delegators, std::slice::from_ref(&link));
    let token = answer.credential.unwrap().secret;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], session.agent, "RFC 8693 §4.1: on whose behalf");
    assert_eq!(claims["act"], json!({ "sub": SUB_AGENT }));
    let live = introspect(&broker, &token).await;
    assert!(live.active);
    assert_eq!((live.agent.as_str(), live.delegators), (SUB_AGENT, vec![link]));

    let refused = child.requests("git:acme/api contents:write ref=agent/x").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "what the parent has is not the child's");
    let wanted = json!([{ "session": session.id, "agent": session.agent }]);
    for event in ["session_opened", "issued", "denied"] {
        let newest = entries(&broker, event).await[0].clone();
        assert_eq!(newest["event"]["chain"], wanted, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_passes_on_only_what_it_has_and_only_through_its_holder() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    for (line, words) in [
        ("git:acme/* contents:write", "outside the session's envelope"),
        ("git:** contents:read", "outside the session's envelope"),
        ("orders:acme/x orders:read", "outside the session's envelope"),
    ] {
        let error = open(&agent, below(&broker, &session, &[line])).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{line}");
        assert!(error.message().contains(words), "{line}: {}", error.message());
    }
    let good = || below(&broker, &session, &["git:acme/* contents:read"]);
    let mut other_person = good();
    other_person.person = "bo".into();
    let error = open(&agent, other_person).await.unwrap_err();
    assert!(error.message().contains("acts for: nobody"), "{}", error.message());

    // Somebody else with a session of its own names this one as the parent.
    let (other, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let error = open(&other, good()).await.unwrap_err();
    assert!(error.message().contains("only its holder"), "{}", error.message());
    let error = open(&broker.as_("orchestrator").await, good()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated, "{}", error.message());

    // The policies have their say: this one lets agents pass on to builders, three deep.
    let mut to_nobody = good();
    to_nobody.agent = "spiffe://dev.jeton.local/service/git-host".into();
    assert_eq!(open(&agent, to_nobody).await.unwrap_err().code(), Code::PermissionDenied);
    let (mut holder, mut parent) = (agent.clone(), session.clone());
    for _ in 0..3 {
        (holder, parent) = delegate(&broker, &holder, &parent).await;
    }
    let request = below(&broker, &parent, &["git:acme/* contents:read"]);
    assert_eq!(open(&holder, request).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_of_a_child_count_in_its_parents_and_no_tree_gets_more_than_its_root() {
    let broker = Broker::start();
    let orchestrator = broker.as_("orchestrator").await;
    let mut request = opening(&["git:acme/* contents:read"]);
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    request.envelope.as_mut().unwrap().max_grants = 4;
    let opened = open(&orchestrator, request).await.unwrap();
    let mut agent = broker.as_("agent").await;
    agent.handle = Some(opened.handle);
    let session = opened.session.unwrap();
    let (one, _) = delegate(&broker, &agent, &session).await;
    let (two, _) = delegate(&broker, &agent, &session).await;
    let mut given = 0;
    for _ in 0..4 {
        for holder in [&one, &two, &agent] {
            match holder.requests(LOST).await {
                Ok(_) => given += 1,
                Err(error) => {
                    assert_eq!(error.code(), Code::FailedPrecondition);
                    assert!(error.message().contains("used all"), "{}", error.message());
                }
            }
        }
    }
    assert_eq!(given, 4, "each child may have 3, the root 4, and so all of them 4");
    let get = GetSessionRequest { id: session.id };
    let root = agent.sessions().get_session(get).await.unwrap().into_inner().session.unwrap();
    assert_eq!(root.grants_used, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_ends_all_below_it_in_one_step() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let (child, child_session) = delegate(&broker, &agent, &session).await;
    let (grandchild, _) = delegate(&broker, &child, &child_session).await;
    let tokens =
        [secret(&agent, LOST).await, secret(&child, LOST).await, secret(&grandchild, LOST).await];
    // A child ends alone, by its parent's hand.
    let close = CloseSessionRequest { id: child_session.id, reason: "done".into() };
    let closed = agent.sessions().close_session(close).await.unwrap().into_inner();
    assert_eq!((closed.sessions_closed, closed.grants_revoked), (2, 2));
    assert!(introspect(&broker, &tokens[0]).await.active);
    for token in &tokens[1..] {
        assert!(!introspect(&broker, token).await.active);
    }
    for gone in [&child, &grandchild] {
        assert_eq!(gone.requests(LOST).await.unwrap_err().code(), Code::Unauthenticated);
    }
    // The root takes what is left with it.
    let (late, late_session) = delegate(&broker, &agent, &session).await;
    let token = secret(&late, LOST).await;
    let cut = revoke(&broker, Matching::Session(session.id), false).await;
    assert_eq!((cut.sessions_closed, cut.revoked), (2, 2));
    assert!(!introspect(&broker, &token).await.active);
    let get = GetSessionRequest { id: late_session.id };
    let operator = broker.as_("ana").await;
    let over = operator.sessions().get_session(get).await.unwrap().into_inner().session.unwrap();
    assert_eq!(over.state(), SessionState::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_revoked_with_all_that_it_passed_on() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let (child, _) = delegate(&broker, &agent, &session).await;
    let tokens = [secret(&agent, LOST).await, secret(&child, LOST).await];
    let cut = revoke(&broker, Matching::Agent(session.agent.clone()), false).await;
    assert_eq!((cut.sessions_closed, cut.revoked, cut.grants.len()), (2, 2, 2));
    for token in &tokens {
        assert!(!introspect(&broker, token).await.active);
    }
    let again = revoke(&broker, Matching::Agent(session.agent), false).await;
    assert_eq!((again.sessions_closed, again.revoked), (0, 0), "again changes nothing");
    assert!(broker.agent_with(&["git:acme/* contents:read"]).await.1.id.starts_with("se_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_sessions_is_revoked_and_stopped_with_them() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let token = secret(&agent, LOST).await;
    let cut = revoke(&broker, Matching::Agent(session.opener.clone()), true).await;
    assert_eq!((cut.sessions_closed, cut.revoked), (1, 1));
    assert!(!introspect(&broker, &token).await.active);
    let orchestrator = broker.as_("orchestrator").await;
    let mut again = opening(&["git:acme/* contents:read"]);
    again.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let refused = open(&orchestrator, again).await.unwrap_err();
    assert!(refused.message().contains("stopped for agent"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_gave_is_taken_back_and_nothing_else() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:write"]).await;
    let reads = agent.requests(LOST).await.unwrap().grant.unwrap();
    let writes = agent.requests("git:acme/api contents:write ref=agent/x").await.unwrap();
    let writes = writes.grant.unwrap();
    assert!(writes.policy_ids.contains(&"builders-write-code".into()), "{:?}", writes.policy_ids);
    let cut = revoke(&broker, Matching::Policy("builders-write-code".into()), false).await;
    assert_eq!((cut.revoked, cut.sessions_closed, cut.grants), (1, 0, vec![writes.id.clone()]));
    let state = async |id: &str| {
        let get = GetGrantRequest { id: id.into() };
        agent.grants().get_grant(get).await.unwrap().into_inner().grant.unwrap().state()
    };
    assert_eq!(state(&writes.id).await, GrantState::Revoked);
    assert_eq!(state(&reads.id).await, GrantState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_is_granted_to_nobody_until_it_is_lifted_also_after_a_restart() {
    let mut broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let token = secret(&agent, LOST).await;
    let cut = revoke(&broker, Matching::Resource("git:acme/api".into()), true).await;
    assert_eq!((cut.revoked, cut.sessions_closed), (1, 0));
    assert!(!introspect(&broker, &token).await.active);
    let refused = agent.requests(LOST).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refused.message().contains("stopped for resource git:acme/api: an incident"),
        "{}",
        refused.message()
    );
    agent.requests("git:acme/web contents:read").await.unwrap();

    revoke(&broker, Matching::Agent(session.agent.clone()), true).await;
    let orchestrator = broker.as_("orchestrator").await;
    let mut again = opening(&["git:acme/* contents:read"]);
    again.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let refused = open(&orchestrator, again.clone()).await.unwrap_err();
    assert!(refused.message().contains("stopped for agent"), "{}", refused.message());

    assert_eq!(broker.stop(), Some(0));
    broker.run();
    let operator = broker.as_("ana").await;
    let listed = operator.grants().list_stops(ListStopsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.stops.len(), 2);
    let orchestrator = broker.as_("orchestrator").await;
    assert!(open(&orchestrator, again.clone()).await.is_err(), "it holds after a restart");
    let nobody = orchestrator.grants().list_stops(ListStopsRequest {}).await.unwrap_err();
    assert_eq!(nobody.code(), Code::PermissionDenied);

    let lift = |matching| LiftStopRequest {
        stop: Some(Stop { matching: Some(matching), ..Default::default() }),
        reason: "it is over".into(),
    };
    let not_theirs = lift(stop::Matching::Agent(session.agent.clone()));
    let refused = orchestrator.grants().lift_stop(not_theirs).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for stop in listed.stops {
        operator.grants().lift_stop(lift(stop.matching.unwrap())).await.unwrap();
    }
    let unknown = operator.grants().lift_stop(lift(stop::Matching::All(true))).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    open(&orchestrator, again).await.unwrap();
    assert_eq!(entries(&broker, "stop_lifted").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_ends_everything_and_lets_nothing_new_begin() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let (child, _) = delegate(&broker, &agent, &session).await;
    let tokens = [secret(&agent, LOST).await, secret(&child, LOST).await];
    let cut = revoke(&broker, Matching::All(true), true).await;
    assert_eq!((cut.sessions_closed, cut.revoked), (2, 2));
    for token in &tokens {
        assert!(!introspect(&broker, token).await.active);
    }
    let mut again = opening(&["git:acme/* contents:read"]);
    again.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let refused = open(&broker.as_("orchestrator").await, again).await.unwrap_err();
    assert!(refused.message().contains("stopped for everything"), "{}", refused.message());
    for matching in [Matching::Session(session.id), Matching::Policy("x".into())] {
        let operator = broker.as_("ana").await;
        let matching = Some(matching);
        let odd = RevokeMatchingRequest { matching, stop: true, ..Default::default() };
        let error = operator.grants().revoke_matching(odd).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_before_there_were_sessions_below_sessions_goes_on() {
    let mut broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let token = secret(&agent, LOST).await;
    assert_eq!(broker.stop(), Some(0));
    let db = rusqlite::Connection::open(broker.data().join("jeton.db")).unwrap();
    db.execute_batch(
        "ALTER TABLE session DROP COLUMN chain; ALTER TABLE session DROP COLUMN issuers;
         ALTER TABLE grants DROP COLUMN delivery;
         DROP TABLE stop; DROP TABLE ended; DROP TABLE approval; DROP TABLE review;
         DROP TABLE reviewed; DROP TABLE spend; DROP TABLE glass;
         PRAGMA user_version = 2;",
    )
    .unwrap();
    drop(db);
    broker.run();
    assert!(introspect(&broker, &token).await.active, "what was granted holds");
    let mut again = broker.as_("agent").await;
    again.handle = agent.handle;
    secret(&again, LOST).await;
    let cut = revoke(&broker, Matching::All(true), true).await;
    assert_eq!((cut.sessions_closed, cut.revoked), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_by_another_nothing_that_policies_refuse_to_itself() {
    let broker = Broker::start_with(|data| {
        let policy = r#"
@id("vault-is-not-for-builders-of-little-trust")
@reason("ask somebody whom it is for")
forbid (principal == Jeton::Agent::"spiffe://dev.jeton.local/agent/build-42", action, resource == Jeton::Resource::"git:acme/vault");
"#;
        std::fs::write(data.join("policies/vault.cedar"), policy).unwrap();
    });
    const VAULT: &str = "git:acme/vault contents:read";
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    agent.requests(VAULT).await.unwrap_err();
    // Bound to the first agent's own certificate: it would be its own front.
    let mut request = below(&broker, &session, &["git:acme/* contents:read"]);
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let opened = open(&agent, request).await.unwrap();
    let mut front = broker.as_("agent").await;
    front.handle = Some(opened.handle);
    let refused = front.requests(VAULT).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("vault-is-not-for-builders-of-little-trust"), "{refused:?}");
    front.requests(LOST).await.unwrap();
    // The other agent itself may, where nobody passed it on.
    let mut own = opening(&["git:acme/* contents:read"]);
    own.agent = SUB_AGENT.into();
    own.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent-2")));
    let opened = open(&broker.as_("orchestrator").await, own).await.unwrap();
    let mut other = broker.as_("agent-2").await;
    other.handle = Some(opened.handle);
    other.requests(VAULT).await.unwrap();
}
