//! Credentials at rest: encrypted, so that they can be revoked after a crash and read by nobody else.
//!
//! AES-256-GCM with a random nonce. The associated data names table, row and version, so that a
//! sealed credential moved to another row does not open.

use jeton_domain::{
    id::GrantId,
    secret::{Secret, sha256},
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::Refusal;
use crate::{crypto, store::Sealed};

/// Form of the sealed bytes.
const VERSION: u8 = 1;

/// Encrypts and decrypts with one key.
pub struct Sealer(LessSafeKey);

/// Where a sealed credential belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its grant.
    pub grant: GrantId,
    /// Which of the grant's credentials: the number of renewals before it.
    pub version: u32,
}

impl Sealer {
    /// Takes a key of 32 bytes.
    ///
    /// # Errors
    /// Never for 32 bytes; kept so that no panic hides here.
    pub fn new(key: &[u8; 32]) -> Result<Self, Refusal> {
        UnboundKey::new(&AES_256_GCM, key)
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| Refusal::Internal("the sealing key has the wrong length".into()))
    }

    /// Encrypts a credential for its place.
    ///
    /// # Errors
    /// When the cipher fails.
    pub fn seal(&self, secret: &Secret, place: Place) -> Result<Sealed, Refusal> {
        self.seal_bytes(secret.expose().as_bytes(), &place.name()).map(Sealed)
    }

    /// Decrypts a credential, if it stands where it belongs.
    ///
    /// # Errors
    /// When the key is another, the bytes were changed, or they were moved.
    pub fn open(&self, sealed: &Sealed, place: Place) -> Result<Secret, Refusal> {
        let plain = self.open_bytes(&sealed.0, &place.name()).ok_or_else(|| {
            Refusal::Internal(format!(
                "the sealed credential of {} does not open; is the sealing key another one?",
                place.grant
            ))
        })?;
        String::from_utf8(plain)
            .map(Secret::new)
            .map_err(|_| Refusal::Internal("a sealed credential is no text".into()))
    }

    /// Seals a page token to the query that it belongs to.
    ///
    /// # Errors
    /// When the cipher fails.
    pub fn seal_page(&self, row: u64, query: &str) -> Result<Vec<u8>, Refusal> {
        self.seal_bytes(&row.to_be_bytes(), &page_name(query))
    }

    /// Opens a page token that was sealed to the same query.
    #[must_use]
    pub fn open_page(&self, token: &[u8], query: &str) -> Option<u64> {
        let plain = self.open_bytes(token, &page_name(query))?;
        plain.try_into().ok().map(u64::from_be_bytes)
    }

    /// Seals a key that an upstream never changes, for a file.
    ///
    /// # Errors
    /// When the cipher fails.
    pub fn seal_key(&self, key: &Secret, place: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.seal_bytes(key.expose().as_bytes(), place)
    }

    /// Opens such a key. `None` if it was sealed for another place, by another key, or not at all.
    #[must_use]
    pub fn open_key(&self, sealed: &[u8], place: &[u8]) -> Option<Secret> {
        String::from_utf8(self.open_bytes(sealed, place)?).ok().map(Secret::new)
    }

    fn seal_bytes(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, Refusal> {
        let nonce: [u8; NONCE_LEN] = crypto::random();
        let mut bytes = plain.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut bytes,
            )
            .map_err(|_| Refusal::Internal("a credential could not be sealed".into()))?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + bytes.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut bytes);
        Ok(sealed)
    }

    fn open_bytes(&self, sealed: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, cipher) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *version != VERSION {
            return None;
        }
        let mut bytes = cipher.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(place), &mut bytes).ok().map(|plain| plain.to_vec())
    }
}

impl Place {
    fn name(self) -> Vec<u8> {
        format!("grants/{}/{}", self.grant, self.version).into_bytes()
    }
}

fn page_name(query: &str) -> Vec<u8> {
    let mut name = b"page/".to_vec();
    name.extend_from_slice(&sha256(query.as_bytes()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_domain::id::{Row, Tag};

    fn place(row: u64, version: u32) -> Place {
        Place { grant: GrantId::new(Row::new(row).unwrap(), Tag([1; 10])), version }
    }

    #[test]
    fn a_sealed_credential_opens_only_where_it_belongs() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let sealed = sealer.seal(&Secret::new("ghs_canary".into()), place(1, 0)).unwrap();
        assert_eq!(sealer.open(&sealed, place(1, 0)).unwrap().expose(), "ghs_canary");
        assert!(sealer.open(&sealed, place(2, 0)).is_err(), "moved to another row");
        assert!(sealer.open(&sealed, place(1, 1)).is_err(), "passed off as another version");
        assert!(Sealer::new(&[8; 32]).unwrap().open(&sealed, place(1, 0)).is_err(), "another key");
        for place_of_flip in 0..sealed.0.len() {
            let mut changed = sealed.clone();
            changed.0[place_of_flip] ^= 1;
            assert!(sealer.open(&changed, place(1, 0)).is_err(), "byte {place_of_flip}");
        }
        assert!(!sealed.0.windows(6).any(|window| window == b"canary"));
    }

    #[test]
    fn a_page_token_of_another_query_does_not_open() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let token = sealer.seal_page(42, "grants of ana").unwrap();
        assert_eq!(sealer.open_page(&token, "grants of ana"), Some(42));
        assert_eq!(sealer.open_page(&token, "grants of bob"), None);
        assert_eq!(sealer.open_page(&[], "grants of ana"), None);
    }
}
