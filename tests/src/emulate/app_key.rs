//! The RSA key of a GitHub App, as its owner holds it: made by `openssl`, signing RS256.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// A fresh App key. Making one takes `openssl` a moment, so share it where a test makes many.
pub struct AppKey {
    pem: String,
    pair: RsaKeyPair,
}

impl AppKey {
    /// Makes a key of 2048 bits in the PKCS#1 PEM that GitHub hands out.
    pub fn generate() -> Self {
        let made = Command::new("openssl")
            .args(["genrsa", "-traditional", "2048"])
            .output()
            .expect("`openssl` starts; hint: run ./tests/run --setup");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pem = String::from_utf8(made.stdout).unwrap();
        let der = STANDARD
            .decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>())
            .unwrap();
        Self { pem, pair: RsaKeyPair::from_der(&der).unwrap() }
    }

    /// `-----BEGIN RSA PRIVATE KEY-----` and so on.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// An App JWT of nine minutes that starts at `now` (seconds since 1970).
    pub fn jwt(&self, app_id: u64, now: i64) -> String {
        self.sign(&json!({ "iss": app_id.to_string(), "iat": now, "exp": now + 540 }))
    }

    /// A JWT with just these claims, right or wrong.
    pub fn sign(&self, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        let signed = format!("{header}.{payload}");
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
