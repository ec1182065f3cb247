//! The one module that names the crypto provider: ring.
//!
//! rustls and jsonwebtoken look theirs up in the process; [`install`] puts ring there for both, so
//! that one library signs, checks, encrypts and draws randomness. Who builds a TLS client or server
//! or checks a JWT calls it first; more than once does no harm.

pub mod jws;
pub mod jwt_provider;
pub mod private_key;
pub mod webhook_key;

use std::sync::{Arc, Once};

use ring::rand::{SecureRandom, SystemRandom};

/// Makes ring the provider of rustls and jsonwebtoken in this process.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Why ignored: `Err` says that there is one already, and only this line ever puts one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let _ = jwt_provider::RING.install_default();
    });
}

/// The provider for TLS configurations that name theirs.
#[must_use]
pub fn tls_provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Draws random bytes that nobody can guess.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Why: the system gives no randomness, and a broker with guessable ids is worse than none.
        std::process::abort();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_does_no_harm_and_both_libraries_find_the_provider() {
        install();
        install();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
        assert!(jwt_provider::RING.install_default().is_err(), "it was there before");
    }

    #[test]
    fn two_draws_differ() {
        assert_ne!(random::<16>(), random::<16>());
    }
}
