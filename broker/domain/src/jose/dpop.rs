//! Proof that a caller holds a key, made anew for each call (RFC 9449).
//!
//! A proof names one method and one URL, lives a minute and is taken once. The memory of used proofs ends
//! with its process, so the next process takes none that the one before could have taken.

mod replay;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use self::replay::{Replays, Seen};
use super::{
    Algorithm, Compact, Malformed,
    jwk::{KeyError, PublicKey},
    numeric_date, numeric_millis,
};
use crate::{
    limits::{DPOP_AGE_SECONDS, LEEWAY_SECONDS},
    principal::Thumbprint,
    secret::{same_bytes, sha256},
    ttl::Timestamp,
};

/// Longest `jti`. Why: it is hashed, and a UUID is 36 characters.
const JTI_CHARS: usize = 256;

/// Checks proofs and remembers those that were used.
pub struct Dpop {
    bases: Vec<String>,
    replays: Replays,
    /// Only proofs that were made later are taken.
    after: Timestamp,
}

/// What a proof must be made for.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The HTTP method; that of every gRPC call is `POST`.
    pub method: &'a str,
    /// The path, such as `/jeton.v1.SessionService/OpenSession`.
    pub path: &'a str,
    /// The session handle or access token that is sent with it.
    pub bound: Option<&'a str>,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No signed token.
    #[error("the DPoP proof can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// Another kind of token.
    #[error("the DPoP proof must have `typ` `dpop+jwt`")]
    Type,
    /// A symmetric, RSA or unknown algorithm.
    #[error("the DPoP proof must be signed with Ed25519 (EdDSA) or ES256")]
    Algorithm,
    /// No public key of that algorithm in the header.
    #[error("the DPoP proof must carry the public key of its algorithm as `jwk`")]
    NoKey,
    /// One that is private, weak or malformed.
    #[error("the `jwk` of the DPoP proof is refused: {0}")]
    Key(#[from] KeyError),
    /// Made by another key, or changed.
    #[error("the signature of the DPoP proof is not of its key")]
    Signature,
    /// Missing or of the wrong type.
    #[error("the DPoP proof needs the claim `{0}` as {1}")]
    Claim(&'static str, &'static str),
    /// For another method.
    #[error("the DPoP proof is made for another method; `htm` must be `{0}`")]
    Method(String),
    /// For another URL.
    #[error("the DPoP proof is made for another URL; `htu` must be {0}")]
    Url(String),
    /// For another handle or token, or for one when there is none.
    #[error(
        "the `ath` of the DPoP proof must be the base64url SHA-256 of the session handle or token that it comes with, and absent without one"
    )]
    Bound,
    /// Too old, or from the future.
    #[error(
        "the DPoP proof must be at most {DPOP_AGE_SECONDS} s old; make one for each call and check the clocks"
    )]
    Age,
    /// The process before may have taken it.
    #[error(
        "the DPoP proof was made before this program started, and may have been used; make a new one"
    )]
    Restarted,
    /// It comes from the future, and that can't be noted.
    #[error(
        "the DPoP proof is made in the future, and the broker can't note that now; check your clock and try again"
    )]
    Unnoted,
    /// It was used before.
    #[error("the DPoP proof was used before; make one for each call")]
    Replay,
    /// The memory of used proofs is full, and forgetting one would let it be used again.
    #[error("too many DPoP proofs in one minute; try again later")]
    Busy,
}

impl ProofError {
    /// A short code for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Age | Self::Restarted => "DPOP_PROOF_ENDED",
            Self::Replay => "DPOP_PROOF_REPLAYED",
            Self::Busy | Self::Unnoted => "DPOP_PROOFS_BUSY",
            Self::Malformed(_)
            | Self::Type
            | Self::Algorithm
            | Self::NoKey
            | Self::Key(_)
            | Self::Signature
            | Self::Claim(_, _)
            | Self::Method(_)
            | Self::Url(_)
            | Self::Bound => "DPOP_PROOF_INVALID",
        }
    }
}

/// What a proof proves, before it is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proved {
    /// Thumbprint of the key that made it.
    pub key: Thumbprint,
    /// When it was made, by the clock of who made it.
    pub made: Timestamp,
    name: [u8; 32],
}

impl Dpop {
    /// Accepts proofs for these base URLs, as clients see them: scheme and authority, such as
    /// `https://jeton.acme.dev:8443`. Remembers up to `replays` of them a minute.
    #[must_use]
    pub fn new(external_urls: &[String], replays: u64) -> Self {
        let bases = external_urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Self { bases, replays: Replays::new(replays), after: Timestamp::from_millis(0) }
    }

    /// Takes only proofs that were made after a time: that at which this process began, or the latest
    /// that a proof could name which the process before took.
    #[must_use]
    pub fn made_after(self, after: Timestamp) -> Self {
        Self { after, ..self }
    }

