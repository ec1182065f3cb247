//! What a token says, to us and to others.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    decision::{
        Decision, Delivery, GrantRequest, PolicyId, Question, Rules, Standing, Verdict, decide,
    },
    delegation::Chain,
    grant::{Grant, GrantState},
    id::{GrantId, Row, SessionId, Tag},
    permit::Permit,
    principal::{Issuers, PrincipalId, Thumbprint},
    revocation::Stops,
    scope::{Action, Scope, ScopeBound, Upstream},
    session::{Binding, Envelope, Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{NOW, after, ring};
use crate::{
    signer::{
        Confirmation, Ed25519Name, KeyRing, SigningAlgorithm,
        status::StatusLists,
        token::{SignedConfig, SignedMinter, SigningError},
        verify::{TokenError, VerifiedClaims},
    },
    upstream::Local,
};

const SCOPE: &str = "orders:eu/invoices read:all,write:own ref=agent/*";

struct AllowAll;

impl Rules for AllowAll {
    fn judge(&self, _: &Question<'_>) -> Verdict {
        Verdict::Allow(vec![PolicyId::new("all")])
    }

    fn hash(&self) -> &str {
        "0"
    }
}

fn status() -> Arc<StatusLists> {
    Arc::new(StatusLists::new([1; 16]))
}

pub(super) fn grant_id() -> GrantId {
    GrantId::new(Row::new(42).unwrap(), Tag([7; 10]))
}

fn session_id() -> SessionId {
    SessionId::new(Row::new(3).unwrap(), Tag([9; 10]))
}

fn name(text: &str) -> PrincipalId {
    PrincipalId::parse(text).unwrap()
}

/// Five minutes for the agent `bot`, decided half a second past [`NOW`].
fn permit(person: Option<&str>) -> Permit {
    let session = Session {
        id: session_id(),
        agent: name("bot"),
        person: person.map(name),
        opener: name("ci"),
        task: Words::default(),
        envelope: Envelope::new(vec![ScopeBound::parse(SCOPE).unwrap()], 1, 300).unwrap(),
        binding: Binding::Bearer,
        handle_hash: [0; 32],
        opened: after(0),
        deadline: after(3600),
        chain: Chain::default(),
        issuers: vec![],
    };
    let request = GrantRequest {
        scope: Scope::parse(SCOPE).unwrap(),
        ttl: Ttl::from_seconds(300),
        delivery: Delivery::Direct,
        deed: None,
        reason: Words::default(),
    };
    let standing = Standing {
        session: &session,
        state: &SessionState::Open,
        approvals: &BTreeSet::new(),
        approved_by: &[],
        stops: &Stops::default(),
        issuers: &Issuers::default(),
        now: Timestamp::from_millis(NOW * 1000 + 500),
    };
    match decide(&AllowAll, standing, &request) {
        Decision::Permit(permit) => permit,
        Decision::NeedsApproval { .. } | Decision::Deny(_) => panic!("allowed"),
    }
}

fn grant_of(permit: &Permit, state: GrantState) -> Grant {
    Grant {
        id: grant_id(),
        session: permit.session(),
        agent: permit.agent().clone(),
        person: permit.person().cloned(),
        chain: permit.chain().clone(),
        scope: permit.scope().clone(),
        delivery: permit.delivery(),
        ttl: permit.ttl(),
        reason: Words::default(),
        request_id: None,
        decided_by: permit.decided_by().clone(),
        requested: permit.decided(),
        renewals: 0,
        entry: None,
        state,
    }
}

pub(super) fn minter(algorithm: SigningAlgorithm) -> (TempDir, Arc<KeyRing>, SignedMinter) {
    let (folder, ring) = ring(algorithm);
    let config = SignedConfig {
        verifiers: vec![],
        name: Upstream::parse("orders").unwrap(),
        audience: "https://orders.example".into(),
        actions: vec![Action::parse("read:all").unwrap()],
        issuer: "https://jeton.example".into(),
        ed25519: Ed25519Name::default(),
    };
    let minter = SignedMinter::new(config, Arc::clone(&ring), status());
    (folder, ring, minter)
}

pub(super) fn verified(
    minter: &SignedMinter,
    token: &str,
    now: Timestamp,
) -> Result<VerifiedClaims, TokenError> {
    minter.verify(token, "https://orders.example", now)
}

/// The claims as another library reads them, by the published keys alone.
fn as_others_see(ring: &KeyRing, token: &str, algorithm: Algorithm) -> Value {
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!((header.typ.as_deref(), header.alg), (Some("at+jwt"), algorithm));
    let set = ring.jwks(after(1));
    let key = set.find(&header.kid.unwrap()).unwrap();
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.set_audience(&["https://orders.example"]);
    validation.set_issuer(&["https://jeton.example"]);
    decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims
}

#[test]
fn a_token_says_all_of_its_grant_and_others_can_check_it_by_the_published_keys() {
    for (algorithm, alg) in
        [(SigningAlgorithm::EdDsa, Algorithm::EdDSA), (SigningAlgorithm::Es256, Algorithm::ES256)]
    {
        let (_folder, ring, minter) = minter(algorithm);
        let bound = Confirmation::of(&Binding::Certificate(Thumbprint([1; 32])));
        let minted =
            minter.make(grant_id(), &permit(Some("ana@acme.dev")), bound, after(1)).unwrap();
        assert_eq!(minted.dies(), after(300));
        let token = minted.sealable().expose();
        assert_eq!(
            as_others_see(&ring, token, alg),
            json!({
                "iss": "https://jeton.example",
                "aud": "https://orders.example",
                "sub": "ana@acme.dev",
                "act": { "sub": "bot" },
                "client_id": session_id().to_string(),
                "jti": grant_id().to_string(),
                "iat": NOW,
                "nbf": NOW,
                "exp": NOW + 300,
                "cnf": { "x5t#S256": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE" },
                "authorization_details": [{
                    "type": "jeton",
                    "locations": ["orders"],
                    "identifier": "eu/invoices",
                    "actions": ["read:all", "write:own"],
                    "ref": "agent/*",
                }],
            })
        );
        let ours = VerifiedClaims {
            status: None,
            grant: grant_id(),
            session: session_id(),
            agent: name("bot"),
            behalf: Some(name("ana@acme.dev")),
            delegators: vec![],
            scope: Scope::parse(SCOPE).unwrap(),
            confirmation: bound,
            issued: after(0),
            expires: after(300),
        };
        assert_eq!(verified(&minter, token, after(1)), Ok(ours));
    }
}

#[test]
fn without_a_person_or_a_key_the_agent_is_the_subject_and_nothing_is_claimed_for_them() {
    let (_folder, ring, minter) = minter(SigningAlgorithm::EdDsa);
    for (binding, cnf) in [
        (Binding::Bearer, None),
        (Binding::UnixUid(1000), None),
        (Binding::Jwk(Thumbprint([0; 32])), Some(json!({"jkt": "A".repeat(43)}))),
    ] {
        let confirmation = Confirmation::of(&binding);
        let minted = minter.make(grant_id(), &permit(None), confirmation, after(1)).unwrap();
        let claims = as_others_see(&ring, minted.sealable().expose(), Algorithm::EdDSA);
        assert_eq!((claims["sub"].as_str(), claims.get("act")), (Some("bot"), None));
        assert_eq!(claims.get("cnf"), cnf.as_ref());
        let ours = verified(&minter, minted.sealable().expose(), after(1)).unwrap();
        assert_eq!((ours.agent, ours.behalf, ours.confirmation), (name("bot"), None, confirmation));
    }
}

#[test]
fn a_safe_retry_gets_the_same_token_and_only_while_the_grant_is_active() {
    let (_folder, _ring, minter) = minter(SigningAlgorithm::EdDsa);
    let permit = permit(Some("ana@acme.dev"));
    let first = minter.make(grant_id(), &permit, None, after(1)).unwrap();
    let active = grant_of(&permit, GrantState::Active { until: permit.deadline() });
    let again = minter.again(&active, None, after(200)).unwrap();
    assert!(again.sealable().is(first.sealable()));
    assert_eq!(again.dies(), first.dies());
    let minting = grant_of(&permit, GrantState::Minting { since: after(0) });
    let error = minter.again(&minting, None, after(1)).err();
    assert_eq!(error, Some(SigningError::NotActive("minting")));
}

#[test]
fn an_upstream_may_want_the_name_of_rfc_9864() {
    for (algorithm, name) in
        [(SigningAlgorithm::EdDsa, "Ed25519"), (SigningAlgorithm::Es256, "ES256")]
    {
        let (_folder, ring, minter) = minter(algorithm);
        let config = SignedConfig { ed25519: Ed25519Name::Ed25519, ..minter.config().clone() };
        let named = SignedMinter::new(config, Arc::clone(&ring), status());
        let minted = named.make(grant_id(), &permit(None), None, after(1)).unwrap();
        let token = minted.sealable().expose();
        let header = token.split('.').next().unwrap();
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        assert_eq!(header["alg"], name);
        let keys = ring.renamed_jwks(after(1));
        assert_eq!(keys.len(), usize::from(name == "Ed25519"));
        for key in keys {
            assert_eq!((&key["kid"], &key["alg"]), (&header["kid"], &header["alg"]));
            assert_ne!(
                Some(key["kid"].as_str().unwrap()),
                ring.jwks(after(1)).keys[0].common.key_id.as_deref()
            );
        }
        // The broker takes both of its names.
        assert!(named.verify(token, "https://orders.example", after(1)).is_ok());
    }
}

#[test]
fn a_scope_of_another_upstream_is_never_signed_for() {
    let (_folder, ring, _) = minter(SigningAlgorithm::EdDsa);
    let config = SignedConfig {
        verifiers: vec![],
        name: Upstream::parse("billing").unwrap(),
        audience: "https://billing.example".into(),
        actions: vec![],
        issuer: "https://jeton.example".into(),
        ed25519: Ed25519Name::default(),
    };
    let error = SignedMinter::new(config, ring, status())
        .make(grant_id(), &permit(None), None, after(1))
        .err();
    assert_eq!(error, Some(SigningError::Upstream(Upstream::parse("orders").unwrap())));
}

#[test]
fn a_token_outlives_the_change_of_keys_but_not_the_end_of_its_key() {
    let (_folder, ring, minter) = minter(SigningAlgorithm::EdDsa);
    let minted = minter.make(grant_id(), &permit(None), None, after(1)).unwrap();
    let token = minted.sealable().expose();
    ring.rotate(after(2)).unwrap();
    assert!(verified(&minter, token, after(299)).is_ok());
    assert_eq!(verified(&minter, token, after(700)), Err(TokenError::Expired));
    assert_eq!(verified(&minter, token, after(5000)), Err(TokenError::Header));
}
