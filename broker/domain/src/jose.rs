//! Signed compact tokens (RFC 7515) before anybody trusts them: three strict parts and a header.
//!
//! Identity tokens, DPoP proofs and the broker's own tokens share this reading. Nothing here looks at a clock or a network;
//! what a token says about where its key could be found (`jku`, `x5u`, `x5c`) is never followed.

pub mod dpop;
pub mod json;
pub mod jwk;
pub mod weak_key;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use self::{json::Object, jwk::PublicKey};
use crate::limits::JWT_BYTES;

/// The name of Ed25519 by RFC 9864, beside `EdDSA`.
pub const ED25519: &str = "Ed25519";

/// Signature algorithms that a caller may be allowed to use. What is not here has no name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Reads the name of RFC 7518, RFC 8037 or RFC 9864; exact, so that `None` and `nOnE` are nothing.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == ED25519 {
            return Some(Self::EdDsa);
        }
        [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa]
            .into_iter()
            .find(|algorithm| algorithm.word() == name)
    }

    /// Its name; that of Ed25519 by RFC 8037, which more verifiers know.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Why a text is no signed token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Beyond the limit.
    #[error("it is longer than any such token")]
    TooLong,
    /// Encrypted, nested, JSON-serialized or cut.
    #[error("it is not three base64url parts without padding, divided by dots")]
    Parts,
    /// A header or claims that two readers could read differently.
    #[error("its header and claims must each be one JSON object without duplicate keys")]
    Json,
    /// `crit` or `b64`.
    #[error("its header demands the extension `{0}`, which is not supported here")]
    Extension(&'static str),
    /// Absent or no text.
    #[error("its header must name its algorithm as text")]
    Algorithm,
}

/// A signed token taken apart; its signature is not checked yet.
pub struct Compact<'a> {
    text: &'a str,
    message: &'a str,
    signature: &'a str,
    header: Object,
    claims: Object,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// When it is too long, not three strict parts, or its JSON is not strict.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        Self::parse_up_to(text, JWT_BYTES)
    }

    /// The same for a kind of token that may be longer.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_up_to(text: &'a str, most: usize) -> Result<Self, Malformed> {
        if text.len() > most {
            return Err(Malformed::TooLong);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(Malformed::Parts)?;
        let (header, claims) = message.split_once('.').ok_or(Malformed::Parts)?;
        if signature.is_empty() {
            return Err(Malformed::Parts);
        }
        decode(signature)?;
        let header = json::object(&decode(header)?).ok_or(Malformed::Json)?;
        let claims = json::object(&decode(claims)?).ok_or(Malformed::Json)?;
        for extension in ["crit", "b64"] {
            // Spec: RFC 7515 §4.1.11 and RFC 7797 §6: who does not know them must refuse.
            if header.contains_key(extension) {
                return Err(Malformed::Extension(extension));
            }
        }
        if !header.get("alg").is_some_and(Value::is_string) {
            return Err(Malformed::Algorithm);
        }
        Ok(Self { text, message, signature, header, claims })
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The header, unverified.
    #[must_use]
    pub fn header(&self) -> &Object {
        &self.header
    }

    /// The claims, unverified.
    #[must_use]
    pub fn claims(&self) -> &Object {
        &self.claims
    }

    /// The name of the algorithm as the header says it.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.header.get("alg").and_then(Value::as_str).unwrap_or_default()
    }

    /// The text that is signed: two tokens that say the same in the same bytes have the same.
    #[must_use]
    pub fn signed_text(&self) -> &'a str {
        self.message
    }

    /// Tells whether the key made the signature with this algorithm, whatever the header says.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey, algorithm: Algorithm) -> bool {
        decode(self.signature)
            .is_ok_and(|signature| key.made(self.message.as_bytes(), &signature, algorithm))
    }
}

/// Reads a NumericDate (RFC 7519 §2) as whole seconds: a JSON number between 1970 and 9999.
#[must_use]
pub fn numeric_date(value: &Value) -> Option<i64> {
    const YEAR_9999: i64 = 253_402_300_799;
    // Why by text: fractions are allowed, and a conversion that saturates would invent a time.
    let whole = value.as_number()?.to_string();
    let seconds: i64 = whole.split('.').next()?.parse().ok()?;
    (!whole.starts_with('-') && seconds <= YEAR_9999).then_some(seconds)
}

