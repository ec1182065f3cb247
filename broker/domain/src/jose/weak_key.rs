//! Public keys whose signatures prove nothing, or whose private half can be computed.

/// Bytes of an Ed25519 public key.
const POINT: usize = 32;
/// The prime 2^255 − 19, little end first.
const PRIME: [u8; POINT] = {
    let mut prime = [0xff; POINT];
    prime[0] = 0xed;
    prime[POINT - 1] = 0x7f;
    prime
};
/// The y coordinates of the points of order 1, 2, 4 and 8, little end first. Why refused: a signature of such a key
/// can be made without a private key. Source: RFC 7748 §6.1, "Taming the many EdDSAs" (SSR 2020), table 1.
const SMALL_ORDER: [[u8; POINT]; 5] = [
    [0; POINT],
    {
        let mut one = [0; POINT];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = PRIME;
        minus_one[0] = 0xec;
        minus_one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Whether an Ed25519 public key is of small order, or not in the one canonical form (RFC 8032 §5.1.3): then it is no
/// key that anyone made.
#[must_use]
pub fn is_weak_ed25519(point: &[u8]) -> bool {
    let Ok(mut y) = <[u8; POINT]>::try_from(point) else { return true };
    // The highest bit is the sign of x.
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    let canonical = y.iter().rev().lt(PRIME.iter().rev());
    !canonical || SMALL_ORDER.contains(&y)
}

/// Primes of which 65537 generates a proper subgroup. Source: the detection tool of CVE-2017-15361. Of other moduli one
/// in 2^27 looks the same.
const ROCA_PRIMES: [u32; 17] =
    [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
/// What the faulty library built its primes from.
const ROCA_GENERATOR: u32 = 65_537;

/// Whether an RSA modulus, big end first, was made by the faulty library of CVE-2017-15361 (ROCA): modulo small primes
/// it is always a power of 65537. Such a key can be factored.
#[must_use]
pub fn is_roca(modulus: &[u8]) -> bool {
    ROCA_PRIMES.into_iter().all(|prime| {
        let modulo = |value: u32| value.checked_rem(prime).unwrap_or_default();
        let rest = modulus.iter().fold(0, |rest: u32, byte| {
            modulo(rest.saturating_mul(256).saturating_add(u32::from(*byte)))
        });
        let generator = modulo(ROCA_GENERATOR);
        let powers = (0..prime).scan(1_u32, |power, _| {
            let value = *power;
            *power = modulo(value.saturating_mul(generator));
            Some(value)
        });
        powers.into_iter().any(|power| power == rest)
    })
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap());
        digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
    }

    /// The list of "Taming the many EdDSAs" (SSR 2020), table 1: all encodings of points of small order, canonical or
    /// not.
    const LISTED: [&str; 14] = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];

    #[test]
    fn points_of_small_order_are_weak_and_some_verify_anything() {
        for point in LISTED {
            assert!(is_weak_ed25519(&hex(point)), "{point}");
        }
        // What makes them dangerous: no private key made this signature.
        let identity = hex(LISTED[0]);
        let signature = [identity.clone(), vec![0; 32]].concat();
        let key = UnparsedPublicKey::new(&ED25519, &identity);
        assert!(key.verify(b"any message", &signature).is_ok());
    }

    #[test]
    fn encodings_beyond_the_prime_and_other_lengths_are_weak() {
        for low in 0xed..=0xff_u8 {
            for high in [0x7f, 0xff] {
                let mut point = [0xff; 32];
                (point[0], point[31]) = (low, high);
                assert!(is_weak_ed25519(&point), "{low:x}");
            }
        }
        assert!(is_weak_ed25519(&[3; 31]) && is_weak_ed25519(&[3; 33]) && is_weak_ed25519(&[]));
        // The largest y that is canonical and of another order.
        let mut point = [0xff; 32];
        (point[0], point[31]) = (0xeb, 0x7f);
        assert!(!is_weak_ed25519(&point));
    }

    #[test]
    fn a_modulus_of_the_faulty_library_is_recognized() {
        // Two primes of the form k·M + (65537^a mod M), M the product of the first 126 primes.
        let modulus = "jvIdWe9wLQD9lwCILJmvC5-iUdr3PvEx3dDVj4FBLtsLhjoRfkU5AbuDRrQIyJmlfLWGkmxgXbaWxSeqmR4b0FYXrZawfAVfzkF3Ehcf-YMhr3GUbVc26l2oN16MurYjMlF0LfUNVuf--kCzjUYUNAJgMTmMY3QrCIAGZOmCeenEAK1I3zuKFYe71jKBj-mTCaWIJpo2u9YVEXxStyfMqnlx4xxl07u7X96jNP_F2nIDaZYDjGfEqf6MWwZK5Fb1ijdrlYaxOQHRyWiaG5RMawRcPvmpZJT30MJCCNZs0wUam0_DesoXi3K7lxgTV4AuDI6nOpTVsAa4MRYUKpmhYQ";
        assert!(is_roca(&URL_SAFE_NO_PAD.decode(modulus).unwrap()));
        // The example key of RFC 7638 §3.1.
        let other = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        assert!(!is_roca(&URL_SAFE_NO_PAD.decode(other).unwrap()));
    }

    proptest! {
        #[test]
        fn keys_that_were_made_are_not_weak(seed: [u8; 32]) {
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
            prop_assert!(!is_weak_ed25519(pair.public_key().as_ref()));
        }

        #[test]
        fn other_moduli_are_not_taken_for_roca(bytes in proptest::collection::vec(any::<u8>(), 256)) {
            prop_assert!(!is_roca(&bytes));
        }
    }
}
