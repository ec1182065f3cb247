mod hostile;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::pattern::NamePattern;
use jeton_domain::principal::Thumbprint;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::identity::testing::{NOW, Signer, after};

const ISSUER: &str = "https://ci.acme.dev";
const AUDIENCE: &str = "https://jeton.acme.dev";

/// Issuers whose keys stand in files.
struct World {
    folder: TempDir,
    configs: Vec<IssuerConfig>,
}

fn rule(pattern: &str) -> ClaimRule {
    let value = WantedValue::Matches(NamePattern::parse(pattern).unwrap());
    ClaimRule { shape: Shape::One, value }
}

impl World {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), configs: Vec::new() }
    }

    fn trusts(mut self, issuer: &str, algorithms: &[Algorithm], keys: &[Value]) -> Self {
        let path = self.folder.path().join(format!("{}.json", self.configs.len()));
        std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
        self.configs.push(IssuerConfig {
            issuer: issuer.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithms: algorithms.to_vec(),
            keys: KeyPlace::File(path),
            groups: None,
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
        World::new().trusts(ISSUER, &[algorithm], &[signer.jwk_named("k")])
    };
    for signer in [Signer::ed25519(), Signer::p256(), Signer::rs256(), Signer::ps256()] {
        let algorithm = Algorithm::parse(signer.algorithm()).unwrap();
        let world = world(&signer, algorithm);
        let oidc = world.oidc();
        assert_eq!(answer(&oidc, &signer.token("k", &claims()), 0).await, GOOD, "{algorithm:?}");
        let unnamed = json!({"alg": signer.algorithm(), "jku": "http://169.254.169.254/", "x5u": "file:///x"});
        let token = signer.signs(&unnamed.to_string(), &claims().to_string());
        assert_eq!(answer(&oidc, &token, 0).await, GOOD, "without kid and typ");
    }
    // The same RSA key, but the issuer does not sign that way.
    let world = world(&Signer::rs256(), Algorithm::Rs256);
    let oidc = world.oidc();
    let token = Signer::ps256().token("k", &claims());
    assert_eq!(answer(&oidc, &token, 0).await, "TOKEN_ALGORITHM_REFUSED");
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
    assert_eq!(answer(&oidc, &unknown, 30).await, "TOKEN_INVALID", "makes it ask again");
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
    let world =
        World::new().trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")]).max_age(100);
    let oidc = world.oidc();
    let token = signer.token("k", &with("exp", json!(NOW + 10_000)));
    assert_eq!(answer(&oidc, &token, 0).await, GOOD);
    assert_eq!(answer(&oidc, &token, 105).await, GOOD);
    assert_eq!(answer(&oidc, &token, 106).await, "TOKEN_ENDED");
    assert_eq!(answer(&oidc, &signer.token("k", &without("iat")), 0).await, "TOKEN_INVALID");
}

#[tokio::test]
async fn a_bound_token_says_to_which_key() {
    let signer = Signer::ed25519();
    let world = World::new().trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")]);
    let oidc = world.oidc();
    let key = URL_SAFE_NO_PAD.encode([7; 32]);
    for (cnf, expected) in [
        (json!({"jkt": key}), Binding::Jwk(Thumbprint([7; 32]))),
        (json!({"x5t#S256": key}), Binding::Certificate(Thumbprint([7; 32]))),
    ] {
        let verified = oidc.jwt(&signer.token("k", &with("cnf", cnf)), after(0)).await.unwrap();
        assert_eq!(verified.binding, Some(expected));
        assert_eq!(verified.ends, after(60));
    }
}

#[tokio::test]
async fn refusals_name_what_would_do_and_no_values_of_claims() {
    let signer = Signer::ed25519();
    let world = World::new().trusts(ISSUER, &[Algorithm::EdDsa], &[signer.jwk_named("k")]);
    let oidc = world.oidc();
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
        let error = oidc.jwt(&signer.token("k", &claims), after(0)).await.unwrap_err();
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
    let nothing =
        |what: &str| Some(format!("the issuer `{ISSUER}` has no {what}; name at least one"));
    assert_eq!(refused(|config| config.algorithms.clear()), nothing("algorithm"));
    assert_eq!(refused(|config| config.mappings.clear()), nothing("mapping"));
    assert_eq!(
        refused(|config| config.keys = KeyPlace::JwksUrl("http://ci.acme.dev/keys".into())),
        Some(format!(
            "the keys of issuer `{ISSUER}` can't be fetched: `http://ci.acme.dev/keys` must be an https \
             URL without user, or http on a loopback address"
        ))
    );
    let twice = World::new().trusts(ISSUER, &[Algorithm::EdDsa], &[]).trusts(
        ISSUER,
        &[Algorithm::EdDsa],
        &[],
    );
    let error = Oidc::new(twice.configs, &Fetcher::new().unwrap()).err().unwrap();
    assert_eq!(error.to_string(), format!("the issuer `{ISSUER}` is configured twice"));
}

proptest! {
    #[test]
    fn no_text_crashes_the_check(text in "\\PC{0,80}", header in "\\PC{0,60}", claims in "\\PC{0,60}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let oidc = &*EMPTY;
        let token = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        for text in [text, token] {
            prop_assert!(runtime.block_on(oidc.jwt(&text, after(0))).is_err());
        }
    }
}

static EMPTY: std::sync::LazyLock<Oidc> =
    std::sync::LazyLock::new(|| Oidc::new(vec![], &Fetcher::new().unwrap()).unwrap());
