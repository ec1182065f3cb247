//! Upstreams that know nothing but a key that never changes: the broker keeps it sealed, and puts it into
//! calls. It is never given out.
//!
//! The key itself does not end with a grant; the way to it does.

use std::path::Path;

use http::{
    HeaderName, HeaderValue,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
        EXPECT, HOST, RANGE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};
use jeton_domain::{
    grant::{Grant, GrantState},
    id::GrantId,
    permit::Permit,
    scope::{Action, Upstream},
    secret::Secret,
    ttl::Timestamp,
};
use zeroize::Zeroizing;

use super::{CredentialKind, Local, Minted};
use crate::signer::{Confirmation, token::SigningError};

/// How an upstream takes its key: a header, with the key somewhere in its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHeader {
    name: HeaderName,
    before: String,
    after: String,
}

/// What stands for the key.
const KEY: &str = "{key}";

impl Default for KeyHeader {
    /// `Authorization: Bearer KEY`.
    fn default() -> Self {
        let (before, after) = ("Bearer ".to_owned(), String::new());
        Self { name: AUTHORIZATION, before, after }
    }
}

impl KeyHeader {
    /// Reads a text such as `x-api-key: {key}`.
    ///
    /// # Errors
    /// When it is none, with what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let odd = || {
            format!(
                "`{text}` is no header with a key; write it like \"authorization: Bearer {KEY}\""
            )
        };
        let (name, value) = text.split_once(':').ok_or_else(odd)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| odd())?;
        let (before, after) = value.trim().split_once(KEY).ok_or_else(odd)?;
        let plain = |part: &str| part.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let about_the_connection = [
            HOST,
            CONTENT_LENGTH,
            TRANSFER_ENCODING,
            CONNECTION,
            UPGRADE,
            TE,
            TRAILER,
            EXPECT,
            CONTENT_TYPE,
            CONTENT_ENCODING,
            ACCEPT_ENCODING,
            RANGE,
        ];
        if about_the_connection.contains(&name)
            || !plain(before)
            || !plain(after)
            || after.contains(KEY)
        {
            return Err(odd());
        }
        Ok(Self { name, before: before.to_owned(), after: after.to_owned() })
    }

    /// The header with this key. `None` if the key can't stand in one.
    #[must_use]
    pub fn with(&self, key: &Secret) -> Option<(HeaderName, HeaderValue)> {
        let text = Zeroizing::new(format!("{}{}{}", self.before, key.expose(), self.after));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some((self.name.clone(), value))
    }
}

/// A key that is kept.
pub struct KeptKey {
    upstream: Upstream,
    key: Secret,
    actions: Vec<Action>,
}

impl KeptKey {
    /// Takes the key over.
    ///
    /// # Errors
    /// When nothing could be done with it.
    pub fn new(upstream: Upstream, key: Secret, actions: Vec<Action>) -> Result<Self, String> {
        usable(&key)?;
        Ok(Self { upstream, key, actions })
    }

    /// What can be done there.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn out(&self, upstream: &Upstream, dies: Timestamp) -> Result<Minted, SigningError> {
        if *upstream != self.upstream {
            return Err(SigningError::Upstream(upstream.clone()));
        }
        let key = Secret::new(self.key.expose().to_owned());
        Ok(Minted::new(key, CredentialKind::StaticKey, dies))
    }
}

/// Shortest key. Why: what comes back of one is looked for in all that an upstream says.
const SHORTEST: usize = 8;
/// Longest key.
const LONGEST: usize = 4096;

/// Says what is wrong with a key.
///
/// # Errors
/// When it could not be sent, or not be looked for.
pub fn usable(key: &Secret) -> Result<(), String> {
    let text = key.expose();
    if !(SHORTEST..=LONGEST).contains(&text.len()) {
        return Err(format!("a key has {SHORTEST} to {LONGEST} characters"));
    }
    match text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        true => Ok(()),
        false => Err("a key is visible ASCII, without blanks".to_owned()),
    }
}

impl Local for KeptKey {
    fn make(
        &self,
        _grant: GrantId,
        permit: &Permit,
        _confirmation: Option<Confirmation>,
        _now: Timestamp,
    ) -> Result<Minted, SigningError> {
        self.out(&permit.scope().upstream, permit.deadline())
    }

    fn again(
        &self,
        grant: &Grant,
        _confirmation: Option<Confirmation>,
        _now: Timestamp,
    ) -> Result<Minted, SigningError> {
        let GrantState::Active { until } = grant.state else {
            return Err(SigningError::NotActive(grant.state.phase().word()));
        };
        self.out(&grant.scope.upstream, until)
    }
}

/// Name of a sealed key, so that one of another upstream does not open in its place.
#[must_use]
pub fn place(upstream: &Upstream) -> Vec<u8> {
    format!("upstream-key/{upstream}").into_bytes()
}

/// What to do when a file of a key does not open.
#[must_use]
pub fn does_not_open(file: &Path, upstream: &Upstream) -> String {
    format!(
        "`{}` does not hold a key sealed for `{upstream}`; run `jetond seal-key --config FILE {upstream}` and give it the key on its input",
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_where_its_header_says() {
        let header = |text: &str| {
            let key = Secret::new("canary-key-1".to_owned());
            let (name, value) = KeyHeader::parse(text).unwrap().with(&key).unwrap();
            format!("{name}: {}", value.to_str().unwrap())
        };
        assert_eq!(header("X-Api-Key: {key}"), "x-api-key: canary-key-1");
        assert_eq!(
            header("authorization: Token token={key}"),
            "authorization: Token token=canary-key-1"
        );
        for odd in [
            "x-api-key",
            "x-api-key: key",
            "a b: {key}",
            "host: {key}",
            "te: {key}",
            "x: {key}{key}",
            "x: \u{e9}{key}",
        ] {
            let error = KeyHeader::parse(odd).unwrap_err();
            assert!(error.contains("write it like"), "{odd}: {error}");
        }
    }

    #[test]
    fn a_key_that_can_t_be_sent_or_found_is_refused() {
        for odd in ["short", "with blank x", "with\nline-end", "k\u{e9}y-of-letters"] {
            assert!(usable(&Secret::new(odd.to_owned())).is_err(), "{odd}");
        }
        assert!(usable(&Secret::new("sk-0123456789".to_owned())).is_ok());
    }
}