    /// Checks a proof and uses it up; gives the thumbprint of the key that made it.
    ///
    /// # Errors
    /// When it is malformed, of another key, for another call, too old or used before.
    pub fn check(
        &self,
        proof: &str,
        call: Call<'_>,
        now: Timestamp,
    ) -> Result<Thumbprint, ProofError> {
        let proved = self.read(proof, call, now)?;
        self.use_up(&proved, now)?;
        Ok(proved.key)
    }

    /// Checks all of a proof but whether it was used before.
    ///
    /// # Errors
    /// When it is malformed, of another key, for another call or too old.
    pub fn read(&self, proof: &str, call: Call<'_>, now: Timestamp) -> Result<Proved, ProofError> {
        let proof = Compact::parse(proof)?;
        let key = signed(&proof)?.thumbprint();
        self.made_for(&proof, call)?;
        let issued = proof.claims().get("iat").and_then(numeric_date);
        let issued = issued.ok_or(ProofError::Claim("iat", "a number of seconds"))?;
        if !is_fresh(issued, now) {
            return Err(ProofError::Age);
        }
        let made = proof.claims().get("iat").and_then(numeric_millis).map(Timestamp::from_millis);
        let made = made.ok_or(ProofError::Claim("iat", "a number of seconds"))?;
        if made <= self.after {
            return Err(ProofError::Restarted);
        }
        let jti = claim(&proof, "jti", "a text of 1 to 256 characters")?;
        if !(1..=JTI_CHARS).contains(&jti.chars().count()) {
            return Err(ProofError::Claim("jti", "a text of 1 to 256 characters"));
        }
        Ok(Proved { key, made, name: sha256(&[&key.0, jti.as_bytes()].concat()) })
    }

    /// Uses a proof up: the second time it is none. Why last: only a proof of a caller that is let in
    /// takes a place in the memory.
    ///
    /// # Errors
    /// When it was used before, or the memory is full.
    pub fn use_up(&self, proved: &Proved, now: Timestamp) -> Result<(), ProofError> {
        match self.replays.remember(proved.name, now) {
            Seen::New => Ok(()),
            Seen::Before => Err(ProofError::Replay),
            Seen::Full => Err(ProofError::Busy),
        }
    }

    fn urls_of(&self, path: &str) -> String {
        let urls: Vec<_> = self.bases.iter().map(|base| format!("`{base}{path}`")).collect();
        match urls.as_slice() {
            [] => "an external URL, and the configuration names none".to_owned(),
            some => some.join(" or "),
        }
    }

    fn made_for(&self, proof: &Compact<'_>, call: Call<'_>) -> Result<(), ProofError> {
        if claim(proof, "htm", "a text")? != call.method {
            return Err(ProofError::Method(call.method.to_owned()));
        }
        let given = claim(proof, "htu", "a text")?;
        // Spec: RFC 9449 §4.3: query and fragment are not compared.
        let given = given.split(['?', '#']).next().unwrap_or_default();
        let wanted =
            |base: &String| given.strip_prefix(base.as_str()).is_some_and(|path| path == call.path);
        if !self.bases.iter().any(wanted) {
            return Err(ProofError::Url(self.urls_of(call.path)));
        }
        let ath = proof.claims().get("ath");
        let bound = match (call.bound, ath) {
            (None, None) => true,
            (Some(bound), Some(Value::String(ath))) => {
                let wanted = URL_SAFE_NO_PAD.encode(sha256(bound.as_bytes()));
                same_bytes(ath.as_bytes(), wanted.as_bytes())
            }
            (None, Some(_)) | (Some(_), _) => false,
        };
        if bound { Ok(()) } else { Err(ProofError::Bound) }
    }
}

fn signed(proof: &Compact<'_>) -> Result<PublicKey, ProofError> {
    if proof.header().get("typ").and_then(Value::as_str) != Some("dpop+jwt") {
        return Err(ProofError::Type);
    }
    let algorithm = Algorithm::parse(proof.algorithm())
        .filter(|algorithm| matches!(algorithm, Algorithm::EdDsa | Algorithm::Es256))
        .ok_or(ProofError::Algorithm)?;
    let jwk = proof.header().get("jwk").and_then(Value::as_object).ok_or(ProofError::NoKey)?;
    let key = PublicKey::parse(jwk)?;
    if !key.fits(algorithm) {
        return Err(ProofError::NoKey);
    }
    if !proof.is_signed_by(&key, algorithm) {
        return Err(ProofError::Signature);
    }
    Ok(key)
}

fn claim<'a>(
    proof: &'a Compact<'_>,
    name: &'static str,
    what: &'static str,
) -> Result<&'a str, ProofError> {
    let text = proof.claims().get(name).and_then(Value::as_str);
    text.ok_or(ProofError::Claim(name, what))
}

fn is_fresh(issued: i64, now: Timestamp) -> bool {
    let leeway = i64::try_from(LEEWAY_SECONDS).unwrap_or(0);
    let now = now.seconds();
    issued >= now.saturating_sub(DPOP_AGE_SECONDS) && issued <= now.saturating_add(leeway)
}
