//! Accepts access tokens that the broker signed, for whoever owns an API.
//!
//! A token is good if a published key signed it, for this API, its time has come and is not over, its
//! bearer proves the key that it is bound to, and it was not taken back. Fails closed: where any of
//! this can't be known, the answer is no. [`guard::Guard`] does it for a whole server.

mod fetch;
pub mod guard;
mod keys;
mod states;

use std::{path::PathBuf, sync::Arc};

use jeton_domain::{
    jose::{
        Compact,
        dpop::{Call as Proof, Dpop, ProofError, Proved},
    },
    limits::LEEWAY_SECONDS,
    pattern::Pattern,
    principal::Thumbprint,
    scope::Scope,
    secret::sha256,
    token::{Expected, TokenError, VerifiedClaims, claims::Confirmation},
    ttl::Timestamp,
};
use reqwest::Url;
use serde_json::Value;

use self::{fetch::Fetcher, keys::Keys, states::States};
use crate::{clock::now_millis, connect::Client, error::Error};

/// Proofs that are remembered a minute, so that none is used twice.
const PROOFS: u64 = 300_000;

/// What the verifier of an API needs to know.
#[derive(Default)]
pub struct VerifierSettings {
    /// The broker's name in tokens: `iss`.
    pub issuer: String,
    /// The API's name in tokens: `aud`.
    pub audience: String,
    /// Where the broker's public keys are; without it `/.well-known/jwks.json` below the issuer.
    pub keys_url: Option<String>,
    /// The CA of whoever serves keys and status lists, in PEM; without it those of the system.
    pub ca: Option<PathBuf>,
    /// What callers call this API, such as `https://orders.acme.dev`: proofs (DPoP) are made for it.
    pub urls: Vec<String>,
    /// How it is known that a token was taken back.
    pub revocation: RevocationBy,
}

/// How a verifier knows that a token was taken back.
#[derive(Default)]
pub enum RevocationBy {
    /// By the signed lists that the tokens name: about ten seconds late, and it needs no identity.
    #[default]
    StatusList,
    /// By a stream from the broker: a moment late. The caller needs the role verifier. Five seconds
    /// of silence, and nothing is accepted any more.
    Watch(Client),
    /// By asking the broker about each token: never late. The caller needs the role verifier.
    Introspection(Client),
    /// Not at all: a token is good until its own end.
    OwnEnd,
}

/// Accepts tokens. Cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    issuer: String,
    audience: String,
    keys: Keys,
    states: States,
    proofs: Dpop,
}

/// A call that comes with a token.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The HTTP method; for gRPC `POST`.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The value of `authorization`.
    pub authorization: Option<&'a str>,
    /// The value of `dpop`.
    pub dpop: Option<&'a str>,
    /// The caller's certificate, if it proved one.
    pub certificate: Option<PeerThumbprint>,
}

/// SHA-256 of the certificate that the other end of a connection proved. Put it among a request's
/// extensions, and the guard finds it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerThumbprint(pub [u8; 32]);

impl PeerThumbprint {
    /// That of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }
}

/// What a good token opens, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// The grant: `jti`.
    pub grant: String,
    /// The session.
    pub session: String,
    /// Who acts.
    pub agent: String,
    /// On whose behalf, if on somebody's: the person, or the agent that passed it on first.
    pub behalf: Option<String>,
    /// The agents between the two, the nearest first.
    pub delegators: Vec<String>,
    /// What it opens.
    pub scope: String,
    /// When it ends, in milliseconds since 1970.
    pub until: i64,
    opens: Scope,
}

impl Access {
    /// Tells whether an action on the whole of a resource is opened, both named exactly. Not by a token
    /// that is limited to refs: for that there is [`Self::allows_ref`].
    #[must_use]
    pub fn allows(&self, action: &str, resource: &str) -> bool {
        self.opens.git_ref.is_none() && self.opens(action, resource)
    }

    /// Tells whether an action on one git ref of a resource is opened, such as `agent/fix-1` for
    /// `refs/heads/agent/fix-1`.
    #[must_use]
    pub fn allows_ref(&self, action: &str, resource: &str, git_ref: &str) -> bool {
        let limit = self.opens.git_ref.as_ref();
        limit.is_none_or(|limit| limit.matches(git_ref)) && self.opens(action, resource)
    }

    fn opens(&self, action: &str, resource: &str) -> bool {
        let Scope { resource: opened, actions, .. } = &self.opens;
        opened.as_str() == resource && actions.iter().any(|one| one.as_str() == action)
    }

    /// The pattern of git refs that it is limited to, if it is.
    #[must_use]
    pub fn git_ref(&self) -> Option<&str> {
        self.opens.git_ref.as_ref().map(Pattern::as_str)
    }
}

/// Why a call is not accepted. The texts go to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No token.
    #[error("send an access token: `authorization: Bearer …` or `DPoP …`")]
    NoToken,
    /// Not one that the broker signed for this API.
    #[error("the token is not one for this API: {0}")]
    Token(String),
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It was taken back.
    #[error("the token was revoked")]
    Revoked,
    /// It is bound to a DPoP key that the call does not prove.
    #[error("the token is bound to a key that this call does not prove: {0}")]
    Unproved(String),
    /// It is bound to a certificate that the connection does not prove.
    #[error("the token is bound to a certificate: {0}")]
    Certificate(String),
    /// The DPoP proof is none.
    #[error("{0}")]
    BadProof(String),
    /// The call can be read in two ways.
    #[error("{0}")]
    Request(String),
    /// It can't be known at the moment whether it is good.
    #[error("whether the token is good can't be known at the moment: {0}")]
    Unsure(String),
}

