//! Callers with a JWT of a configured issuer: CI systems, Kubernetes, SPIFFE, a company's sign-in.
//!
//! A token is taken apart strictly, checked against the one issuer that it names exactly, and its
//! claims are mapped to a principal. What was found is remembered under a digest of the whole token,
//! for five minutes at most, and no longer than the issuer's key set stays what it was.

mod claims;
mod fetch;
mod key_set;
mod mapping;
mod source;
mod transmitters;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use jeton_domain::{
    id::quote,
    people::Account,
    principal::{Issuer as IssuerName, PrincipalId, PrincipalKind},
    secret::sha256,
    session::Binding,
    ttl::{Timestamp, Ttl},
};
use moka::sync::Cache;
use serde_json::Value;

use self::{claims::Claims, key_set::Wanted, source::KeySource};
use super::{
    error::IdentityError,
    jose::{self, Algorithm, Compact, Malformed},
    jwk::{Material, PublicKey},
};
use crate::limits::{JWT_BYTES, JWT_CACHE};

pub use self::{
    claims::ClaimError,
    fetch::{Fetcher, UrlError},
    key_set::KeyRefusal,
    mapping::{ClaimRule, Mapping, Shape, Template, TemplateError, WantedValue},
    transmitters::{Believed, Ends, SignalError, TransmitterConfig, Transmitters},
};

/// Seconds that a checked token is remembered at most. Why: a key that the issuer withdraws must not
/// live on here.
const REMEMBERED_SECONDS: u32 = 300;

/// One issuer whose tokens are accepted.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// Its name, compared exactly with `iss`.
    pub issuer: String,
    /// Who the token must be made for, compared exactly with `aud` or one of its entries.
    pub audience: String,
    /// Algorithms that it signs with; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Where its public keys are.
    pub keys: KeyPlace,
    /// The claim with the groups of whoever a token stands for, if it has one.
    pub groups: Option<String>,
    /// Oldest token, counted from `iat`; without it `exp` alone decides.
    pub max_age: Option<Ttl>,
    /// Who a token stands for; the first that fits wins.
    pub mappings: Vec<Mapping>,
}

/// Where public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the document that the issuer's own discovery names.
    Discovery,
    /// At this URL.
    JwksUrl(String),
    /// In this file.
    File(PathBuf),
}

/// Why a configured issuer is none.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// Two configurations for one name.
    #[error("the issuer `{0}` is configured twice")]
    Twice(String),
    /// Nothing to check or nobody to be.
    #[error("the issuer `{issuer}` has no {what}; name at least one")]
    Nothing {
        /// Which issuer.
        issuer: String,
        /// What is missing.
        what: &'static str,
    },
    /// Its keys could be changed on the way.
    #[error("the keys of issuer `{issuer}` can't be fetched: {error}")]
    Url {
        /// Which issuer.
        issuer: String,
        /// What is wrong.
        error: UrlError,
    },
}

/// Why a token identifies nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No signed token.
    #[error("the token can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// Another kind of token, such as a DPoP proof or a logout token.
    #[error(
        "the token has another `typ` than `JWT` or `at+jwt`; present an identity or access token"
    )]
    Type,
    /// Nobody here knows it.
    #[error(
        "the issuer `{0}` is not configured here; names are compared exactly, with every slash"
    )]
    UnknownIssuer(String),
    /// Not in the issuer's list.
    #[error("the algorithm `{given}` is not allowed for this issuer; {allowed} are")]
    Algorithm {
        /// What the token says.
        given: String,
        /// What would do.
        allowed: String,
    },
    /// A claim is missing, malformed or says no.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// No key of the issuer fits.
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    /// Made by another key, or changed.
    #[error("the signature of the token is not of its issuer's key")]
    Signature,
    /// The claims stand for nobody.
    #[error("no mapping of issuer `{issuer}` fits this token; looked at the claims {claims}")]
    NoMapping {
        /// The issuer.
        issuer: String,
        /// Names of claims, never their values.
        claims: String,
    },
}

impl TokenError {
    /// A short code for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Type | Self::Signature => "TOKEN_INVALID",
            Self::UnknownIssuer(_) => "TOKEN_ISSUER_UNKNOWN",
            Self::Algorithm { .. } => "TOKEN_ALGORITHM_REFUSED",
            Self::Claim(error) => error.reason(),
            Self::Key(_) => "TOKEN_KEY_UNKNOWN",
            Self::NoMapping { .. } => "TOKEN_MAPS_TO_NOBODY",
        }
    }
}

