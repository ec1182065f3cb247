//! Proofs of keys, good and bad, as the broker's door checks them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    jose::{
        Malformed,
        dpop::{Call, Dpop, ProofError},
        jwk::{KeyError, PublicKey},
    },
    secret::sha256,
};

use crate::identity::testing::{NOW, Signer, after};
use proptest::prelude::*;
use serde_json::{Value, json};

const PATH: &str = "/jeton.v1.Sessions/Open";
const URL: &str = "https://jeton.acme.dev/jeton.v1.Sessions/Open";
const HANDLE: &str = "jeton_s_abc";

fn dpop() -> Dpop {
    Dpop::new(&["https://jeton.acme.dev/".to_owned(), "http://[::1]:8080".to_owned()], 100)
}

fn call() -> Call<'static> {
    Call { method: "POST", path: PATH, bound: None }
}

fn claims(jti: &str) -> Value {
    json!({"htm": "POST", "htu": URL, "iat": NOW, "jti": jti})
}

fn header(signer: &Signer) -> Value {
    json!({"typ": "dpop+jwt", "alg": signer.algorithm(), "jwk": signer.jwk()})
}

fn proof(signer: &Signer, claims: &Value) -> String {
    signer.signs(&header(signer).to_string(), &claims.to_string())
}

fn ath(handle: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(handle.as_bytes()))
}

#[test]
fn a_fresh_proof_of_either_kind_names_its_key() {
    for signer in [Signer::ed25519(), Signer::p256()] {
        let expected = PublicKey::parse(signer.jwk().as_object().unwrap()).unwrap().thumbprint();
        assert_eq!(dpop().check(&proof(&signer, &claims("1")), call(), after(0)), Ok(expected));
    }
}

#[test]
fn a_proof_is_taken_once_for_as_long_as_it_is_fresh() {
    let (dpop, one, two) = (dpop(), Signer::ed25519(), Signer::ed25519());
    let first = proof(&one, &claims("1"));
    assert!(dpop.check(&first, call(), after(-5)).is_ok());
    assert_eq!(dpop.check(&first, call(), after(-5)), Err(ProofError::Replay));
    assert_eq!(dpop.check(&first, call(), after(60)), Err(ProofError::Replay));
    assert_eq!(dpop.check(&first, call(), after(61)), Err(ProofError::Age));
    // Another signature over the same id is the same proof; another key's is not.
    let mut same_id = claims("1");
    same_id["iat"] = json!(NOW + 1);
    assert_eq!(dpop.check(&proof(&one, &same_id), call(), after(1)), Err(ProofError::Replay));
    assert!(dpop.check(&proof(&two, &claims("1")), call(), after(1)).is_ok());
    assert!(dpop.check(&proof(&one, &claims("2")), call(), after(1)).is_ok());
}

#[test]
fn a_proof_that_an_earlier_process_could_have_taken_is_refused() {
    let signer = Signer::ed25519();
    let (before, began) = (dpop(), after(0));
    let first = proof(&signer, &claims("1"));
    assert!(before.check(&first, call(), after(0)).is_ok());
    let next = dpop().made_after(began);
    assert_eq!(next.check(&first, call(), after(0)), Err(ProofError::Restarted));
    let dated = |iat: f64| {
        let mut claims = claims("2");
        claims["iat"] = json!(iat);
        proof(&signer, &claims)
    };
    let start = f64::from(u32::try_from(NOW).unwrap());
    assert!(next.check(&dated(start + 0.001), call(), after(0)).is_ok(), "made since");
    assert!(next.check(&dated(start + 1.0), call(), after(1)).is_err(), "the same name");
}

#[test]
fn a_refused_proof_is_not_used_up() {
    let (dpop, signer) = (dpop(), Signer::ed25519());
    let proof = proof(&signer, &claims("1"));
    let other = Call { path: "/jeton.v1.Grants/Request", ..call() };
    assert!(dpop.check(&proof, other, after(0)).is_err());
    assert!(dpop.check(&proof, call(), after(0)).is_ok());
}

