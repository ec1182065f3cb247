//! The app's own identity: a JWT that it signs for itself.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jeton_domain::{secret::Secret, ttl::Timestamp};
use serde::Serialize;

use crate::crypto::{
    jws,
    private_key::{KeyFormatError, PrivateKey, SignError},
};

/// How far back a JWT begins. Why: GitHub's clock may be behind ours.
const BACKDATED_SECONDS: i64 = 30;
/// How long a JWT lives. Why: GitHub refuses more than ten minutes by its own clock.
const LIFE_SECONDS: i64 = 9 * 60;
/// How long before its end a JWT is replaced. Why: a call that takes long must not outlive it.
const SPARE_SECONDS: i64 = 60;

/// The app's private key and the JWT that is in use.
pub struct AppKey {
    app_id: String,
    header: String,
    key: PrivateKey,
    kept: ArcSwapOption<AppJwt>,
}

/// A JWT of the app.
pub struct AppJwt {
    text: Secret,
    expires: i64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: &'a str,
}

impl AppKey {
    /// Parses the key.
    ///
    /// # Errors
    /// When it is no RSA key.
    pub fn new(app_id: u64, pem: &Secret) -> Result<Self, KeyFormatError> {
        let key = PrivateKey::from_pem(pem.expose().as_bytes())?;
        match key {
            PrivateKey::Rsa(_) => Ok(Self {
                app_id: app_id.to_string(),
                header: jws::encode_header(r#"{"typ":"JWT","alg":"RS256"}"#),
                key,
                kept: ArcSwapOption::empty(),
            }),
            PrivateKey::Ed25519(_) | PrivateKey::P256(_) => Err(KeyFormatError::Unfit),
        }
    }

    /// A JWT with at least a minute left: the one in use, or a new one.
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn jwt(&self, now: Timestamp) -> Result<Arc<AppJwt>, SignError> {
        let now = now.seconds();
        if let Some(kept) = self.kept.load_full().filter(|kept| now < kept.expires - SPARE_SECONDS)
        {
            return Ok(kept);
        }
        let iat = now.saturating_sub(BACKDATED_SECONDS);
        let expires = iat.saturating_add(LIFE_SECONDS);
        let claims = Claims { iat, exp: expires, iss: &self.app_id };
        let text = jws::sign(&self.header, &claims, &self.key)?;
        let jwt = Arc::new(AppJwt { text, expires });
        self.kept.store(Some(Arc::clone(&jwt)));
        Ok(jwt)
    }
}

impl AppJwt {
    /// The JWT.
    pub fn text(&self) -> &Secret {
        &self.text
    }
}
