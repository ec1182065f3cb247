use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::principal::Thumbprint;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::identity::{
    names::NamePattern,
    testing::{NOW, Signer, after},
};

const ISSUER: &str = "https://ci.acme.dev";
const AUDIENCE: &str = "https://jeton.acme.dev";

/// Issuers whose keys stand in files.
struct World {
    folder: TempDir,
    configs: Vec<IssuerConfig>,
}

fn rule(pattern: &str) -> ClaimRule {
    let value = WantedValue::Matches(NamePattern::parse(pattern).unwrap());
    ClaimRule {
        shape: Shape::One,
        value,
    }
}

impl World {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            configs: Vec::new(),
        }
    }

    fn trusts(mut self, issuer: &str, algorithms: &[Algorithm], keys: &[Value]) -> Self {
        let path = self
            .folder
            .path()
            .join(format!("{}.json", self.configs.len()));
        std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
        self.configs.push(IssuerConfig {
            issuer: issuer.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithms: algorithms.to_vec(),
            keys: KeyPlace::File(path),
            max_age: None,
            mappings: vec![Mapping {
                claims: [("sub".to_owned(), rule("repo:acme/*"))].into(),
                kind: PrincipalKind::Workload,
                principal: Template::parse("workload:{sub}").unwrap(),
            }],
        });
        self
    }

    fn max_age(mut self, seconds: u32) -> Self {
        self.configs[0].max_age = Ttl::from_seconds(seconds);
        self
    }

    fn oidc(&self) -> Oidc {
        Oidc::new(self.configs.clone(), &Fetcher::new().unwrap()).unwrap()
    }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "repo:acme/api", "exp": NOW + 60, "iat": NOW, "nbf": NOW})
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[claim] = value;
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

async fn answer(oidc: &Oidc, token: &str, at: i64) -> String {
    match oidc.jwt(token, after(at)).await {
        Ok(verified) => verified.principal.to_string(),
        Err(error) => error.reason().to_owned(),
    }
}

const GOOD: &str = "workload:repo:acme/api";

