//! Lists that tell offline verifiers which tokens were taken back (draft-ietf-oauth-status-list).
//!
//! One bit a token: 0 as long as it stands by itself, 1 once it was taken back. The list is signed
//! and compressed; who reads one bounds what it inflates to.

use std::io::{Read, Write};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};

/// `typ` of a list (§5.1).
pub const TYPE: &str = "statuslist+jwt";
/// Media type of a list (§8.1).
pub const MEDIA_TYPE: &str = "application/statuslist+jwt";
/// Tokens of one list. Why: 8 KiB inflated, and few lists are in use at once.
pub const LENGTH: u64 = 65_536;
/// Bytes of them.
const BYTES: usize = 8192;
/// Longest list of another's that is read, inflated, in bytes.
const BYTES_MOST: u64 = 1024 * 1024;

/// Which tokens were taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusList(Vec<u8>);

/// The claims of a list (§5.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusClaims {
    /// Where it is: the `uri` of the tokens that it is about.
    pub sub: String,
    /// When it was made, in seconds.
    pub iat: i64,
    /// When it is no longer to be believed, in seconds.
    pub exp: i64,
    /// After how many seconds a newer one should be looked for.
    pub ttl: u32,
    /// The list.
    pub status_list: Packed,
}

/// A list as it travels (§4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    /// Bits of one token.
    pub bits: u8,
    /// The list, compressed with zlib, in base64url.
    pub lst: String,
}

/// Why a list can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatusListError {
    /// Another number of bits.
    #[error("it has {0} bits a token; 1 is known here")]
    Bits(u8),
    /// Not compressed as the specification says.
    #[error("it is no zlib stream in base64url")]
    Packing,
    /// Longer than any.
    #[error("it inflates to more than {BYTES_MOST} bytes")]
    TooLong,
}

impl Default for StatusList {
    fn default() -> Self {
        Self(vec![0; BYTES])
    }
}

impl StatusList {
    /// Notes that a token was taken back.
    pub fn revoke(&mut self, idx: u64) {
        let byte = usize::try_from(idx / 8).ok().and_then(|byte| self.0.get_mut(byte));
        if let Some(byte) = byte {
            *byte |= 1 << (idx % 8);
        }
    }

    /// Tells whether a token was taken back; `None` if the list does not reach so far.
    #[must_use]
    pub fn is_revoked(&self, idx: u64) -> Option<bool> {
        let byte = self.0.get(usize::try_from(idx / 8).ok()?)?;
        Some(byte >> (idx % 8) & 1 == 1)
    }

    /// Packs it.
    #[must_use]
    pub fn pack(&self) -> Packed {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        // Why ignored: writing to memory does not fail.
        let _ = encoder.write_all(&self.0);
        Packed { bits: 1, lst: URL_SAFE_NO_PAD.encode(encoder.finish().unwrap_or_default()) }
    }

    /// Unpacks one.
    ///
    /// # Errors
    /// When it is not of the form, or too long.
    pub fn unpack(packed: &Packed) -> Result<Self, StatusListError> {
        if packed.bits != 1 {
            return Err(StatusListError::Bits(packed.bits));
        }
        let bytes = URL_SAFE_NO_PAD.decode(&packed.lst).map_err(|_| StatusListError::Packing)?;
        let mut list = Vec::new();
        ZlibDecoder::new(bytes.as_slice())
            .take(BYTES_MOST.saturating_add(1))
            .read_to_end(&mut list)
            .map_err(|_| StatusListError::Packing)?;
        if u64::try_from(list.len()).is_ok_and(|length| length > BYTES_MOST) {
            return Err(StatusListError::TooLong);
        }
        Ok(Self(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_specification_is_read() {
        // Spec: draft-ietf-oauth-status-list §4.1 and §4.2: the bytes 0xb9 0xa3.
        let packed = Packed { bits: 1, lst: "eNrbuRgAAhcBXQ".to_owned() };
        let list = StatusList::unpack(&packed).unwrap();
        let set: Vec<u64> = (0..16).filter(|idx| list.is_revoked(*idx) == Some(true)).collect();
        assert_eq!(set, [0, 3, 4, 5, 7, 8, 9, 13, 15]);
        assert_eq!(list.is_revoked(16), None);
    }

    #[test]
    fn a_list_is_small_comes_back_as_it_was_and_bombs_are_refused() {
        let mut list = StatusList::default();
        assert!(list.pack().lst.len() < 100);
        for idx in [0, 7, 8, 65_535, 65_536, u64::MAX] {
            list.revoke(idx);
        }
        let back = StatusList::unpack(&list.pack()).unwrap();
        assert_eq!(back, list);
        assert_eq!((back.is_revoked(65_535), back.is_revoked(65_536)), (Some(true), None));
        let bomb = StatusList(vec![0; 2 * 1024 * 1024]).pack();
        assert_eq!(StatusList::unpack(&bomb), Err(StatusListError::TooLong));
        let bits = Packed { bits: 2, ..list.pack() };
        assert_eq!(StatusList::unpack(&bits), Err(StatusListError::Bits(2)));
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_reader(lst in "[A-Za-z0-9_-]{0,60}", bytes: Vec<u8>) {
            let _ = StatusList::unpack(&Packed { bits: 1, lst });
            let _ = StatusList::unpack(&Packed { bits: 1, lst: URL_SAFE_NO_PAD.encode(bytes) });
        }
    }
}
