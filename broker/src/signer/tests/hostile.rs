//! Texts that are no token of ours, each refused for its own reason.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    id::{Row, SessionId, Tag},
    limits::DELEGATION_DEPTH,
};
use serde_json::{Value, json};

use super::{
    NOW, after,
    tokens::{grant_id, minter, verified},
};
use crate::signer::{SigningAlgorithm, SigningKey, verify::TokenError};

fn b64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// What the broker's own key would say if it were made to sign this.
fn signed(key: &SigningKey, header: &str, claims: &str) -> String {
    let message = format!("{header}.{}", b64(claims));
    let signature = key.private().sign(message.as_bytes()).unwrap();
    format!("{message}.{}", b64(signature))
}

fn claims() -> Value {
    json!({
        "iss": "https://jeton.example",
        "aud": "https://orders.example",
        "sub": "bot",
        "client_id": SessionId::new(Row::new(1).unwrap(), Tag([8; 10])).to_string(),
        "jti": grant_id().to_string(),
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 300,
        "authorization_details": [{
            "type": "jeton",
            "locations": ["orders"],
            "identifier": "eu/invoices",
            "actions": ["read:all"],
        }],
    })
}

fn with(member: &str, changed: Value) -> String {
    let mut claims = claims();
    claims[member] = changed;
    claims.to_string()
}

fn good() -> String {
    with("sub", json!("bot"))
}

#[test]
fn a_header_of_another_shape_is_refused_whatever_it_says_and_whoever_signed() {
    for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
        let (_folder, ring, minter) = minter(algorithm);
        let key = ring.active(after(0));
        assert!(verified(&minter, &signed(&key, key.header(), &good()), after(1)).is_ok());
        let (kid, alg) =
            (key.kid(), if algorithm == SigningAlgorithm::EdDsa { "EdDSA" } else { "ES256" });
        let jwk = serde_json::to_value(key.jwk()).unwrap();
        for header in [
            json!({"typ": "at+jwt", "alg": "none", "kid": kid}),
            json!({"typ": "at+jwt", "alg": "None", "kid": kid}),
            json!({"typ": "at+jwt", "alg": "HS256", "kid": kid}),
            json!({"typ": "at+jwt", "alg": "RS256", "kid": kid}),
            json!({"typ": "at+jwt", "alg": [alg], "kid": kid}),
            json!({"typ": "JWT", "alg": alg, "kid": kid}),
            json!({"typ": "dpop+jwt", "alg": alg, "kid": kid}),
            json!({"typ": "AT+JWT", "alg": alg, "kid": kid}),
            json!({"alg": alg, "kid": kid}),
            json!({"typ": "at+jwt", "alg": alg}),
            json!({"typ": "at+jwt", "alg": alg, "kid": "unknown"}),
            json!({"typ": "at+jwt", "alg": alg, "kid": "../../etc/passwd"}),
            json!({"typ": "at+jwt", "alg": alg, "kid": format!("{kid} ")}),
            json!({"typ": "at+jwt", "alg": alg, "kid": kid, "crit": ["exp"]}),
            json!({"typ": "at+jwt", "alg": alg, "kid": kid, "b64": false}),
            json!({"typ": "at+jwt", "alg": alg, "kid": kid, "jku": "https://evil.example"}),
            json!({"typ": "at+jwt", "alg": alg, "kid": "evil", "jwk": jwk}),
        ] {
            let token = signed(&key, &b64(header.to_string()), &good());
            assert_eq!(verified(&minter, &token, after(1)), Err(TokenError::Header), "{header}");
        }
        let other = super::ring(algorithm).1.active(after(0));
        let forged = signed(&other, key.header(), &good());
        assert_eq!(verified(&minter, &forged, after(1)), Err(TokenError::Signature));
    }
}