#[tokio::test]
async fn tokens_of_each_allowed_algorithm_name_their_principal() {
    let world = |signer: &Signer, algorithm| {
        World::new()
            .trusts(ISSUER, &[algorithm], &[signer.jwk_named("k")])
            .oidc()
    };
    for signer in [
        Signer::ed25519(),
        Signer::p256(),
        Signer::rs256(),
        Signer::ps256(),
    ] {
        let algorithm = Algorithm::parse(signer.algorithm()).unwrap();
        let oidc = world(&signer, algorithm);
        assert_eq!(
            answer(&oidc, &signer.token("k", &claims()), 0).await,
            GOOD,
            "{algorithm:?}"
        );
        let unnamed = json!({"alg": signer.algorithm(), "jku": "http://169.254.169.254/", "x5u": "file:///x"});
        let token = signer.signs(&unnamed.to_string(), &claims().to_string());
        assert_eq!(answer(&oidc, &token, 0).await, GOOD, "without kid and typ");
    }
    // The same RSA key, but the issuer does not sign that way.
    let oidc = world(&Signer::rs256(), Algorithm::Rs256);
    let token = Signer::ps256().token("k", &claims());
    assert_eq!(answer(&oidc, &token, 0).await, "TOKEN_ALGORITHM_REFUSED");
}

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
        (with("exp", json!(NOW as f64 + 60.5)), GOOD),
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
        (
            with("aud", json!("https://jeton.acme.dev/")),
            "TOKEN_AUDIENCE_WRONG",
        ),
        (
            with("aud", json!("https://jeton.acme.de")),
            "TOKEN_AUDIENCE_WRONG",
        ),
        (
            with("aud", json!("HTTPS://jeton.acme.dev")),
            "TOKEN_AUDIENCE_WRONG",
        ),
        (with("aud", json!({AUDIENCE: 1})), number),
        (with("aud", json!([AUDIENCE, 1])), number),
        (with("aud", json!(null)), number),
        (without("aud"), number),
        (
            with("iss", json!("https://ci.acme.dev/")),
            "TOKEN_ISSUER_UNKNOWN",
        ),
        (
            with("iss", json!("https://CI.acme.dev")),
            "TOKEN_ISSUER_UNKNOWN",
        ),
        (
            with("iss", json!("https://ci.acme.dev:443")),
            "TOKEN_ISSUER_UNKNOWN",
        ),
        (
            with("iss", json!("https://x@ci.acme.dev")),
            "TOKEN_ISSUER_UNKNOWN",
        ),
        (
            with("iss", json!("https://ci.acme.dev%2f")),
            "TOKEN_ISSUER_UNKNOWN",
        ),
        (
            with("iss", json!("https://xn--ci-acme.dev")),
            "TOKEN_ISSUER_UNKNOWN",
        ),
        (with("iss", json!([ISSUER])), number),
        (without("iss"), number),
        (without("sub"), number),
        (with("sub", json!("")), number),
        (with("sub", json!(["repo:acme/api"])), number),
        (
            with("sub", json!("repo:acme/api\n")),
            "TOKEN_MAPS_TO_NOBODY",
        ),
        (with("sub", json!("repo:acme/аpi")), "TOKEN_MAPS_TO_NOBODY"),
        (with("sub", json!("repo:acme/..")), "TOKEN_MAPS_TO_NOBODY"),
        (with("sub", json!("repo:evil/api")), "TOKEN_MAPS_TO_NOBODY"),
        (with("cnf", json!({"jwk": {}})), number),
        (with("cnf", json!({"jkt": "short"})), number),
        (with("cnf", json!(null)), number),
    ] {
        assert_eq!(
            answer(&oidc, &signer.token("k", &claims), 0).await,
            expected,
            "{claims}"
        );
    }
    let huge = claims()
        .to_string()
        .replace(&format!("{}", NOW + 60), "1e999");
    let token = signer.signs(r#"{"alg":"ES256","kid":"k"}"#, &huge);
    assert_eq!(answer(&oidc, &token, 0).await, "TOKEN_INVALID", "1e999");
    let twins = claims().to_string().replacen(
        '{',
        &format!(r#"{{"sub":"repo:acme/web","iss":"{ISSUER}","#),
        1,
    );
    let token = signer.signs(r#"{"alg":"ES256","kid":"k"}"#, &twins);
    assert_eq!(
        answer(&oidc, &token, 0).await,
        "TOKEN_INVALID",
        "duplicate keys"
    );
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
        .trusts(
            "https://other.dev",
            &[Algorithm::Es256],
            &[thief.jwk_named("k")],
        );
    let oidc = world.oidc();
    let header = |change: Value| {
        let mut header = json!({"alg": "ES256", "kid": "k", "typ": "JWT"});
        header
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
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
        (
            json!({"jku": "http://169.254.169.254/", "x5u": "https://evil.example/"}),
            GOOD,
        ),
    ] {
        let token = signer.signs(&header(change.clone()), &claims().to_string());
        assert_eq!(answer(&oidc, &token, 0).await, expected, "{change}");
    }
    // The key in the header is the thief's, and so is the signature.
    let token = thief.signs(&header(json!({"jwk": thief.jwk()})), &claims().to_string());
    assert_eq!(answer(&oidc, &token, 0).await, "TOKEN_INVALID", "jwk");
    // The other issuer has a key of the same name.
    let token = thief.signs(&header(json!({})), &claims().to_string());
    assert_eq!(
        answer(&oidc, &token, 0).await,
        "TOKEN_INVALID",
        "kid of another issuer"
    );
    // The public key as a shared secret.
    let secret = signer.jwk().to_string();
    let message = signer.signs(&header(json!({"alg": "HS256"})), &claims().to_string());
    let message = message.rsplit_once('.').unwrap().0;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
    assert_eq!(
        answer(&oidc, &format!("{message}.{tag}"), 0).await,
        "TOKEN_ALGORITHM_REFUSED"
    );
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
    let oidc = World::new()
        .trusts(ISSUER, &[Algorithm::Rs256], &[weak, cubic])
        .oidc();
    let error = oidc
        .jwt(&signer.token("k", &claims()), after(0))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the issuer's key `k` is refused: the RSA key has 1024 bits; 2048 to 8192 are allowed"
    );
    assert_eq!(
        answer(&oidc, &signer.token("e", &claims()), 0).await,
        "TOKEN_KEY_UNKNOWN"
    );
    // A point that is not on the curve.
    let signer = Signer::p256();
    let mut off = signer.jwk_named("k");
    off["y"] = off["x"].clone();
    let oidc = World::new()
        .trusts(ISSUER, &[Algorithm::Es256], &[off])
        .oidc();
    assert_eq!(
        answer(&oidc, &signer.token("k", &claims()), 0).await,
        "TOKEN_INVALID"
    );
}

#[tokio::test]
async fn a_token_is_remembered_whole_and_not_beyond_its_end() {
    let signer = Signer::ed25519();
    let world = World::new().trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")]);
    let oidc = world.oidc();
    let token = signer.token("k", &claims());
    assert_eq!(answer(&oidc, &token, 0).await, GOOD);
    assert_eq!(answer(&oidc, &token, 59).await, GOOD);
    // Same header and claims, another signature: the first 90 % of the text is the same.
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut other = URL_SAFE_NO_PAD.decode(signature).unwrap();
    other[63] ^= 1;
    let twin = format!("{message}.{}", URL_SAFE_NO_PAD.encode(other));
    assert_eq!(twin[..token.len() - 4], token[..token.len() - 4]);
    assert_eq!(answer(&oidc, &twin, 0).await, "TOKEN_INVALID");
    assert_eq!(answer(&oidc, &token, 65).await, "TOKEN_ENDED");
}

#[tokio::test]
async fn what_is_remembered_falls_with_the_key_set() {
    let signer = Signer::ed25519();
    let world = World::new().trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")]);
    let oidc = world.oidc();
    let long = signer.token("k", &with("exp", json!(NOW + 10_000)));
    let short = signer.token("k", &claims());
    assert_eq!(answer(&oidc, &long, 0).await, GOOD);
    let empty = json!({"keys": [Signer::ed25519().jwk_named("new")]}).to_string();
    std::fs::write(world.folder.path().join("0.json"), empty).unwrap();
    assert_eq!(answer(&oidc, &long, 20).await, GOOD, "remembered");
    let unknown = signer.token("new", &claims());
    assert_eq!(
        answer(&oidc, &unknown, 30).await,
        "TOKEN_INVALID",
        "makes it ask again"
    );
    assert_eq!(answer(&oidc, &long, 30).await, "TOKEN_KEY_UNKNOWN");
    assert_eq!(answer(&oidc, &short, 30).await, "TOKEN_KEY_UNKNOWN");
}

#[tokio::test]
async fn a_token_of_a_key_that_is_gone_dies_within_five_minutes() {
    let signer = Signer::ed25519();
    let world = World::new().trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")]);
    let oidc = world.oidc();
    let token = signer.token("k", &with("exp", json!(NOW + 10_000)));
    assert_eq!(answer(&oidc, &token, 0).await, GOOD);
    std::fs::write(world.folder.path().join("0.json"), r#"{"keys":[]}"#).unwrap();
    assert_eq!(answer(&oidc, &token, 299).await, GOOD);
    assert_eq!(answer(&oidc, &token, 300).await, "TOKEN_KEY_UNKNOWN");
}

#[tokio::test]
async fn a_maximal_age_counts_from_issuing() {
    let signer = Signer::ed25519();
    let world = World::new()
        .trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")])
        .max_age(100);
    let oidc = world.oidc();
    let token = signer.token("k", &with("exp", json!(NOW + 10_000)));
    assert_eq!(answer(&oidc, &token, 0).await, GOOD);
    assert_eq!(answer(&oidc, &token, 105).await, GOOD);
    assert_eq!(answer(&oidc, &token, 106).await, "TOKEN_ENDED");
    assert_eq!(
        answer(&oidc, &signer.token("k", &without("iat")), 0).await,
        "TOKEN_INVALID"
    );
}

#[tokio::test]
async fn a_bound_token_says_to_which_key() {
    let signer = Signer::ed25519();
    let oidc = World::new()
        .trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")])
        .oidc();
    let key = URL_SAFE_NO_PAD.encode([7; 32]);
    for (cnf, expected) in [
        (json!({"jkt": key}), Binding::Jwk(Thumbprint([7; 32]))),
        (
            json!({"x5t#S256": key}),
            Binding::Certificate(Thumbprint([7; 32])),
        ),
    ] {
        let verified = oidc
            .jwt(&signer.token("k", &with("cnf", cnf)), after(0))
            .await
            .unwrap();
        assert_eq!(verified.binding, Some(expected));
        assert_eq!(verified.ends, after(60));
    }
}

#[tokio::test]
async fn refusals_name_what_would_do_and_no_values_of_claims() {
    let signer = Signer::ed25519();
    let oidc = World::new()
        .trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")])
        .oidc();
    for (claims, words) in [
        (
            with("sub", json!("s3cret")),
            "no mapping of issuer `https://ci.acme.dev` fits this token; looked at the claims `sub`",
        ),
        (
            with("aud", json!("s3cret")),
            "the token is made for another audience; ask the issuer for `https://jeton.acme.dev`",
        ),
        (
            with("exp", json!("s3cret")),
            "the claim `exp` of the token must be a number of seconds since 1970",
        ),
        (
            with("iss", json!("https://x/")),
            "the issuer `https://x/` is not configured here; names are compared exactly, with every slash",
        ),
    ] {
        let error = oidc
            .jwt(&signer.token("k", &claims), after(0))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), words);
    }
    let token = Signer::p256().token("k", &claims());
    assert_eq!(
        oidc.jwt(&token, after(0)).await.unwrap_err().to_string(),
        "the algorithm `ES256` is not allowed for this issuer; EdDSA are"
    );
}

