//! What each answer of GitHub, honest or not, becomes.

mod answers;
mod config;
mod fake;
mod revocation;

use std::time::Duration;

use jeton_domain::{decision::Delivery, scope::Scope, ttl::Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json as value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use self::fake::{APP_KEY, Fake, LOOK_UP, MINT, json, minter_at};
use super::{GithubMinter, MintError, api::Limits};
use crate::{crypto::private_key::PrivateKey, upstream::Minted};

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;
const TOKEN: &str = "ghs_0123456789abcdefghijklmnopqrstuvwxyz";

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

fn hour() -> Timestamp {
    Timestamp::from_seconds(NOW + 3600)
}

/// The answer to the scope that [`ask`] asks for, with one member changed.
fn token_answer(member: &str, changed: Value) -> String {
    let mut answer = value!({
        "token": TOKEN,
        "expires_at": "2026-01-01T01:00:00Z",
        "permissions": { "contents": "write", "metadata": "read" },
        "repository_selection": "selected",
        "repositories": [{ "id": 1, "full_name": "Acme/API", "private": true }],
    });
    answer[member] = changed;
    answer.to_string()
}

fn good() -> String {
    token_answer("single_file", Value::Null)
}

async fn ask(minter: &GithubMinter) -> Result<Minted, MintError> {
    ask_for(minter, "github:acme/api contents:write").await
}

async fn ask_for(minter: &GithubMinter, scope: &str) -> Result<Minted, MintError> {
    minter.mint_scope(&Scope::parse(scope).unwrap(), Delivery::Direct, now()).await
}

/// Kind and words of an outcome, after the checks that hold for all of them.
fn tell(outcome: Result<Minted, MintError>, bearer: &str) -> String {
    let Err(error) = outcome else {
        return "minted".into();
    };
    let words = format!("{error} {error:?}");
    for secret in [TOKEN, bearer.rsplit('.').next().unwrap()] {
        assert!(!words.contains(secret), "{words}");
    }
    match error {
        MintError::Lost { dies, .. } => assert_eq!(dies, hour()),
        MintError::Unusable { ref minted, .. } => assert_eq!(minted.dies(), hour()),
        MintError::RateLimited { retry_after } => return format!("{error} {retry_after:?}"),
        MintError::Refused(_)
        | MintError::NotInstalled(_)
        | MintError::BrokerRefused(_)
        | MintError::Unavailable(_) => {}
    }
    error.to_string()
}

#[tokio::test]
async fn a_narrow_token_is_asked_for_by_repository_and_permissions_and_given() {
    let fake = Fake::start(&good()).await;
    let minted =
        ask_for(&fake.minter(), "github:acme/api contents:read,contents:write").await.unwrap();
    assert_eq!((minted.sealable().expose(), minted.dies()), (TOKEN, hour()));
    let asked = &fake.seen(MINT)[0];
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, value!({"repositories": ["api"], "permissions": {"contents": "write"}}));
    let claims = claims_of(&asked.bearer);
    assert_eq!(claims, value!({"iat": NOW - 30, "exp": NOW + 510, "iss": "4711"}));
    assert_eq!(fake.seen(LOOK_UP)[0].bearer, asked.bearer);
}

fn claims_of(jwt: &str) -> Value {
    crate::crypto::install();
    let public = PrivateKey::from_pem(APP_KEY.as_bytes()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    let key = DecodingKey::from_rsa_der(public.public());
    decode::<Value>(jwt, &key, &validation).unwrap().claims
}

#[tokio::test]
async fn tokens_of_any_length_that_github_uses_are_opaque() {
    for length in [20, 40, 520, 2048] {
        let token = format!("ghs_{}", "x.".repeat(1200))[..length].to_owned();
        let fake = Fake::start(&token_answer("token", value!(token))).await;
        assert_eq!(ask(&fake.minter()).await.unwrap().sealable().expose(), token);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_made_nothing_and_one_that_hangs_up_may_have() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let minter = minter_at(&base, Limits::default());
    minter.installations.insert("acme/api".into(), 7).await;
    for (said, expected) in [
        ("", "answer was lost: the connection ended before the answer"),
        (
            "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
            "answer was lost: the answer was cut short",
        ),
    ] {
        let (outcome, ()) = tokio::join!(ask(&minter), hang_up_after(&listener, said));
        let told = tell(outcome, "x.y.zz");
        assert!(told.contains(expected), "{told}");
    }
    drop(listener);
    assert!(tell(ask(&minter).await, "x.y.zz").contains("can't be reached: no connection"));
}

#[tokio::test]
async fn a_mint_whose_time_is_over_sends_nothing_more() {
    let fake = Fake::start(&good()).await;
    let minter = minter_at(&fake.base, Limits { mint: Duration::ZERO, ..Limits::default() });
    minter.installations.insert("acme/api".into(), 7).await;
    assert!(tell(ask(&minter).await, "x.y.zz").contains("can't be reached: no time was left"));
    assert!(fake.seen(MINT).is_empty());
}

async fn hang_up_after(listener: &TcpListener, said: &str) {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    // Why all of it: closing with something unread would take back what was said.
    while !asked.ends_with(b"}") {
        assert_ne!(connection.read_buf(&mut asked).await.unwrap(), 0);
    }
    connection.write_all(said.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn an_installation_is_looked_up_once_and_again_after_a_refusal() {
    let fake = Fake::start(&good()).await;
    let minter = fake.minter();
    let together = tokio::join!(ask(&minter), ask(&minter), ask(&minter));
    assert!(together.0.is_ok() && together.1.is_ok() && together.2.is_ok());
    assert_eq!((fake.seen(LOOK_UP).len(), fake.seen(MINT).len()), (1, 3));
    for status in [500, 422, 404, 401] {
        fake.says(MINT, json(status, "{}"));
        assert!(ask(&minter).await.is_err());
    }
    assert_eq!(fake.seen(LOOK_UP).len(), 3, "a 500 says nothing of the installation");
}

#[tokio::test]
async fn the_app_jwt_is_kept_until_a_minute_before_its_end() {
    let app = Fake::start(&good()).await.minter().app;
    let at = |seconds| {
        app.jwt(Timestamp::from_seconds(NOW + seconds)).unwrap().text().expose().to_owned()
    };
    let first = at(0);
    assert_eq!(at(449), first);
    let second = at(450);
    assert_ne!(second, first);
    assert_eq!(claims_of(&second)["exp"], NOW + 450 + 510);
}

#[tokio::test]
async fn what_a_token_could_not_be_limited_to_is_refused_before_any_call() {
    let fake = Fake::start(&good()).await;
    for (scope, expected) in [
        ("github:acme/api contents:write ref=agent/*", "can't limit a token to `ref=agent/*`"),
        ("github:acme contents:write", "write `owner/repo`"),
        ("ghes:acme/api contents:write", "`ghes` is not this upstream, `github`"),
    ] {
        let told = tell(ask_for(&fake.minter(), scope).await, "x.y.zz");
        assert!(told.contains("the upstream refused") && told.contains(expected), "{told}");
    }
    assert!(fake.seen(LOOK_UP).is_empty());
    let scope = Scope::parse("github:acme/api contents:write ref=agent/*").unwrap();
    assert!(fake.minter().mint_scope(&scope, Delivery::Gateway, now()).await.is_ok());
}
