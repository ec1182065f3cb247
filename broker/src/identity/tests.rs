//! Calls with whatever identity a caller may present.

mod dpop;
mod open_connection;

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    pattern::NamePattern,
    principal::{Role, Thumbprint},
    secret::sha256,
};
use serde_json::{Value, json};

use super::{
    oidc::{ClaimRule, Fetcher, IssuerConfig, KeyPlace, Mapping, Shape, Template, WantedValue},
    peer::{ClientCertificate, TlsPeer, UnixPeer},
    roles::RoleRule,
    testing::{Ca, Disk, Holder, NOW, Signer, after, leaf},
    unix::{UnixAccount, UnixRule},
    *,
};
use crate::identity::jose::Algorithm;

const ISSUER: &str = "https://ci.acme.dev";
const AUDIENCE: &str = "https://jeton.acme.dev";
const PATH: &str = "/jeton.v1.Sessions/Open";
const HANDLE: &str = "jeton_s_abc";

/// A broker's front: everything configured, one CA, one issuer.
struct World {
    ca: Ca,
    disk: Disk,
    tls: Arc<tls::TlsState>,
    issuer: Signer,
    authenticator: Arc<Authenticator>,
}

impl World {
    fn new() -> Self {
        Self::federated(&[])
    }

    /// With the CAs of other trust domains too.
    fn federated(bundles: &[(&str, &Ca)]) -> Self {
        let (ca, issuer) = (Ca::new("clients"), Signer::p256());
        let disk = Disk::new(&ca.pem());
        for (domain, ca) in bundles {
            disk.write(&format!("{domain}.bundle"), &ca.pem());
        }
        disk.write("keys.json", &json!({"keys": [issuer.jwk()]}).to_string());
        let any_repository = NamePattern::parse("acme/*").unwrap();
        let rule = ClaimRule { shape: Shape::One, value: WantedValue::Matches(any_repository) };
        let config = IssuerConfig {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            algorithms: vec![Algorithm::Es256],
            keys: KeyPlace::File(disk.path("keys.json")),
            groups: None,
            max_age: None,
            mappings: vec![Mapping {
                claims: [("repository".to_owned(), rule)].into(),
                kind: PrincipalKind::Workload,
                principal: Template::parse("workload:github/{repository}").unwrap(),
            }],
        };
        let authenticator = Authenticator {
            oidc: Oidc::new(vec![config], &Fetcher::new().unwrap()).unwrap(),
            dpop: Dpop::new(&[AUDIENCE.to_owned()], 100),
            proofs: ProofHorizon::new(None),
            unix: UnixAccounts::new(
                [(1000, "host/ana"), (1001, "reviewer:bot")]
                    .map(|(uid, name)| UnixRule {
                        account: UnixAccount::Uid(uid),
                        principal: PrincipalId::parse(name).unwrap(),
                        kind: PrincipalKind::Person,
                    })
                    .into(),
            ),
            roles: Roles::new(vec![RoleRule {
                role: Role::Operator,
                principals: vec![NamePattern::parse("spiffe://acme.dev/agent/ops").unwrap()],
            }]),
        };
        let tls = disk.load();
        Self { ca, disk, tls, issuer, authenticator: Arc::new(authenticator) }
    }

    fn without_certificate(&self) -> Peer {
        self.peer(ClientCertificate::Absent)
    }

    fn with_certificate(&self, holder: &Holder) -> Peer {
        self.peer(match PeerCertificate::read(vec![holder.certificate.der().clone()]) {
            Ok(certificate) => ClientCertificate::Named(certificate),
            Err(fault) => ClientCertificate::Unusable(fault),
        })
    }

    fn peer(&self, certificate: ClientCertificate) -> Peer {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Peer::Tls(Arc::new(TlsPeer::new(address, certificate, Arc::clone(&self.tls))))
    }

    fn token(&self, more: Value) -> String {
        let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": NOW + 60, "repository": "acme/api"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.issuer.signs(r#"{"alg":"ES256"}"#, &claims.to_string())
    }

