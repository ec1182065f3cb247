//! The memory of used proofs.
//!
//! Two sets that take turns: one fills while the other is only looked at, and what is in either was
//! seen. Each turn lasts as long as a proof can be fresh, so nothing is forgotten that could be used
//! again. At the bound it refuses instead of forgetting: a cache that evicts would let a flood buy a
//! replay.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::{
    limits::{DPOP_AGE_SECONDS, LEEWAY_SECONDS},
    ttl::Timestamp,
};

/// Remembers digests for at least as long as a proof is fresh.
pub struct Replays {
    turns: Mutex<Turns>,
    most: usize,
}

/// What is known of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is used for the first time, and that is remembered now.
    New,
    /// It was used.
    Before,
    /// Nothing more can be remembered in this turn.
    Full,
}

#[derive(Default)]
struct Turns {
    filling: HashSet<[u8; 32]>,
    fading: HashSet<[u8; 32]>,
    began: Option<Timestamp>,
}

impl Replays {
    /// Remembers up to `most` proofs in each turn.
    pub fn new(most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { turns: Mutex::new(Turns::default()), most }
    }

    /// Uses up a proof.
    pub fn remember(&self, digest: [u8; 32], now: Timestamp) -> Seen {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.turn(now);
        if turns.filling.contains(&digest) || turns.fading.contains(&digest) {
            Seen::Before
        } else if turns.filling.len() >= self.most {
            Seen::Full
        } else {
            turns.filling.insert(digest);
            Seen::New
        }
    }
}

impl Turns {
    fn turn(&mut self, now: Timestamp) {
        let began = *self.began.get_or_insert(now);
        let passed = now.millis().saturating_sub(began.millis());
        if passed < life_millis() {
            return;
        }
        self.fading = std::mem::take(&mut self.filling);
        if passed >= life_millis().saturating_mul(2) {
            self.fading.clear();
        }
        self.began = Some(now);
    }
}

/// From the earliest moment at which a proof can be shown to the last. Why one second more: the age
/// is counted in whole seconds.
fn life_millis() -> i64 {
    let leeway = i64::try_from(LEEWAY_SECONDS).unwrap_or(0);
    DPOP_AGE_SECONDS.saturating_add(leeway).saturating_add(1).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn at_the_bound_it_refuses_and_forgets_nothing() {
        let replays = Replays::new(2);
        assert_eq!(replays.remember([1; 32], at(0)), Seen::New);
        assert_eq!(replays.remember([2; 32], at(0)), Seen::New);
        assert_eq!(replays.remember([3; 32], at(0)), Seen::Full);
        assert_eq!(replays.remember([1; 32], at(0)), Seen::Before);
        assert_eq!(replays.remember([3; 32], at(66_000)), Seen::New);
        assert_eq!(replays.remember([1; 32], at(66_000)), Seen::Before);
        assert_eq!(replays.remember([1; 32], at(132_000)), Seen::New);
    }

    proptest! {
        #[test]
        fn nothing_is_forgotten_while_its_proof_is_fresh(steps in prop::collection::vec((0_u8..6, 0_i64..40_000), 1..60)) {
            let (replays, mut now, mut used) = (Replays::new(1000), 0, std::collections::HashMap::new());
            for (name, step) in steps {
                now += step;
                let seen = replays.remember([name; 32], at(now));
                if used.get(&name).is_some_and(|when| now - when < life_millis()) {
                    prop_assert_eq!(seen, Seen::Before);
                }
                if seen == Seen::New {
                    used.insert(name, now);
                }
            }
        }
    }
}