#[test]
fn a_text_of_another_shape_is_refused() {
    let (_folder, ring, minter) = minter(SigningAlgorithm::EdDsa);
    let key = ring.active(after(0));
    let token = signed(&key, key.header(), &good());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let payload = message.split_once('.').unwrap().1;
    for (text, expected) in [
        (String::new(), TokenError::Shape),
        ("..".into(), TokenError::Header),
        (message.to_owned(), TokenError::Shape),
        (format!("{message}."), TokenError::Signature),
        (format!("{token}.x.y"), TokenError::Shape),
        (format!("{token}="), TokenError::Shape),
        (format!("{token}\n"), TokenError::Shape),
        (format!(" {token}"), TokenError::Header),
        (format!("{message}==.{signature}"), TokenError::Shape),
        (token.replace(payload, &b64(with("sub", json!("root")))), TokenError::Signature),
        (format!("{message}.{}", b64([0; 64])), TokenError::Signature),
        (format!(r#"{{"payload":"{payload}","signatures":[]}}"#), TokenError::Shape),
        (format!("{token}{}", "A".repeat(8192)), TokenError::TooLong),
    ] {
        assert_eq!(verified(&minter, &text, after(1)), Err(expected), "{text}");
    }
}

#[test]
fn every_character_of_a_token_counts() {
    let (_folder, ring, minter) = minter(SigningAlgorithm::EdDsa);
    let key = ring.active(after(0));
    let token = signed(&key, key.header(), &good());
    for place in 0..token.len() {
        let other = if &token[place..=place] == "A" { "B" } else { "A" };
        let changed = format!("{}{other}{}", &token[..place], &token[place + 1..]);
        assert!(verified(&minter, &changed, after(1)).is_err(), "at {place}");
    }
}

#[test]
fn claims_are_held_to_the_second_and_to_the_letter() {
    let nested = |depth| (0..depth).fold(json!(null), |act, _| json!({"sub": "bot", "act": act}));
    let (_folder, ring, minter) = minter(SigningAlgorithm::EdDsa);
    let key = ring.active(after(0));
    let check = |claims: &str, seconds| {
        verified(&minter, &signed(&key, key.header(), claims), after(seconds)).map(|_| ())
    };
    assert_eq!(check(&good(), 0), Ok(()));
    assert_eq!(check(&good(), 299), Ok(()));
    assert_eq!(check(&with("act", nested(DELEGATION_DEPTH + 1)), 1), Ok(()));
    assert_eq!(check(&good(), 300), Err(TokenError::Expired));
    assert_eq!(check(&good(), -1), Err(TokenError::NotYet));
    for (member, changed, expected) in [
        ("nbf", json!(NOW + 2), TokenError::NotYet),
        ("iat", json!(NOW + 2), TokenError::NotYet),
        ("exp", json!(NOW), TokenError::Expired),
        ("exp", json!(-1), TokenError::Expired),
        ("exp", json!(i64::MIN), TokenError::Expired),
        ("iss", json!("https://jeton.example/"), TokenError::Issuer),
        ("iss", json!("https://JETON.example"), TokenError::Issuer),
        ("iss", json!(""), TokenError::Issuer),
        ("aud", json!("https://orders.example.evil"), TokenError::Audience),
        ("aud", json!(["https://orders.example"]), TokenError::Claims),
        ("aud", json!(null), TokenError::Claims),
        ("exp", json!("1767225900"), TokenError::Claims),
        ("exp", json!(1_767_225_900.0), TokenError::Claims),
        ("exp", json!(null), TokenError::Claims),
        ("exp", json!([NOW + 300]), TokenError::Claims),
        ("exp", json!(u64::MAX), TokenError::Claims),
        ("nbf", json!("0"), TokenError::Claims),
        ("sub", json!("a\nb"), TokenError::Claims),
        ("sub", json!(""), TokenError::Claims),
        ("jti", json!("gr_1"), TokenError::Claims),
        ("client_id", json!(grant_id().to_string()), TokenError::Claims),
        ("act", json!({"sub": ""}), TokenError::Claims),
        ("act", json!({"sub": "bot", "act": {"sub": ""}}), TokenError::Claims),
        ("act", json!({"sub": "bot", "act": {"sub": "bot", "iss": "x"}}), TokenError::Claims),
        ("act", nested(DELEGATION_DEPTH + 2), TokenError::Claims),
        ("cnf", json!({"jkt": "short"}), TokenError::Claims),
        ("cnf", json!({}), TokenError::Claims),
        ("cnf", json!({"jkt": "A".repeat(43), "x5t#S256": "A".repeat(43)}), TokenError::Claims),
        ("authorization_details", json!([]), TokenError::Claims),
        ("authorization_details", json!(null), TokenError::Claims),
        ("admin", json!(true), TokenError::Claims),
    ] {
        assert_eq!(check(&with(member, changed.clone()), 1), Err(expected), "{member} {changed}");
    }
    for (from, to) in [
        (r#""exp":1767225900"#, r#""exp":1e999"#),
        (r#""exp":1767225900"#, r#""exp":1767225900,"exp":1767225900"#),
        (r#""exp":1767225900,"#, ""),
        (r#""aud":"https://orders.example","#, ""),
        (r#""actions":["read:all"]"#, r#""actions":[]"#),
        (r#""actions":["read:all"]"#, r#""actions":["*"]"#),
        (r#""identifier":"eu/invoices""#, r#""identifier":"eu/*""#),
        (r#""type":"jeton""#, r#""type":"other""#),
        (r#""type":"jeton""#, r#""type":"jeton","ref":"a|b""#),
    ] {
        let changed = good().replacen(from, to, 1);
        assert_ne!(changed, good(), "{from}");
        assert_eq!(check(&changed, 1), Err(TokenError::Claims), "{to}");
    }
    for text in ["", "null", "[]", "{}", "{", "7"] {
        assert_eq!(check(text, 1), Err(TokenError::Claims), "{text}");
    }
    assert_eq!(check(&"[".repeat(5000), 1), Err(TokenError::Claims));
}