    async fn asks(&self, presented: Presented<'_>) -> Result<Principal, IdentityError> {
        self.authenticator.authenticate(presented, after(0)).await
    }
}

fn nothing(peer: &Peer) -> Presented<'_> {
    Presented { peer, bearer: None, dpop: None, handle: None, method: "POST", path: PATH }
}

fn proof(signer: &Signer, jti: &str) -> String {
    let header = json!({"typ": "dpop+jwt", "alg": signer.algorithm(), "jwk": signer.jwk()});
    let claims = json!({
        "htm": "POST", "htu": format!("{AUDIENCE}{PATH}"), "iat": NOW, "jti": jti,
        "ath": URL_SAFE_NO_PAD.encode(sha256(HANDLE.as_bytes())),
    });
    signer.signs(&header.to_string(), &claims.to_string())
}

fn unix(uid: u32) -> Peer {
    Peer::Unix(UnixPeer { uid, gid: 100, pid: None })
}

#[tokio::test]
async fn each_way_names_one_principal_and_what_it_proved() {
    let world = World::new();
    let ops = world.ca.agent("ops");
    let by_certificate = world.asks(nothing(&world.with_certificate(&ops))).await.unwrap();
    assert_eq!(by_certificate.id.as_str(), "spiffe://acme.dev/agent/ops");
    assert_eq!(by_certificate.method, AuthMethod::Mtls);
    assert!(by_certificate.has(Role::Operator));
    assert_eq!(by_certificate.keys.certificate, Some(Thumbprint(sha256(ops.certificate.der()))));

    let (peer, token) = (world.without_certificate(), world.token(json!({})));
    let by_token = world.asks(Presented { bearer: Some(&token), ..nothing(&peer) }).await.unwrap();
    assert_eq!(by_token.id.as_str(), "workload:github/acme/api");
    assert_eq!((by_token.method, by_token.proof_ends), (AuthMethod::Oidc, after(60)));
    assert_eq!((by_token.keys, by_token.roles), (ProvedKeys::default(), [].into()));

    let by_socket = world.asks(nothing(&unix(1000))).await.unwrap();
    assert_eq!((by_socket.id.as_str(), by_socket.kind), ("host/ana", PrincipalKind::Person));
    assert_eq!(by_socket.keys.unix_uid, Some(1000));
    assert_eq!(by_socket.proof_ends, Timestamp::NEVER);
}

#[tokio::test]
async fn nothing_presented_is_answered_with_what_would_do() {
    let world = World::new();
    let error = world.asks(nothing(&world.without_certificate())).await.unwrap_err();
    assert_eq!(error.reason(), "IDENTITY_MISSING");
    assert_eq!(
        error.to_string(),
        "no identity was presented; connect with a client certificate that holds a SPIFFE id, or send \
         `authorization: Bearer` with a JWT of a configured issuer"
    );
    let bot = world.asks(nothing(&unix(1001))).await.unwrap_err();
    assert_eq!(bot.reason(), "NAME_RESERVED", "a reviewer's name is no caller's");
    let stranger = world.asks(nothing(&unix(1))).await.unwrap_err();
    assert_eq!(stranger.reason(), "UNIX_ACCOUNT_UNKNOWN");
}

#[tokio::test]
async fn a_token_wins_over_the_connection_which_then_only_proves_a_key() {
    let world = World::new();
    let (holder, token) = (world.ca.agent("ops"), world.token(json!({})));
    let peer = world.with_certificate(&holder);
    let principal = world.asks(Presented { bearer: Some(&token), ..nothing(&peer) }).await.unwrap();
    assert_eq!(principal.id.as_str(), "workload:github/acme/api");
    assert!(!principal.has(Role::Operator));
    assert_eq!(principal.keys.certificate, Some(Thumbprint(sha256(holder.certificate.der()))));
    let principal =
        world.asks(Presented { bearer: Some(&token), ..nothing(&unix(7)) }).await.unwrap();
    assert_eq!((principal.method, principal.keys.unix_uid), (AuthMethod::Oidc, Some(7)));
    // The proof holds no longer than the shorter-lived of the two.
    let mut short = leaf(&["spiffe://acme.dev/agent/one"]);
    short.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let (short, long) = (world.ca.sign(&short), world.token(json!({"exp": NOW + 400_000_000})));
    let both = world.with_certificate(&short);
    let principal = world.asks(Presented { bearer: Some(&long), ..nothing(&both) }).await.unwrap();
    assert_eq!(principal.proof_ends, Timestamp::from_seconds(1_893_456_000));
    // A bad token does not fall back on a good certificate.
    let error =
        world.asks(Presented { bearer: Some("e30.e30.AA"), ..nothing(&peer) }).await.unwrap_err();
    assert_eq!(error.reason(), "TOKEN_INVALID");
}