/// Who a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The principal.
    pub principal: PrincipalId,
    /// Program or person.
    pub kind: PrincipalKind,
    /// Whose token it is.
    pub issuer: IssuerName,
    /// The account that it is about, where it stands for a person.
    pub account: Option<Account>,
    /// Groups that the token says it is in.
    pub groups: Arc<[Box<str>]>,
    /// When the token ends.
    pub ends: Timestamp,
    /// The key that the token is bound to by `cnf`; without a proof of it the token is worth nothing.
    pub binding: Option<Binding>,
}

/// All configured issuers.
pub struct Oidc {
    issuers: HashMap<String, Arc<Issuer>>,
    remembered: Cache<[u8; 32], Arc<Remembered>>,
}

struct Issuer {
    config: IssuerConfig,
    keys: Arc<KeySource>,
}

struct Remembered {
    verified: Verified,
    until: Timestamp,
    issuer: Arc<Issuer>,
    key_set: [u8; 32],
}

impl Oidc {
    /// Takes the issuers of the configuration. A changed configuration makes a new `Oidc`, so that
    /// nothing is remembered from the one before.
    ///
    /// # Errors
    /// When an issuer stands twice, is incomplete, or its keys come over an unprotected network.
    pub fn new(configs: Vec<IssuerConfig>, fetcher: &Fetcher) -> Result<Self, IssuerError> {
        let mut issuers = HashMap::new();
        for config in configs {
            let nothing = |what| IssuerError::Nothing { issuer: config.issuer.clone(), what };
            if config.issuer.is_empty() || config.audience.is_empty() {
                return Err(nothing("name or no audience"));
            }
            if config.algorithms.is_empty() {
                return Err(nothing("algorithm"));
            }
            if config.mappings.is_empty() {
                return Err(nothing("mapping"));
            }
            let keys = KeySource::new(&config.issuer, &config.keys, fetcher.clone())
                .map_err(|error| IssuerError::Url { issuer: config.issuer.clone(), error })?;
            let name = config.issuer.clone();
            let issuer = Issuer { config, keys: Arc::new(keys) };
            if issuers.insert(name.clone(), Arc::new(issuer)).is_some() {
                return Err(IssuerError::Twice(name));
            }
        }
        let remembered = Cache::builder()
            .max_capacity(JWT_CACHE)
            // Only frees memory: what counts is `until`, on the broker's clock.
            .time_to_live(Duration::from_secs(u64::from(REMEMBERED_SECONDS)))
            .build();
        Ok(Self { issuers, remembered })
    }

    /// Finds out who a token stands for.
    ///
    /// # Errors
    /// When it is no good token of a configured issuer, stands for nobody, or the issuer's keys
    /// can't be had.
    pub async fn jwt(&self, token: &str, now: Timestamp) -> Result<Verified, IdentityError> {
        if token.len() > JWT_BYTES {
            return Err(TokenError::Malformed(Malformed::TooLong).into());
        }
        // Why of the whole token: two tokens that begin alike are two tokens.
        let digest = sha256(token.as_bytes());
        if let Some(known) = self.remembered.get(&digest) {
            if known.holds(now) {
                return Ok(known.verified.clone());
            }
            self.remembered.invalidate(&digest);
        }
        let token = Compact::parse(token).map_err(TokenError::from)?;
        let issuer = self.issuer(&token)?;
        let (claims, key_set) = issuer.check(&token, now).await?;
        let verified = issuer.map(&token, &claims)?;
        let remembered = Ttl::from_seconds(REMEMBERED_SECONDS).map_or(now, |life| now.plus(life));
        let until = remembered.min(claims.useful_until(issuer.config.max_age));
        let known = Remembered { verified: verified.clone(), until, issuer, key_set };
        self.remembered.insert(digest, Arc::new(known));
        Ok(verified)
    }

    fn issuer(&self, token: &Compact<'_>) -> Result<Arc<Issuer>, TokenError> {
        let typ = token.header().get("typ");
        if !typ.is_none_or(|typ| matches!(typ.as_str(), Some("JWT" | "at+jwt"))) {
            return Err(TokenError::Type);
        }
        let name = token.claims().get("iss").and_then(Value::as_str);
        let name = name.ok_or(ClaimError::Malformed { claim: "iss", wanted: "a text" })?;
        let issuer = self.issuers.get(name).map(Arc::clone);
        issuer.ok_or_else(|| TokenError::UnknownIssuer(quote(name)))
    }
}

