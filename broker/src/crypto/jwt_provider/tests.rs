use jsonwebtoken::{Header, Validation, decode, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};

use super::*;

/// A key pair as jsonwebtoken takes it.
struct Pair {
    algorithm: Algorithm,
    signs: EncodingKey,
    checks: DecodingKey,
}

fn pairs() -> [Pair; 2] {
    crate::crypto::install();
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    [
        Pair {
            algorithm: Algorithm::EdDSA,
            signs: EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap(),
            checks: DecodingKey::from_ed_der(ed.public_key_raw()),
        },
        Pair {
            algorithm: Algorithm::ES256,
            signs: EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap(),
            checks: DecodingKey::from_ec_der(ec.public_key_raw()),
        },
    ]
}

fn check(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Value> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    decode(token, key, &validation).map(|decoded| decoded.claims)
}

#[test]
fn what_one_key_signed_that_key_checks_and_nothing_else_does() {
    let claims = json!({"sub": "bot"});
    let [ed, ec] = pairs();
    for pair in [&ed, &ec] {
        let token = encode(&Header::new(pair.algorithm), &claims, &pair.signs).unwrap();
        assert_eq!(check(&token, &pair.checks, pair.algorithm).unwrap(), claims);
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let tampered = format!("{}e30.{signature}", &rest[..=rest.find('.').unwrap()]);
        assert!(check(&tampered, &pair.checks, pair.algorithm).is_err());
    }
    let token = encode(&Header::new(ed.algorithm), &claims, &ed.signs).unwrap();
    assert!(check(&token, &pairs()[0].checks, ed.algorithm).is_err(), "another key");
    assert!(check(&token, &ec.checks, ed.algorithm).is_err(), "a key of another kind");
    assert!(check(&token, &ed.checks, ec.algorithm).is_err(), "another algorithm allowed");
}

#[test]
fn shared_secrets_and_algorithms_that_nobody_needs_are_not_known() {
    let [ed, ec] = pairs();
    let secret = EncodingKey::from_secret(b"s3cret");
    let known = DecodingKey::from_secret(b"s3cret");
    for algorithm in [Algorithm::HS256, Algorithm::HS512] {
        assert!(encode(&Header::new(algorithm), &json!({}), &secret).is_err());
        assert!(verifier(&algorithm, &known).is_err());
    }
    for algorithm in [Algorithm::ES384, Algorithm::RS512, Algorithm::PS384] {
        assert!(
            signer(&algorithm, &ec.signs).is_err() && verifier(&algorithm, &ec.checks).is_err()
        );
    }
    assert!(signer(&Algorithm::ES256, &ed.signs).is_err());
    assert!(verifier(&Algorithm::RS256, &ed.checks).is_err());
}

#[test]
fn a_private_key_is_parsed_once() {
    let [ed, _] = pairs();
    signer(&Algorithm::EdDSA, &ed.signs).unwrap();
    let named = [b"Ed:", ed.signs.as_bytes()].concat();
    let first = PARSED.get(&sha256(&named)).unwrap();
    signer(&Algorithm::EdDSA, &ed.signs).unwrap();
    assert!(Arc::ptr_eq(&first, &PARSED.get(&sha256(&named)).unwrap()));
    let broken = EncodingKey::from_ed_der(b"no key");
    assert!(signer(&Algorithm::EdDSA, &broken).is_err());
}

#[test]
fn digests_are_those_of_the_standard() {
    let empty = compute_digest(b"", ThumbprintHash::SHA256).unwrap();
    assert_eq!(jeton_domain::secret::hex(&empty[..4]), "e3b0c442");
    assert_eq!(compute_digest(b"", ThumbprintHash::SHA384).unwrap().len(), 48);
    assert_eq!(compute_digest(b"", ThumbprintHash::SHA512).unwrap().len(), 64);
}

/// Signed by OpenSSL with a 2048-bit key that is gone.
const RSA_MODULUS: &str = "jjsUV52K4Seow2BfFIB9_hPlvFFxtEJnMw1ySJb2CYsX0ksbfu6d63-wwZA75YbSVzJDzJ83Ck-KrVMvxiDhiP6W3fvvCoIeu-4vUF3s9FvBxFE2hkVkkLIYtm4zorlCeZOtBLignvZ31ALyxp6SYYBfHNRuMAFQCPMCcWDDWIBlN4AsuJQZbdQ3xLkEpk_vhs-cDhotOazc6JEdPSXf3poADL4JCe7hxF5osRRCQtVttMBi6Fsm5IL5fTavmZ9Nmi_u-1HUPTRLXH6ixGkI47kvvrkzH0E2V3xhdkh5GrkuaWoQDxMp2jGzTkrq-HJVeGsA4sJ1B4XPUANfMn-DBQ";
const RS256_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib3QifQ.AIL_H08pCXubBM0BBfyE1li1LawbaiN0aXnD64EMo6YCwacWaqtzVheOrach-VwJ_uTGLNg-WfL8y_mS-HRMYhwLOgqnh7p9u37Z9els4Rfuovu68a3guAqmtd8SH3hyp77UarPKoSmdfzjZpmDFhpFo8RehLswQy5feQBYwfwfh9t1LvgJP53YFyi4584qoIYxdXwdnFjw0CMXLMXSHMHLwSrk2rHRTm6FfwRCxdwcZmQUT5N324JXtfk4Wfy92mroyXpLhRU0HYZSMGSZV8Xkx169S3Yp99d7AwHyO297vJ8YFs5YiJssnugoU7cdeuNJHxl5Ym2qrFmplUYe4kQ";
const PS256_TOKEN: &str = "eyJhbGciOiJQUzI1NiJ9.eyJzdWIiOiJib3QifQ.Y5AnQPjgDjV9iLQZA0tvnBoqR0l3MT-Qf8yN9x5OqZ7MTZ8HOrwyafoj97jCOtadCmzS49SRJDn75B1LZ2vwVIJ2z-qbBKc5RhpbnyispS13tjFvzRgEKjarONcTZnYetoE84IcqeJ-IhQbPCAK1r3x8hgbL_JgDX9WVk94k5wIKZcJeO5OhK-mh2RMf0EyZYjNj3gwHoK2mSsn_CuABaiJS766D9NP9Gcbd2ARzTZj_V81TjcMnmBl-K1sg8XZQEAKZU3IDdZvsjMNcIQAb0oHmylQ8xU-ktzrpBi0a0W0t98PtWdnZWdEgqP88Txx1Zwl9_2AeSt_LQiIaRlRlJw";

#[test]
fn rsa_signatures_of_others_are_checked_as_the_algorithm_says() {
    crate::crypto::install();
    let key = DecodingKey::from_rsa_components(RSA_MODULUS, "AQAB").unwrap();
    for (token, algorithm, other) in [
        (RS256_TOKEN, Algorithm::RS256, Algorithm::PS256),
        (PS256_TOKEN, Algorithm::PS256, Algorithm::RS256),
    ] {
        assert_eq!(check(token, &key, algorithm).unwrap(), json!({"sub": "bot"}));
        assert!(check(token, &key, other).is_err());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let swapped = verifier(&other, &key).unwrap();
        let signature =
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature)
                .unwrap();
        assert!(swapped.verify(message.as_bytes(), &signature).is_err());
    }
    for exponent in ["AQ", "AA", ""] {
        let weak = DecodingKey::from_rsa_components(RSA_MODULUS, exponent).unwrap();
        assert!(check(RS256_TOKEN, &weak, Algorithm::RS256).is_err());
    }
}
