//! The one place that asks the system for randomness.

use std::time::Duration;

use jeton_domain::secret::hex;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::Error;

/// 128 random bits in hex: an idempotency key, or the `jti` of a proof.
pub(crate) fn fresh_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::config("the system gives no randomness"))?;
    Ok(hex(&bytes))
}

/// Between half and all of a time, so that many callers do not come back at once.
pub(crate) fn jittered(time: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    // Why ignored: without randomness the callers come together, which is no reason to fail.
    let _ = SystemRandom::new().fill(&mut byte);
    let [byte] = byte;
    let half = time / 2;
    half.saturating_add(half.saturating_mul(u32::from(byte)) / 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jittered_time_lies_between_half_and_all_of_it() {
        let whole = Duration::from_secs(10);
        for _ in 0..1000 {
            let time = jittered(whole);
            assert!(time >= whole / 2 && time <= whole, "{time:?}");
        }
    }

    #[test]
    fn two_ids_differ_and_fit_the_wire() {
        let (one, other) = (fresh_id().unwrap(), fresh_id().unwrap());
        assert_ne!(one, other);
        assert!(jeton_domain::id::RequestId::parse(&one).is_ok());
    }
}