impl Refused {
    /// Whether the same call may be accepted a moment later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unsure(_))
    }
}

impl Verifier {
    /// Fetches the broker's keys, and begins to hear of revocations. Must be made within a runtime.
    ///
    /// # Errors
    /// When the settings are not usable, or the keys can't be had.
    pub async fn new(settings: VerifierSettings) -> Result<Self, Error> {
        let keys_url = settings.keys_url.unwrap_or_else(|| {
            format!("{}/.well-known/jwks.json", settings.issuer.trim_end_matches('/'))
        });
        let keys_url: Url = keys_url.parse().map_err(|error| {
            Error::config(format!("`{keys_url}` is no address of public keys: {error}"))
        })?;
        let fetcher = Fetcher::new(settings.ca.as_deref())?;
        let states = States::new(settings.revocation, &keys_url, &fetcher);
        let keys = Keys::fetch(fetcher, keys_url).await?;
        let VerifierSettings { issuer, audience, urls, .. } = settings;
        // Why: what a verifier before this one took is forgotten.
        let proofs = Dpop::new(&urls, PROOFS).made_after(now());
        Ok(Self(Arc::new(Inner { issuer, audience, keys, states, proofs })))
    }

    /// Checks a call.
    ///
    /// # Errors
    /// When it is not to be accepted.
    pub async fn check(&self, call: Call<'_>) -> Result<Access, Refused> {
        let (scheme, token) = token(call.authorization)?;
        let claims = self.claims(token).await?;
        let proved = self.proved(&claims, scheme, token, call)?;
        self.0.states.check(&self.0, &claims, token).await?;
        if let Some(proved) = proved {
            self.0.proofs.use_up(&proved, now()).map_err(unusable)?;
        }
        Ok(access(claims))
    }

    /// What a token says, if the broker signed it for this API and its time is now.
    async fn claims(&self, token: &str) -> Result<VerifiedClaims, Refused> {
        let bad = |why: &dyn std::fmt::Display| Refused::Token(why.to_string());
        let compact = Compact::parse(token).map_err(|error| bad(&error))?;
        self.0.keys.check(&compact, "at+jwt").await?;
        let claims = Value::Object(compact.claims().clone());
        let claims = serde_json::from_value(claims).map_err(|_| bad(&TokenError::Claims))?;
        let Inner { issuer, audience, .. } = &*self.0;
        let expected = Expected { issuer, audience, leeway: LEEWAY_SECONDS };
        let read = VerifiedClaims::read(&claims, expected, now());
        read.map_err(
            |error| if error == TokenError::Expired { Refused::Expired } else { bad(&error) },
        )
    }

    /// Checks that the call proves the key of the token; gives the proof that is to be used up.
    fn proved(
        &self,
        claims: &VerifiedClaims,
        scheme: Scheme,
        token: &str,
        call: Call<'_>,
    ) -> Result<Option<Proved>, Refused> {
        let unproved = |why: &str| Err(Refused::Unproved(why.to_owned()));
        let certificate = |why: &str| Err(Refused::Certificate(why.to_owned()));
        match (claims.confirmation, scheme) {
            (None, Scheme::Bearer) => Ok(None),
            (Some(Confirmation::Certificate(Thumbprint(wanted))), Scheme::Bearer) => {
                match call.certificate {
                    Some(PeerThumbprint(proved)) if proved == wanted => Ok(None),
                    Some(_) => certificate("the certificate of this connection is another one"),
                    None => certificate("connect with the one that it is bound to"),
                }
            }
            (Some(Confirmation::Jwk(wanted)), Scheme::Dpop) => {
                let Some(proof) = call.dpop else {
                    return unproved("send a DPoP proof with it");
                };
                let made_for = Proof { method: call.method, path: call.path, bound: Some(token) };
                let proved = self.0.proofs.read(proof, made_for, now()).map_err(unusable)?;
                match proved.key == wanted {
                    true => Ok(Some(proved)),
                    false => unproved("the DPoP proof is made by another key"),
                }
            }
            // Spec: RFC 9449 §7.1: a bound token sent as a bearer's is no proof of anything.
            (Some(Confirmation::Jwk(_)), Scheme::Bearer) => {
                unproved("send it as `authorization: DPoP …` with a proof")
            }
            (None | Some(Confirmation::Certificate(_)), Scheme::Dpop) => Err(Refused::Token(
                "it is bound to no DPoP key; send it as `authorization: Bearer …`".to_owned(),
            )),
        }
    }
}

/// Why a proof is none.
fn unusable(error: ProofError) -> Refused {
    match error == ProofError::Busy {
        true => Refused::Unsure(error.to_string()),
        false => Refused::BadProof(error.to_string()),
    }
}

/// How a token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Dpop,
}

fn token(authorization: Option<&str>) -> Result<(Scheme, &str), Refused> {
    let (scheme, token) =
        authorization.and_then(|value| value.split_once(' ')).ok_or(Refused::NoToken)?;
    match scheme {
        _ if scheme.eq_ignore_ascii_case("bearer") => Ok((Scheme::Bearer, token)),
        _ if scheme.eq_ignore_ascii_case("dpop") => Ok((Scheme::Dpop, token)),
        _ => Err(Refused::NoToken),
    }
}

fn access(claims: VerifiedClaims) -> Access {
    Access {
        grant: claims.grant.to_string(),
        session: claims.session.to_string(),
        agent: claims.agent.to_string(),
        behalf: claims.behalf.map(|behalf| behalf.to_string()),
        delegators: claims.delegators.iter().map(ToString::to_string).collect(),
        scope: claims.scope.to_string(),
        until: claims.expires.millis(),
        opens: claims.scope,
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(now_millis())
}
