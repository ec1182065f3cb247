//! An issuer of identity tokens, such as a CI system, and a broker that trusts it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::broker::Broker;

/// What it calls itself.
pub const ISSUER: &str = "https://token.ci.example";

/// The issuer with its key.
pub struct Issuer(Ed25519KeyPair);

impl Issuer {
    #[allow(clippy::new_without_default, reason = "each has its own key")]
    /// A new one with a key of its own.
    pub fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    /// Its key, for whoever forges.
    pub fn into_pair(self) -> Ed25519KeyPair {
        self.0
    }

    /// Its public keys.
    pub fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ci-1", "use": "sig", "alg": "EdDSA", "x": x}]})
    }

    /// A token of its one job, changed as the test wants.
    pub fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        self.token_named("EdDSA", change)
    }

    /// The same with this name of its algorithm.
    pub fn token_named(&self, algorithm: &str, change: impl FnOnce(&mut Value)) -> String {
        let now = crate::now().as_second();
        let mut claims = json!({
            "iss": ISSUER, "aud": "jeton", "sub": "repo:acme/api", "repository": "acme/api",
            "ref": "refs/heads/main", "iat": now, "nbf": now, "exp": now + 300,
        });
        change(&mut claims);
        self.signs_named(algorithm, "JWT", &claims)
    }

    /// A token of any type.
    pub fn signs(&self, typ: &str, claims: &Value) -> String {
        self.signs_named("EdDSA", typ, claims)
    }

    /// The same with this name of its algorithm.
    pub fn signs_named(&self, algorithm: &str, typ: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": typ, "kid": "ci-1"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes())))
    }
}

/// A broker that knows the issuer's job as `ci/acme/api` and lets it read.
pub fn broker(issuer: &Issuer) -> Broker {
    broker_with(issuer, |text| text)
}

/// The same with its configuration changed.
pub fn broker_with(issuer: &Issuer, change: impl FnOnce(String) -> String) -> Broker {
    Broker::start_with(|data| {
        std::fs::write(data.join("jwks.json"), issuer.jwks().to_string()).unwrap();
        let file = data.join("jetond.toml");
        let more = format!(
            r#"
[[issuer]]
issuer = "{ISSUER}"
audience = "jeton"
algorithms = ["EdDSA"]
jwks_file = "jwks.json"
[[issuer.map]]
principal = "ci/{{repository}}"
kind = "workload"
[issuer.map.claims]
repository = "acme/*"
ref = "refs/heads/main"
"#
        );
        let text = change(std::fs::read_to_string(&file).unwrap()) + &more;
        std::fs::write(file, text).unwrap();
        let policy = r#"
@id("ci-opens-its-own")
permit (principal == Jeton::Agent::"ci/acme/api", action == Jeton::Action::"open_session", resource == Jeton::Agent::"ci/acme/api");
@id("ci-reads")
permit (principal == Jeton::Agent::"ci/acme/api", action in Jeton::Action::"read", resource in Jeton::Org::"git:acme");
"#;
        std::fs::write(data.join("policies/ci.cedar"), policy).unwrap();
        let catalogue = data.join("policies/catalogue.toml");
        let listed =
            std::fs::read_to_string(&catalogue).unwrap() + "\n[[agent]]\nmatch = \"ci/acme/api\"\n";
        std::fs::write(catalogue, listed).unwrap();
    })
}