impl Remembered {
    fn holds(&self, now: Timestamp) -> bool {
        now < self.until && self.issuer.keys.version() == Some(self.key_set)
    }
}

impl Issuer {
    /// Checks everything about a token but whom it stands for; gives the version of the key set.
    async fn check(
        &self,
        token: &Compact<'_>,
        now: Timestamp,
    ) -> Result<(Claims, [u8; 32]), IdentityError> {
        let algorithm = Algorithm::parse(token.algorithm())
            .filter(|algorithm| self.config.algorithms.contains(algorithm))
            .ok_or_else(|| self.refused_algorithm(token))?;
        // Before the key is looked for: a token for somebody else must not make us fetch.
        let claims = Claims::read(token.claims()).map_err(TokenError::from)?;
        claims.check(&self.config, now).map_err(TokenError::from)?;
        let wanted = Wanted::read(token.header(), algorithm).map_err(TokenError::from)?;
        let found = self.keys.find(&wanted, now).await?;
        if !self.is_signed(token, &found.key, algorithm) {
            return Err(TokenError::Signature.into());
        }
        Ok((claims, found.version))
    }

    fn is_signed(&self, token: &Compact<'_>, key: &PublicKey, algorithm: Algorithm) -> bool {
        if !token.is_signed_by(key, algorithm) {
            return false;
        }
        // Why not these: the crate does not know the name of RFC 9864.
        if token.algorithm() == jose::ED25519 {
            return true;
        }
        let (algorithm, key) = named(algorithm, key);
        let mut rules = jsonwebtoken::Validation::new(algorithm);
        rules.set_issuer(&[&self.config.issuer]);
        rules.set_audience(&[&self.config.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Why off: it would read the machine's clock; `Claims::check` did it with the broker's.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        jsonwebtoken::decode::<serde::de::IgnoredAny>(token.text(), &key, &rules).is_ok()
    }

    fn refused_algorithm(&self, token: &Compact<'_>) -> TokenError {
        let allowed: Vec<_> = self.config.algorithms.iter().map(|one| one.word()).collect();
        TokenError::Algorithm { given: quote(token.algorithm()), allowed: allowed.join(", ") }
    }

    /// The texts of the configured claim. Whatever else stands there names no group.
    fn groups(&self, token: &Compact<'_>) -> Arc<[Box<str>]> {
        let claim = self.config.groups.as_ref().and_then(|name| token.claims().get(name));
        let groups = claim.and_then(Value::as_array).into_iter().flatten();
        groups.filter_map(Value::as_str).map(Box::from).collect()
    }

    fn map(&self, token: &Compact<'_>, claims: &Claims) -> Result<Verified, TokenError> {
        for mapping in &self.config.mappings {
            if let Some(principal) = mapping.principal(token.claims()) {
                let issuer = IssuerName::new(&self.config.issuer);
                let account = Account { issuer, subject: claims.subject().into() };
                return Ok(Verified {
                    principal,
                    account: (mapping.kind == PrincipalKind::Person).then_some(account),
                    kind: mapping.kind,
                    issuer: IssuerName::new(&self.config.issuer),
                    groups: self.groups(token),
                    ends: claims.ends(),
                    binding: claims.binding(),
                });
            }
        }
        let mut looked_at: Vec<_> = self
            .config
            .mappings
            .iter()
            .flat_map(Mapping::looks_at)
            .map(|claim| format!("`{claim}`"))
            .collect();
        looked_at.sort();
        looked_at.dedup();
        Err(TokenError::NoMapping {
            issuer: self.config.issuer.clone(),
            claims: looked_at.join(", "),
        })
    }
}

/// An algorithm and a key as the crate that checks the token once more takes them.
fn named(
    algorithm: Algorithm,
    key: &PublicKey,
) -> (jsonwebtoken::Algorithm, jsonwebtoken::DecodingKey) {
    use jsonwebtoken::{Algorithm as Named, DecodingKey};
    let algorithm = match algorithm {
        Algorithm::Rs256 => Named::RS256,
        Algorithm::Ps256 => Named::PS256,
        Algorithm::Es256 => Named::ES256,
        Algorithm::EdDsa => Named::EdDSA,
    };
    let key = match key.material() {
        Material::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
        Material::P256(point) => DecodingKey::from_ec_der(point),
        Material::Ed25519(point) => DecodingKey::from_ed_der(point),
    };
    (algorithm, key)
}

#[cfg(test)]
mod tests;
