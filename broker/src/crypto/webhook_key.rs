//! Keys of the Standard Webhooks specification: whoever holds one signs messages by it and checks those
//! of the other end.

use base64::{Engine, engine::general_purpose::STANDARD};
use jeton_domain::secret::Secret;
use ring::hmac;

/// Signatures that are looked at in one header. Why: a sender that changes its key sends two.
const SIGNATURES: usize = 8;

/// A shared key.
pub struct WebhookKey(hmac::Key);

/// A text that is no such key.
#[derive(Debug, thiserror::Error)]
#[error(
    "is not `whsec_` with 24 to 64 bytes in base64 behind it; `echo whsec_$(openssl rand -base64 32)` makes one"
)]
pub struct WebhookKeyError;

impl WebhookKey {
    /// Reads the text form.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &Secret) -> Result<Self, WebhookKeyError> {
        let text = text.expose().trim().strip_prefix("whsec_").ok_or(WebhookKeyError)?;
        let bytes = STANDARD.decode(text).map_err(|_| WebhookKeyError)?;
        match bytes.len() {
            24..=64 => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            _ => Err(WebhookKeyError),
        }
    }

    /// Signs a message. Spec: Standard Webhooks: the HMAC is over id, time and body.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(hmac::sign(&self.0, &signed(id, seconds, body))))
    }

    /// Tells whether one of these signatures, with spaces between them, is that of a message.
    #[must_use]
    pub fn signed(&self, id: &str, seconds: i64, body: &[u8], signatures: &str) -> bool {
        let message = signed(id, seconds, body);
        let tags = signatures.split(' ').take(SIGNATURES).filter_map(|one| one.strip_prefix("v1,"));
        tags.filter_map(|tag| STANDARD.decode(tag).ok())
            .any(|tag| hmac::verify(&self.0, &message, &tag).is_ok())
    }
}

fn signed(id: &str, seconds: i64, body: &[u8]) -> Vec<u8> {
    [format!("{id}.{seconds}.").as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<WebhookKey, WebhookKeyError> {
        WebhookKey::parse(&Secret::new(text.to_owned()))
    }

    #[test]
    fn a_key_that_is_none_is_refused_and_never_shown() {
        for text in
            ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%%", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"]
        {
            let refused = key(text).err().unwrap();
            assert!(refused.to_string().contains("whsec_"), "{text}");
            assert!(!refused.to_string().contains("c2"), "{refused}");
        }
    }

    #[test]
    fn a_signature_is_that_of_the_reference_libraries_and_of_no_other_message() {
        let good = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        // Spec: the example of the Standard Webhooks reference libraries.
        let (id, at, body) =
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let signature = good.sign(id, at, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(good.signed(id, at, body, &signature));
        assert!(good.signed(id, at, body, &format!("v1,AAAA v1a,x {signature}")));
        assert!(!good.signed(id, at + 1, body, &signature));
        assert!(!good.signed("msg", at, body, &signature));
        assert!(!good.signed(id, at, br#"{"test": 2432232315}"#, &signature));
        let other = key("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        assert!(!other.signed(id, at, body, &signature));
        for none in ["", "v1,", "v1", &signature.replace("v1,", "v2,")] {
            assert!(!good.signed(id, at, body, none), "{none}");
        }
        let many = "v1,AAAA ".repeat(SIGNATURES) + &signature;
        assert!(!good.signed(id, at, body, &many));
    }
}
