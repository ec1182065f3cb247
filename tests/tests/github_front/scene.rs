//! One App on one organisation, and calls as a client of GitHub makes them.

use std::sync::LazyLock;

use jeton_tests::emulate::{AppKey, Emulator, OneApp, Seed};
use jeton_tests::github_front::{Behind, GithubFront};
use jeton_tests::openapi::Answer;
use serde_json::{Value, json};

pub const APP: u64 = 77;
pub const INSTALLATION: u64 = 501;
pub const MINT: &str = "/app/installations/{installation_id}/access_tokens";

pub static KEY: LazyLock<AppKey> = LazyLock::new(AppKey::generate);

pub fn seed() -> Seed {
    Seed::one_app(OneApp {
        app_id: APP,
        private_key: KEY.pem(),
        installation_id: INSTALLATION,
        org: "acme",
        repos: &["api", "web", "vault"],
        installed_on: &["api", "web"],
        permissions: &[("contents", "write"), ("issues", "write"), ("metadata", "read")],
    })
}

/// What a test asks for in most cases: one repository of two, one permission of three.
pub fn narrow() -> Value {
    json!({ "repositories": ["web"], "permissions": { "contents": "read" } })
}

pub struct Scene {
    pub front: GithubFront,
    pub emulator: Option<Emulator>,
    pub client: reqwest::Client,
}

impl Scene {
    pub async fn before_the_emulator() -> Self {
        let emulator = Emulator::start(&seed()).await.unwrap();
        let front = GithubFront::start(Behind::Emulator(emulator.url().to_owned())).await;
        Self { front, emulator: Some(emulator), client: reqwest::Client::new() }
    }

    pub async fn before_nothing() -> Self {
        let front = GithubFront::start(Behind::Nothing(seed())).await;
        Self { front, emulator: None, client: reqwest::Client::new() }
    }

    /// The same story must hold with the emulator and without.
    pub async fn both() -> [Self; 2] {
        [Self::before_the_emulator().await, Self::before_nothing().await]
    }

    pub async fn mint(&self, asked: &Value) -> Told {
        self.mint_with(&KEY.jwt(APP, jeton_tests::now().as_second()), asked).await
    }

    pub async fn mint_with(&self, jwt: &str, asked: &Value) -> Told {
        let path = MINT.replace("{installation_id}", &INSTALLATION.to_string());
        let request = self.client.post(format!("{}{path}", self.front.url())).bearer_auth(jwt);
        told(request.json(asked)).await
    }

    pub async fn token(&self, asked: &Value) -> String {
        let told = self.mint(asked).await;
        assert_eq!(told.status, 201, "{told:?}");
        told.body["token"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, token: &str, path: &str) -> Told {
        told(self.client.get(format!("{}{path}", self.front.url())).bearer_auth(token)).await
    }

    pub async fn revoke(&self, token: &str) -> Told {
        told(
            self.client
                .delete(format!("{}/installation/token", self.front.url()))
                .bearer_auth(token),
        )
        .await
    }
}

/// An answer, or the absence of one (status 0).
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub status: u16,
    pub text: String,
    pub body: Value,
}

impl Told {
    pub fn as_answer(&self) -> Answer {
        let body = (!self.text.is_empty()).then(|| self.body.clone());
        Answer { status: self.status, body }
    }
}

pub async fn told(request: reqwest::RequestBuilder) -> Told {
    let Ok(answer) = request.send().await else {
        return Told { status: 0, text: String::new(), body: Value::Null };
    };
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap_or_default();
    let body = serde_json::from_str(&text).unwrap_or_default();
    Told { status, text, body }
}