#[test]
fn an_incomplete_issuer_is_refused_at_start() {
    let refused = |change: fn(&mut IssuerConfig)| {
        let mut world = World::new().trusts(ISSUER, &[Algorithm::EdDsa], &[]);
        change(&mut world.configs[0]);
        Oidc::new(world.configs.clone(), &Fetcher::new().unwrap())
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(refused(|_| {}), None);
    let nothing = |what: &str| {
        Some(format!(
            "the issuer `{ISSUER}` has no {what}; name at least one"
        ))
    };
    assert_eq!(
        refused(|config| config.algorithms.clear()),
        nothing("algorithm")
    );
    assert_eq!(
        refused(|config| config.mappings.clear()),
        nothing("mapping")
    );
    assert_eq!(
        refused(|config| config.keys = KeyPlace::JwksUrl("http://ci.acme.dev/keys".into())),
        Some(format!(
            "the keys of issuer `{ISSUER}` can't be fetched: `http://ci.acme.dev/keys` must be an https \
             URL without user, or http on a loopback address"
        ))
    );
    let twice = World::new()
        .trusts(ISSUER, &[Algorithm::EdDsa], &[])
        .trusts(ISSUER, &[Algorithm::EdDsa], &[]);
    let error = Oidc::new(twice.configs, &Fetcher::new().unwrap())
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        format!("the issuer `{ISSUER}` is configured twice")
    );
}

proptest! {
    #[test]
    fn no_text_crashes_the_check(text in "\\PC{0,80}", header in "\\PC{0,60}", claims in "\\PC{0,60}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let oidc = Oidc::new(vec![], &Fetcher::new().unwrap()).unwrap();
        let token = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        for text in [text, token] {
            prop_assert!(runtime.block_on(oidc.jwt(&text, after(0))).is_err());
        }
    }
}