/// The same as milliseconds, rounded down: of a NumericDate without a fraction the first of its second.
#[must_use]
pub fn numeric_millis(value: &Value) -> Option<i64> {
    let seconds = numeric_date(value)?;
    let text = value.as_number()?.to_string();
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digit = |place: usize| {
        let digit = fraction.as_bytes().get(place).filter(|byte| byte.is_ascii_digit());
        digit.map_or(0, |byte| i64::from(byte.wrapping_sub(b'0')))
    };
    let millis = digit(0) * 100 + digit(1) * 10 + digit(2);
    seconds.checked_mul(1000)?.checked_add(millis)
}

fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed::Parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(header), encode(claims), encode("signature"))
    }

    #[test]
    fn only_three_strict_parts_are_a_token() {
        let good = token(r#"{"alg":"ES256"}"#, "{}");
        assert!(Compact::parse(&good).is_ok());
        let padded = good.replacen('.', "=.", 1);
        let spaced = format!(" {good}");
        let standard = token(r#"{"alg":"ES256","x":"???>>>"}"#, "{}").replace(['-', '_'], "/");
        let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
        // The last character carries two bits that belong to no byte.
        let twin = good.replace("e30.", "e31.");
        for (what, text) in [
            ("nothing", ""),
            ("two parts", "e30.e30"),
            ("four parts", "e30.e30.e30.e30"),
            ("five parts, encrypted", "e30.e30.e30.e30.e30"),
            ("JSON serialization", r#"{"payload":"e30","signatures":[]}"#),
            ("padding", &padded),
            ("white space", &spaced),
            ("the other alphabet", &standard),
            ("no signature", &unsigned),
            ("loose bits", &twin),
        ] {
            assert_eq!(Compact::parse(text).err(), Some(Malformed::Parts), "{what}");
        }
        let long = format!("{good}{}", "A".repeat(JWT_BYTES));
        assert_eq!(Compact::parse(&long).err(), Some(Malformed::TooLong));
    }

    #[test]
    fn a_header_with_twins_extensions_or_no_algorithm_is_refused() {
        for (header, fault) in [
            (r#"{"alg":"ES256","alg":"none"}"#, Malformed::Json),
            (r#"["ES256"]"#, Malformed::Json),
            (r#"{"alg":"ES256","crit":["exp"]}"#, Malformed::Extension("crit")),
            (r#"{"alg":"ES256","b64":false}"#, Malformed::Extension("b64")),
            (r#"{}"#, Malformed::Algorithm),
            (r#"{"alg":["ES256"]}"#, Malformed::Algorithm),
        ] {
            assert_eq!(Compact::parse(&token(header, "{}")).err(), Some(fault), "{header}");
        }
        let twins = token(r#"{"alg":"ES256"}"#, r#"{"aud":"a","aud":"b"}"#);
        assert_eq!(Compact::parse(&twins).err(), Some(Malformed::Json));
    }

    #[test]
    fn only_names_of_the_list_are_algorithms() {
        for name in
            ["none", "None", "nOnE", "HS256", "RS512", "es256", "ES256 ", "EDDSA", "ed25519", ""]
        {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
        assert_eq!(Algorithm::parse("EdDSA"), Some(Algorithm::EdDsa));
        assert_eq!(Algorithm::parse("Ed25519"), Some(Algorithm::EdDsa));
    }

    #[test]
    fn milliseconds_of_a_numeric_date_are_its_fraction() {
        let read = |text: &str| numeric_millis(&serde_json::from_str(text).unwrap());
        for (text, millis) in [
            ("1700000000", 1_700_000_000_000),
            ("1700000000.0", 1_700_000_000_000),
            ("1700000000.25", 1_700_000_000_250),
            ("1700000000.0079", 1_700_000_000_007),
        ] {
            assert_eq!(read(text), Some(millis), "{text}");
        }
        assert_eq!((read("-1.5"), read("\"1\""), read("99999999999999")), (None, None, None));
    }

    #[test]
    fn a_numeric_date_is_a_number_within_the_calendar() {
        let read = |text: &str| numeric_date(&serde_json::from_str(text).unwrap());
        assert_eq!(read("1700000000"), Some(1_700_000_000));
        assert_eq!(read("1700000000.9"), Some(1_700_000_000));
        assert_eq!(read("0"), Some(0));
        for text in ["-1", "-0.5", "1e300", "253402300800", "\"1700000000\"", "null", "[1]", "true"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser(text in "\\PC{0,200}", parts in "[A-Za-z0-9_=.-]{0,200}") {
            let _ = Compact::parse(&text);
            let _ = Compact::parse(&parts);
        }

        #[test]
        fn no_header_or_claims_crash_the_parser(header: Vec<u8>, claims in "\\PC{0,60}") {
            let text = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
            let _ = Compact::parse(&text);
        }
    }
}
