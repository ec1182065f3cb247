//! Tokens and key sets of attackers, each with the answer that it gets.

use super::*;

#[tokio::test]
async fn hostile_claims_get_the_answer_of_this_table() {
    let signer = Signer::p256();
    let world = World::new().trusts(ISSUER, &[Algorithm::Es256], &[signer.jwk_named("k")]);
    let oidc = world.oidc();
    let number = "TOKEN_INVALID";
    for (claims, expected) in [
        (with("exp", json!(NOW - 4)), GOOD),
        (with("exp", json!(NOW - 5)), "TOKEN_ENDED"),
        (with("exp", json!((NOW + 60).to_string())), number),
        (with("exp", json!(1_700_000_060.5)), GOOD),
        (with("exp", json!(1e300)), number),
        (with("exp", json!(-1)), number),
        (with("exp", json!(null)), number),
        (with("exp", json!([NOW + 60])), number),
        (with("exp", json!(true)), number),
        (without("exp"), number),
        (with("nbf", json!(NOW + 5)), GOOD),
        (with("nbf", json!(NOW + 6)), "TOKEN_NOT_YET_VALID"),
        (with("nbf", json!((NOW - 1).to_string())), number),
        (with("nbf", json!(null)), number),
        (without("nbf"), GOOD),
        (with("iat", json!(NOW + 6)), "TOKEN_NOT_YET_VALID"),
        (with("iat", json!("yesterday")), number),
        (without("iat"), GOOD),
        (with("aud", json!([AUDIENCE])), GOOD),
        (with("aud", json!(["other", AUDIENCE])), GOOD),
        (with("aud", json!(["other"])), "TOKEN_AUDIENCE_WRONG"),
        (with("aud", json!([])), "TOKEN_AUDIENCE_WRONG"),
        (with("aud", json!("https://jeton.acme.dev/")), "TOKEN_AUDIENCE_WRONG"),
        (with("aud", json!("https://jeton.acme.de")), "TOKEN_AUDIENCE_WRONG"),
        (with("aud", json!("HTTPS://jeton.acme.dev")), "TOKEN_AUDIENCE_WRONG"),
        (with("aud", json!({AUDIENCE: 1})), number),
        (with("aud", json!([AUDIENCE, 1])), number),
        (with("aud", json!(null)), number),
        (without("aud"), number),
        (with("iss", json!("https://ci.acme.dev/")), "TOKEN_ISSUER_UNKNOWN"),
        (with("iss", json!("https://CI.acme.dev")), "TOKEN_ISSUER_UNKNOWN"),
        (with("iss", json!("https://ci.acme.dev:443")), "TOKEN_ISSUER_UNKNOWN"),
        (with("iss", json!("https://x@ci.acme.dev")), "TOKEN_ISSUER_UNKNOWN"),
        (with("iss", json!("https://ci.acme.dev%2f")), "TOKEN_ISSUER_UNKNOWN"),
        (with("iss", json!("https://xn--ci-acme.dev")), "TOKEN_ISSUER_UNKNOWN"),
        (with("iss", json!([ISSUER])), number),
        (without("iss"), number),
        (without("sub"), number),
        (with("sub", json!("")), number),
        (with("sub", json!(["repo:acme/api"])), number),
        (with("sub", json!("repo:acme/api\n")), "TOKEN_MAPS_TO_NOBODY"),
        (with("sub", json!("repo:acme/аpi")), "TOKEN_MAPS_TO_NOBODY"),
        (with("sub", json!("repo:acme/..")), "TOKEN_MAPS_TO_NOBODY"),
        (with("sub", json!("repo:evil/api")), "TOKEN_MAPS_TO_NOBODY"),
        (with("cnf", json!({"jwk": {}})), number),
        (with("cnf", json!({"jkt": "short"})), number),
        (with("cnf", json!(null)), number),
    ] {
        assert_eq!(answer(&oidc, &signer.token("k", &claims), 0).await, expected, "{claims}");
    }
    let huge = claims().to_string().replace(&format!("{}", NOW + 60), "1e999");
    let token = signer.signs(r#"{"alg":"ES256","kid":"k"}"#, &huge);
    assert_eq!(answer(&oidc, &token, 0).await, "TOKEN_INVALID", "1e999");
    let twins = claims().to_string().replacen(
        '{',
        &format!(r#"{{"sub":"repo:acme/web","iss":"{ISSUER}","#),
        1,
    );
    let token = signer.signs(r#"{"alg":"ES256","kid":"k"}"#, &twins);
    assert_eq!(answer(&oidc, &token, 0).await, "TOKEN_INVALID", "duplicate keys");
}

#[tokio::test]
async fn hostile_headers_get_the_answer_of_this_table() {
    let (signer, thief) = (Signer::p256(), Signer::p256());
    let world = World::new()
        .trusts(
            ISSUER,
            &[Algorithm::Es256],
            &[signer.jwk_named("k"), Signer::ed25519().jwk_named("ed")],
        )
        .trusts("https://other.dev", &[Algorithm::Es256], &[thief.jwk_named("k")]);
    let oidc = world.oidc();
    let header = |change: Value| {
        let mut header = json!({"alg": "ES256", "kid": "k", "typ": "JWT"});
        header.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        header.to_string()
    };
    for (change, expected) in [
        (json!({}), GOOD),
        (json!({"typ": "at+jwt"}), GOOD),
        (json!({"typ": "dpop+jwt"}), "TOKEN_INVALID"),
        (json!({"typ": "logout+jwt"}), "TOKEN_INVALID"),
        (json!({"typ": "jwt"}), "TOKEN_INVALID"),
        (json!({"typ": 1}), "TOKEN_INVALID"),
        (json!({"alg": "none"}), "TOKEN_ALGORITHM_REFUSED"),
        (json!({"alg": "nOnE"}), "TOKEN_ALGORITHM_REFUSED"),
        (json!({"alg": ""}), "TOKEN_ALGORITHM_REFUSED"),
        (json!({"alg": "HS256"}), "TOKEN_ALGORITHM_REFUSED"),
        (json!({"alg": "EdDSA"}), "TOKEN_ALGORITHM_REFUSED"),
        (json!({"alg": null}), "TOKEN_INVALID"),
        (json!({"crit": ["exp"]}), "TOKEN_INVALID"),
        (json!({"crit": []}), "TOKEN_INVALID"),
        (json!({"b64": false}), "TOKEN_INVALID"),
        (json!({"kid": "ed"}), "TOKEN_KEY_UNKNOWN"),
        (json!({"kid": "../../etc/passwd"}), "TOKEN_KEY_UNKNOWN"),
        (json!({"kid": "k' OR 1=1 --"}), "TOKEN_KEY_UNKNOWN"),
        (json!({"kid": "http://evil.example/k"}), "TOKEN_KEY_UNKNOWN"),
        (json!({"kid": "x".repeat(5000)}), "TOKEN_INVALID"),
        (json!({"kid": "x".repeat(10_000)}), "TOKEN_INVALID"),
        (json!({"kid": 7}), "TOKEN_INVALID"),
        (json!({"jku": "http://169.254.169.254/", "x5u": "https://evil.example/"}), GOOD),
    ] {
        let token = signer.signs(&header(change.clone()), &claims().to_string());
        assert_eq!(answer(&oidc, &token, 0).await, expected, "{change}");
    }
    // The key in the header is the thief's, and so is the signature.
    let token = thief.signs(&header(json!({"jwk": thief.jwk()})), &claims().to_string());
    assert_eq!(answer(&oidc, &token, 0).await, "TOKEN_INVALID", "jwk");
    // The other issuer has a key of the same name.
    let token = thief.signs(&header(json!({})), &claims().to_string());
    assert_eq!(answer(&oidc, &token, 0).await, "TOKEN_INVALID", "kid of another issuer");
    // The public key as a shared secret.
    let secret = signer.jwk().to_string();
    let message = signer.signs(&header(json!({"alg": "HS256"})), &claims().to_string());
    let message = message.rsplit_once('.').unwrap().0;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
    assert_eq!(answer(&oidc, &format!("{message}.{tag}"), 0).await, "TOKEN_ALGORITHM_REFUSED");
    // A signature of zeros, which broken libraries took for good.
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    let token = signer.token("k", &claims());
    let forged = format!("{}.{zeros}", token.rsplit_once('.').unwrap().0);
    assert_eq!(answer(&oidc, &forged, 0).await, "TOKEN_INVALID", "zeros");
}

#[tokio::test]
async fn weak_and_impossible_keys_of_an_issuer_check_nothing() {
    let signer = Signer::rs256();
    let mut weak = signer.jwk_named("k");
    weak["n"] = json!(URL_SAFE_NO_PAD.encode([0xff; 128]));
    let mut cubic = signer.jwk_named("e");
    cubic["e"] = json!("Aw");
    let world = World::new().trusts(ISSUER, &[Algorithm::Rs256], &[weak, cubic]);
    let oidc = world.oidc();
    let error = oidc.jwt(&signer.token("k", &claims()), after(0)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the issuer's key `k` is refused: the RSA key has 1024 bits; 2048 to 8192 are allowed"
    );
    assert_eq!(answer(&oidc, &signer.token("e", &claims()), 0).await, "TOKEN_KEY_UNKNOWN");
    // A point that is not on the curve.
    let signer = Signer::p256();
    let mut off = signer.jwk_named("k");
    off["y"] = off["x"].clone();
    let world = World::new().trusts(ISSUER, &[Algorithm::Es256], &[off]);
    let oidc = world.oidc();
    assert_eq!(answer(&oidc, &signer.token("k", &claims()), 0).await, "TOKEN_INVALID");
}