#[tokio::test]
async fn beside_a_token_a_nameless_certificate_proves_nothing_and_a_revoked_one_is_refused() {
    let world = World::new();
    let token = world.token(json!({}));
    let nameless = world.with_certificate(&world.ca.sign(&leaf(&[])));
    let principal =
        world.asks(Presented { bearer: Some(&token), ..nothing(&nameless) }).await.unwrap();
    assert_eq!(principal.keys, ProvedKeys::default());
    let alone = world.asks(nothing(&nameless)).await.unwrap_err();
    assert_eq!(alone.reason(), "CERTIFICATE_UNUSABLE");
    let strange = world.with_certificate(&Ca::new("strangers").agent("ops"));
    let error =
        world.asks(Presented { bearer: Some(&token), ..nothing(&strange) }).await.unwrap_err();
    assert_eq!(error.reason(), "CERTIFICATE_UNTRUSTED");
}

#[tokio::test]
async fn a_dpop_proof_proves_its_key_to_callers_who_are_somebody() {
    let world = World::new();
    let (key, token) = (Signer::ed25519(), world.token(json!({})));
    let peer = world.without_certificate();
    let proof = proof(&key, "1");
    let call = Presented { dpop: Some(&proof), handle: Some(HANDLE), ..nothing(&peer) };
    assert_eq!(world.asks(call).await, Err(IdentityError::Missing));
    let call = Presented { bearer: Some(&token), ..call };
    let principal = world.asks(call).await.unwrap();
    let expected = jwk::PublicKey::parse(key.jwk().as_object().unwrap()).unwrap().thumbprint();
    assert_eq!(principal.keys.jwk, Some(expected));
    assert_eq!(world.asks(call).await.unwrap_err().reason(), "DPOP_PROOF_REPLAYED");
    let other_path = Presented { path: "/jeton.v1.Grants/Request", ..call };
    assert_eq!(world.asks(other_path).await.unwrap_err().reason(), "DPOP_PROOF_INVALID");
}

#[tokio::test]
async fn a_bound_token_is_worth_nothing_without_its_key() {
    let world = World::new();
    let (key, holder) = (Signer::ed25519(), world.ca.agent("one"));
    let jkt = jwk::PublicKey::parse(key.jwk().as_object().unwrap()).unwrap().thumbprint();
    let bound = |method: &str, digest: [u8; 32]| {
        world.token(json!({"cnf": {method: URL_SAFE_NO_PAD.encode(digest)}}))
    };
    let to_jwk = bound("jkt", jkt.0);
    let to_certificate = bound("x5t#S256", sha256(holder.certificate.der()));
    let (bare, with_certificate) = (world.without_certificate(), world.with_certificate(&holder));
    let good = proof(&key, "1");
    for (peer, token, proof, outcome) in [
        (&bare, &to_jwk, None, Some("TOKEN_KEY_UNPROVED")),
        (&with_certificate, &to_jwk, None, Some("TOKEN_KEY_UNPROVED")),
        (&bare, &to_jwk, Some(&good), None),
        (&bare, &to_certificate, None, Some("TOKEN_KEY_UNPROVED")),
        (&with_certificate, &to_certificate, None, None),
    ] {
        let presented = Presented {
            bearer: Some(token),
            dpop: proof.map(String::as_str),
            handle: proof.map(|_| HANDLE),
            ..nothing(peer)
        };
        assert_eq!(world.asks(presented).await.err().map(|error| error.reason()), outcome);
    }
}
