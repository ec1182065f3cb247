//! Lists that tell offline verifiers which tokens were taken back (draft-ietf-oauth-status-list).
//!
//! A token's place follows from its grant's number alone: each list is about 65,536 grants that
//! follow each other, in an order that only the broker knows, so that neighbours in a list say
//! nothing of each other. A list holds the grants that ended before their time; of all others the
//! token's own end is true.

use std::{
    borrow::Cow,
    hash::Hasher,
    sync::{Arc, OnceLock},
};

use jeton_domain::{
    id::{GrantId, Row},
    token::{
        claims::{Reference, Status},
        status_list::{LENGTH, StatusClaims, StatusList, TYPE},
    },
    ttl::Timestamp,
};
use siphasher::sip::SipHasher13;

use super::KeyRing;
use crate::crypto::{jws, private_key::SignError};

/// After how many seconds verifiers look for a newer list.
pub const TTL_SECONDS: u32 = 10;
/// How long a list is believed, in seconds. Why: so long a revoked token may pass where the broker
/// can't be reached, and no longer.
const LIFE_SECONDS: i64 = 60;
/// Rounds of the permutation. Why: four make a permutation that can't be told from a random one
/// (Luby and Rackoff).
const ROUNDS: u8 = 4;
/// Path before a list's number.
pub const PATH: &str = "/status/";

/// Where the tokens of this broker are told of.
pub struct StatusLists {
    key: [u8; 16],
    base: OnceLock<Arc<str>>,
}

impl StatusLists {
    /// Orders the lists by a key. Tokens name no list until it is known where they are served.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self { key, base: OnceLock::new() }
    }

    /// The lists are served below this URL from now on. The first one holds.
    pub fn serve_at(&self, url: &str) {
        // Why ignored: a token that names one place must not name another when it is signed again.
        let _ = self.base.set(url.trim_end_matches('/').into());
    }

    /// What a grant's token says of its state, if lists are served.
    #[must_use]
    pub fn reference(&self, grant: GrantId) -> Option<Status<'static>> {
        let (list, idx) = self.place(grant.row());
        Some(Status { status_list: Reference { idx, uri: Cow::Owned(self.uri(list)?) } })
    }

    /// The list of a grant and its place in it.
    fn place(&self, grant: Row) -> (u64, u64) {
        let list = grant.get() / LENGTH;
        (list, self.shuffled(list, grant.get() % LENGTH))
    }

    fn uri(&self, list: u64) -> Option<String> {
        self.base.get().map(|base| format!("{base}{PATH}{list}"))
    }

    /// Signs a list of grants that ended early. `None` where no lists are served.
    ///
    /// # Errors
    /// When the key fails.
    pub fn sign(
        &self,
        ring: &KeyRing,
        list: u64,
        ended: impl Iterator<Item = Row>,
        now: Timestamp,
    ) -> Result<Option<String>, SignError> {
        let Some(sub) = self.uri(list) else { return Ok(None) };
        let mut states = StatusList::default();
        for (of, idx) in ended.map(|grant| self.place(grant)) {
            if of == list {
                states.revoke(idx);
            }
        }
        let claims = StatusClaims {
            sub,
            iat: now.seconds(),
            exp: now.seconds().saturating_add(LIFE_SECONDS),
            ttl: TTL_SECONDS,
            status_list: states.pack(),
        };
        let key = ring.active(now);
        let signed = jws::sign(&key.header_of(TYPE), &claims, key.private())?;
        Ok(Some(signed.expose().to_owned()))
    }

    /// A Feistel network over sixteen bits, another one for each list.
    fn shuffled(&self, list: u64, place: u64) -> u64 {
        let (mut left, mut right) = (place >> 8 & 0xff, place & 0xff);
        for round in 0..ROUNDS {
            let mut hasher = SipHasher13::new_with_key(&self.key);
            hasher.write_u8(round);
            hasher.write_u64(list);
            hasher.write_u64(right);
            (left, right) = (right, left ^ (hasher.finish() & 0xff));
        }
        left << 8 | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_grant_of_a_list_has_a_place_of_its_own_and_none_that_tells_its_number() {
        let lists = StatusLists::new([7; 16]);
        let places: HashSet<u64> = (0..LENGTH).map(|place| lists.shuffled(3, place)).collect();
        assert_eq!(places.len(), 65_536);
        assert!(places.iter().all(|place| *place < LENGTH));
        let near = (0..LENGTH - 1)
            .filter(|place| lists.shuffled(3, *place).abs_diff(lists.shuffled(3, place + 1)) == 1)
            .count();
        assert!(near < 20, "neighbours stay neighbours {near} times");
        assert_ne!(lists.shuffled(3, 5), lists.shuffled(4, 5));
        assert_ne!(lists.shuffled(3, 5), StatusLists::new([8; 16]).shuffled(3, 5));
    }

    #[test]
    fn a_token_names_no_list_before_it_is_known_where_they_are() {
        let lists = StatusLists::new([7; 16]);
        let grant = GrantId::new(Row::new(70_000).unwrap(), jeton_domain::id::Tag([1; 10]));
        assert!(lists.reference(grant).is_none());
        lists.serve_at("https://jeton.acme.dev/");
        lists.serve_at("https://elsewhere.example");
        let reference = lists.reference(grant).unwrap().status_list;
        assert_eq!(reference.uri, "https://jeton.acme.dev/status/1");
        assert!(reference.idx < LENGTH);
    }
}