#[test]
fn a_proof_is_for_one_method_url_and_minute() {
    let signer = Signer::ed25519();
    let url = Err(ProofError::Url(format!("`{URL}` or `http://[::1]:8080{PATH}`")));
    for (claim, value, answer) in [
        ("htm", json!("GET"), Err(ProofError::Method("POST".to_owned()))),
        ("htm", json!("post"), Err(ProofError::Method("POST".to_owned()))),
        ("htm", json!(1), Err(ProofError::Claim("htm", "a text"))),
        ("htu", json!(format!("{URL}/")), url.clone()),
        ("htu", json!(URL.to_uppercase()), url.clone()),
        ("htu", json!("https://jeton.acme.dev.evil.example/jeton.v1.Sessions/Open"), url.clone()),
        ("htu", json!(PATH), url.clone()),
        ("htu", json!(""), url.clone()),
        ("htu", json!(format!("{URL}?x=1#y")), Ok(())),
        ("htu", json!(format!("http://[::1]:8080{PATH}")), Ok(())),
        ("iat", json!(NOW - 60), Ok(())),
        ("iat", json!(NOW - 61), Err(ProofError::Age)),
        ("iat", json!(NOW + 5), Ok(())),
        ("iat", json!(NOW + 6), Err(ProofError::Age)),
        ("iat", json!(NOW.to_string()), Err(ProofError::Claim("iat", "a number of seconds"))),
        ("iat", json!(-1), Err(ProofError::Claim("iat", "a number of seconds"))),
        ("jti", json!(""), Err(ProofError::Claim("jti", "a text of 1 to 256 characters"))),
        (
            "jti",
            json!("x".repeat(257)),
            Err(ProofError::Claim("jti", "a text of 1 to 256 characters")),
        ),
        ("jti", json!("x".repeat(256)), Ok(())),
        ("jti", json!(7), Err(ProofError::Claim("jti", "a text of 1 to 256 characters"))),
        ("ath", json!(ath(HANDLE)), Err(ProofError::Bound)),
    ] {
        let mut claims = claims("1");
        claims[claim] = value.clone();
        let given = dpop().check(&proof(&signer, &claims), call(), after(0)).map(|_| ());
        assert_eq!(given, answer, "{claim} = {value}");
    }
}

#[test]
fn a_proof_beside_a_handle_is_for_just_that_handle() {
    let signer = Signer::ed25519();
    let call = Call { bound: Some(HANDLE), ..call() };
    for (given, answer) in [
        (json!(ath(HANDLE)), Ok(())),
        (json!(ath("jeton_s_abd")), Err(ProofError::Bound)),
        (json!(HANDLE), Err(ProofError::Bound)),
        (json!(null), Err(ProofError::Bound)),
    ] {
        let mut claims = claims("1");
        claims["ath"] = given.clone();
        let outcome = dpop().check(&proof(&signer, &claims), call, after(0)).map(|_| ());
        assert_eq!(outcome, answer, "{given}");
    }
    let without = dpop().check(&proof(&signer, &claims("1")), call, after(0));
    assert_eq!(without, Err(ProofError::Bound));
}

#[test]
fn the_header_must_carry_the_public_key_that_signed() {
    let (signer, other) = (Signer::ed25519(), Signer::ed25519());
    for (member, value, fault) in [
        ("typ", json!("JWT"), ProofError::Type),
        ("typ", json!(null), ProofError::Type),
        ("alg", json!("none"), ProofError::Algorithm),
        ("alg", json!("HS256"), ProofError::Algorithm),
        ("alg", json!("RS256"), ProofError::Algorithm),
        ("alg", json!("ES256"), ProofError::NoKey),
        ("jwk", json!(null), ProofError::NoKey),
        ("jwk", other.jwk(), ProofError::Signature),
        ("jwk", json!({"kty": "oct", "k": "AAAA"}), ProofError::Key(KeyError::Private("k"))),
        ("crit", json!(["b64"]), ProofError::Malformed(Malformed::Extension("crit"))),
    ] {
        let mut header = header(&signer);
        header[member] = value.clone();
        let proof = signer.signs(&header.to_string(), &claims("1").to_string());
        assert_eq!(dpop().check(&proof, call(), after(0)), Err(fault), "{member} = {value}");
    }
    let mut private = header(&signer);
    private["jwk"]["d"] = json!("AAAA");
    let proof = signer.signs(&private.to_string(), &claims("1").to_string());
    let refused = Err(ProofError::Key(KeyError::Private("d")));
    assert_eq!(dpop().check(&proof, call(), after(0)), refused);
}

#[test]
fn a_changed_proof_is_refused() {
    let signer = Signer::p256();
    let good = proof(&signer, &claims("1"));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let zeros = format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]));
    assert_eq!(dpop().check(&zeros, call(), after(0)), Err(ProofError::Signature));
    let other = proof(&signer, &claims("2"));
    let moved = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    assert_eq!(dpop().check(&moved, call(), after(0)), Err(ProofError::Signature));
}

proptest! {
    #[test]
    fn no_text_crashes_the_check(text in "\\PC{0,100}", header in "\\PC{0,60}", claims in "\\PC{0,60}") {
        let dpop = dpop();
        prop_assert!(dpop.check(&text, call(), after(0)).is_err());
        let token = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        prop_assert!(dpop.check(&token, call(), after(0)).is_err());
    }
}

#[test]
fn without_external_urls_no_proof_is_for_this_broker() {
    let signer = Signer::ed25519();
    let refused = Dpop::new(&[], 100).check(&proof(&signer, &claims("1")), call(), after(0));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the DPoP proof is made for another URL; `htu` must be an external URL, and the \
         configuration names none"
    );
}
