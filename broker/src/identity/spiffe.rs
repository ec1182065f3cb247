//! SPIFFE ids: the names of workloads in certificates.
//!
//! Spec: the SPIFFE-ID standard §2: `spiffe://` + trust domain + path, nothing else of a URI.

use jeton_domain::{id::quote, limits::PRINCIPAL_CHARS, principal::PrincipalId};

/// How every SPIFFE id begins.
pub const SCHEME: &str = "spiffe://";
/// Bytes that the standard allows.
const MOST_BYTES: usize = 2048;
/// Bytes of a trust domain.
const TRUST_DOMAIN_BYTES: usize = 255;

/// Why a text is no SPIFFE id of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Another scheme, or none.
    #[error("`{0}` is no SPIFFE id; one looks like `spiffe://acme.dev/agent/build-42`")]
    Scheme(String),
    /// Beyond what the standard or a principal's name may hold.
    #[error("the SPIFFE id is longer than {PRINCIPAL_CHARS} bytes")]
    TooLong,
    /// Empty, upper case, a port, a user.
    #[error("the trust domain of `{0}` must be a-z, 0-9, `.`, `-` and `_`, without port or user")]
    TrustDomain(String),
    /// No path, or a segment that is empty, relative or holds another character.
    #[error(
        "the path of `{0}` must be segments of a-z, A-Z, 0-9, `.`, `-` and `_`, none empty, `.` or `..`"
    )]
    Path(String),
}

/// A SPIFFE trust domain: the part of an id that says whose workload it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Reads its name, without a scheme.
    ///
    /// # Errors
    /// When it is empty, too long, or holds another character than the standard allows.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        let in_domain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        match (1..=TRUST_DOMAIN_BYTES).contains(&text.len()) && text.bytes().all(in_domain) {
            true => Ok(Self(text.to_owned())),
            false => Err(SpiffeError::TrustDomain(quote(text))),
        }
    }

    /// That of an id.
    ///
    /// # Errors
    /// When it is no SPIFFE id.
    pub fn of(id: &PrincipalId) -> Result<Self, SpiffeError> {
        let text = id.as_str();
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| SpiffeError::Scheme(quote(text)))?;
        Self::parse(rest.split('/').next().unwrap_or_default())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads the SPIFFE id of a workload.
///
/// # Errors
/// When the text is not exactly such an id: query, fragment, port, user, percent signs, upper-case
/// trust domains and odd segments are refused, so that an id has one spelling.
pub fn parse(text: &str) -> Result<PrincipalId, SpiffeError> {
    if text.len() > MOST_BYTES {
        return Err(SpiffeError::TooLong);
    }
    let rest = text.strip_prefix(SCHEME).ok_or_else(|| SpiffeError::Scheme(quote(text)))?;
    // Why a path is demanded: an id without one names the trust domain, not a workload.
    let (domain, path) = rest.split_once('/').ok_or_else(|| SpiffeError::Path(quote(text)))?;
    TrustDomain::parse(domain).map_err(|_| SpiffeError::TrustDomain(quote(text)))?;
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let good = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path);
    if !path.split('/').all(good) {
        return Err(SpiffeError::Path(quote(text)));
    }
    PrincipalId::parse(text).map_err(|_| SpiffeError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_has_one_spelling() {
        assert!(parse("spiffe://acme.dev/agent/Build-42_x.y").is_ok());
        for text in [
            "",
            "https://acme.dev/agent",
            "SPIFFE://acme.dev/agent",
            "spiffe:/acme.dev/agent",
            "spiffe://acme.dev",
            "spiffe://acme.dev/",
            "spiffe:///agent",
            "spiffe://Acme.dev/agent",
            "spiffe://acme.dev:443/agent",
            "spiffe://me@acme.dev/agent",
            "spiffe://acme.dev/agent?x=1",
            "spiffe://acme.dev/agent#x",
            "spiffe://acme.dev/agent%2fx",
            "spiffe://acme.dev//agent",
            "spiffe://acme.dev/agent/",
            "spiffe://acme.dev/./agent",
            "spiffe://acme.dev/a/../b",
            "spiffe://acme.dev/agent\n",
            "spiffe://acme.dev/аgent",
            " spiffe://acme.dev/agent",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let long = |bytes: usize| format!("spiffe://a/{}", "x".repeat(bytes - 11));
        assert!(parse(&long(256)).is_ok());
        assert_eq!(parse(&long(257)), Err(SpiffeError::TooLong));
        assert_eq!(parse(&long(3000)), Err(SpiffeError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser(text in "(spiffe://)?\\PC{0,80}") {
            if let Ok(id) = parse(&text) {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
