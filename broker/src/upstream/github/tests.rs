//! What each answer of GitHub, honest or not, becomes.

mod fake;
mod revocation;

use base64::{Engine, engine::general_purpose::STANDARD};
use jeton_domain::{decision::Delivery, scope::Scope, ttl::Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json as value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use self::fake::{APP_KEY, DELETE, Fake, LOOK_UP, MINT, Reply, config, json, minter_at};
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
    minter
        .mint_scope(&Scope::parse(scope).unwrap(), Delivery::Direct, now())
        .await
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
    let minted = ask_for(
        &fake.minter(),
        "github:Acme/API contents:read,contents:write",
    )
    .await
    .unwrap();
    assert_eq!((minted.sealable().expose(), minted.dies()), (TOKEN, hour()));
    let asked = &fake.seen(MINT)[0];
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(
        body,
        value!({"repositories": ["api"], "permissions": {"contents": "write"}})
    );
    let claims = claims_of(&asked.bearer);
    assert_eq!(
        claims,
        value!({"iat": NOW - 30, "exp": NOW + 510, "iss": "4711"})
    );
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
        assert_eq!(
            ask(&fake.minter()).await.unwrap().sealable().expose(),
            token
        );
    }
}

#[tokio::test]
async fn each_answer_to_the_request_for_a_token_has_its_outcome() {
    let limited = |headers| Reply::Json(403, headers, r#"{"message":"slow down"}"#.into());
    let refusal = |status, words: &str| json(status, value!({ "message": words }).to_string());
    let reset = (NOW + 90).to_string();
    for (reply, expected) in [
        (json(201, good()), "minted"),
        (
            refusal(401, "Bad \u{1b}[31mJWT"),
            "refused the broker's own key: it answered 401: `Bad \u{fffd}[31mJWT`",
        ),
        (
            refusal(403, "Resource not accessible"),
            "the upstream refused: it answered 403: `Resource not accessible`",
        ),
        (
            refusal(422, "no such repository"),
            "the upstream refused: it answered 422: `no such repository`",
        ),
        (
            refusal(404, "Not Found"),
            "knows no installation for this resource: it answered 404: `Not Found`; install",
        ),
        (
            refusal(400, &"x ".repeat(500)),
            "the upstream refused: it answered 400: `x x",
        ),
        (Reply::Html(404), "it answered 404; install"),
        (
            limited(vec![("retry-after", "60".into())]),
            "limits the rate of calls Some(60s)",
        ),
        (
            limited(vec![("retry-after", "-1".into())]),
            "limits the rate of calls None",
        ),
        (
            limited(vec![("retry-after", "1000000000".into())]),
            "limits the rate of calls None",
        ),
        (
            limited(vec![
                ("x-ratelimit-remaining", "0".into()),
                ("x-ratelimit-reset", reset),
            ]),
            "limits the rate of calls Some(90s)",
        ),
        (
            limited(vec![
                ("x-ratelimit-remaining", "0".into()),
                ("x-ratelimit-reset", "1".into()),
            ]),
            "limits the rate of calls None",
        ),
        (
            limited(vec![("x-ratelimit-remaining", "4999".into())]),
            "the upstream refused: it answered 403: `slow down`",
        ),
        (
            refusal(403, "You have exceeded a secondary rate limit"),
            "limits the rate of calls None",
        ),
        (refusal(429, "slow down"), "limits the rate of calls None"),
        (
            Reply::Json(
                302,
                vec![("location", "http://127.0.0.1:1/".into())],
                String::new(),
            ),
            "it answered 302, a redirect, which is never followed",
        ),
        (
            refusal(500, "oops"),
            "answer was lost: it answered 500: `oops`",
        ),
        (Reply::Html(502), "answer was lost: it answered 502"),
        (
            Reply::Html(201),
            "answer was lost: the answer is not JSON by its content type",
        ),
        (
            json(201, ""),
            "answer was lost: the answer is not the JSON that GitHub documents",
        ),
        (
            json(200, r#"{"message":"error"}"#),
            "answer was lost: the answer is not the JSON",
        ),
        (
            json(201, "[".repeat(100_000)),
            "answer was lost: the answer is not the JSON",
        ),
        (
            json(201, token_answer("token", value!(7))),
            "answer was lost: the answer is not the JSON",
        ),
        (
            json(201, token_answer("token", value!(""))),
            "answer was lost: the token is not visible ASCII",
        ),
        (
            json(201, token_answer("token", value!("ghs_\r\nx: y"))),
            "answer was lost: the token is not visible ASCII",
        ),
        (
            json(
                201,
                good().replacen(
                    '{',
                    r#"{"token":"ghs_another_token_of_forty_characters","#,
                    1,
                ),
            ),
            "answer was lost: the answer is not the JSON",
        ),
        (
            Reply::Endless,
            "answer was lost: the answer is longer than 262144 bytes",
        ),
        (Reply::Never, "answer was lost: no answer within"),
        (
            Reply::Echo(422),
            "the upstream refused: it answered 422: `no … no`",
        ),
    ] {
        let fake = Fake::start(&good()).await;
        let outcome = ask(&fake.says(MINT, reply).minter()).await;
        let told = tell(outcome, &fake.seen(MINT)[0].bearer);
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(fake.seen(DELETE).is_empty());
    }
}

#[tokio::test]
async fn a_token_that_opens_more_or_lasts_longer_than_asked_is_revoked_and_refused() {
    let twice = good().replace(
        r#""contents":"write""#,
        r#""contents":"write","contents":"read""#,
    );
    assert_ne!(twice, good());
    let repositories = |names: &[&str]| {
        names
            .iter()
            .map(|name| value!({ "full_name": name }))
            .collect::<Value>()
    };
    for (answer, expected) in [
        (
            token_answer(
                "permissions",
                value!({"contents": "write", "issues": "read"}),
            ),
            "has `issues:read`, which was not asked for",
        ),
        (
            token_answer("permissions", value!({"contents": "admin"})),
            "has `contents:admin`",
        ),
        (
            token_answer("permissions", value!({"contents": "wr\u{1b}ite"})),
            "has `contents:wr\u{fffd}ite`",
        ),
        (
            token_answer("permissions", value!({"metadata": "write"})),
            "has `metadata:write`",
        ),
        (
            token_answer("permissions", Value::Null),
            "does not say which permissions",
        ),
        (
            token_answer("permissions", value!(["contents"])),
            "does not say which permissions",
        ),
        (twice, "does not say which permissions"),
        (
            token_answer("repository_selection", value!("all")),
            "not limited to selected repositories",
        ),
        (
            token_answer("repository_selection", Value::Null),
            "not limited to selected repositories",
        ),
        (
            token_answer("repositories", Value::Null),
            "does not say which repository",
        ),
        (
            token_answer("repositories", repositories(&[])),
            "does not say which repository",
        ),
        (
            token_answer("repositories", value!([7])),
            "does not say which repository",
        ),
        (
            token_answer("repositories", repositories(&["acme/other"])),
            "opens `acme/other` and not `acme/api`",
        ),
        (
            token_answer("repositories", repositories(&["acme/api", "acme/other"])),
            "opens 2 repositories",
        ),
        (
            token_answer("expires_at", value!("2025-12-31T23:59:59Z")),
            "not a time within the next hour",
        ),
        (
            token_answer("expires_at", value!("2036-01-01T00:00:00Z")),
            "not a time within the next hour",
        ),
        (
            token_answer("expires_at", value!("2026-01-01T01:00:00-07:00")),
            "not a time within the next hour",
        ),
        (
            token_answer("expires_at", value!("soon")),
            "not a time within the next hour",
        ),
        (
            token_answer("expires_at", value!(NOW)),
            "not a time within the next hour",
        ),
        (
            token_answer("expires_at", Value::Null),
            "not a time within the next hour",
        ),
        (
            token_answer("token", value!("ghs_short")),
            "a token of 9 characters is none",
        ),
        (
            token_answer("token", value!("x".repeat(2049))),
            "a token of 2049 characters is none",
        ),
    ] {
        let token = serde_json::from_str::<Value>(&answer).unwrap()["token"].clone();
        let fake = Fake::start(&answer).await;
        let outcome = ask(&fake.minter()).await;
        let told = tell(outcome, &fake.seen(MINT)[0].bearer);
        assert!(told.contains("unusable credential"), "{answer}: {told}");
        assert!(
            told.contains(expected) && told.ends_with("; it was revoked"),
            "{expected}: {told}"
        );
        assert_eq!(fake.seen(DELETE)[0].bearer, token.as_str().unwrap());
    }
    let fake = Fake::start(&token_answer("permissions", value!({"contents": "admin"}))).await;
    let told = tell(
        ask(&fake.says(DELETE, Reply::Html(500)).minter()).await,
        "x.y.zz",
    );
    assert!(
        told.ends_with(
            "did not confirm the revocation: DELETE /installation/token: it answered 500"
        ),
        "{told}"
    );
}

#[tokio::test]
async fn an_answer_in_another_time_zone_or_with_less_is_as_good() {
    for (member, changed) in [
        ("expires_at", value!("2026-01-01T03:00:00+02:00")),
        ("permissions", value!({"contents": "read"})),
    ] {
        let fake = Fake::start(&token_answer(member, changed)).await;
        assert_eq!(tell(ask(&fake.minter()).await, "x.y.zz"), "minted");
    }
}

#[tokio::test]
async fn whatever_goes_wrong_in_the_look_up_nothing_was_made() {
    for (reply, expected) in [
        (json(404, "{}"), "knows no installation"),
        (json(401, "{}"), "refused the broker's own key"),
        (
            Reply::Json(
                301,
                vec![("location", "/repositories/9/installation".into())],
                String::new(),
            ),
            "renamed or moved",
        ),
        (json(503, "{}"), "can't be reached: it answered 503"),
        (
            json(200, r#"{"id":"7"}"#),
            "can't be reached: the answer is not the JSON",
        ),
        (
            json(200, r#"{"id":-7}"#),
            "can't be reached: the answer is not the JSON",
        ),
        (
            json(200, r#"{"id":7,"id":8}"#),
            "can't be reached: the answer is not the JSON",
        ),
        (
            Reply::Html(200),
            "can't be reached: the answer is not JSON by its content type",
        ),
        (Reply::Never, "can't be reached: no answer within"),
    ] {
        let fake = Fake::start(&good()).await;
        let outcome = ask(&fake.says(LOOK_UP, reply).minter()).await;
        let told = tell(outcome, &fake.seen(LOOK_UP)[0].bearer);
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(fake.seen(MINT).is_empty());
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_made_nothing_and_one_that_hangs_up_may_have() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let minter = minter_at(&base, Limits::default());
    minter.installations.insert("acme/api".into(), 7).await;
    for (said, expected) in [
        (
            "",
            "answer was lost: the connection ended before the answer",
        ),
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
    assert_eq!(
        fake.seen(LOOK_UP).len(),
        3,
        "a 500 says nothing of the installation"
    );
}

#[tokio::test]
async fn the_app_jwt_is_kept_until_a_minute_before_its_end() {
    let app = Fake::start(&good()).await.minter().app;
    let at = |seconds| {
        app.jwt(Timestamp::from_seconds(NOW + seconds))
            .unwrap()
            .text()
            .expose()
            .to_owned()
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
        (
            "github:acme/api contents:write ref=agent/*",
            "can't limit a token to `ref=agent/*`",
        ),
        ("github:acme contents:write", "write `owner/repo`"),
        (
            "ghes:acme/api contents:write",
            "`ghes` is not this upstream, `github`",
        ),
    ] {
        let told = tell(ask_for(&fake.minter(), scope).await, "x.y.zz");
        assert!(
            told.contains("the upstream refused") && told.contains(expected),
            "{told}"
        );
    }
    assert!(fake.seen(LOOK_UP).is_empty());
    let scope = Scope::parse("github:acme/api contents:write ref=agent/*").unwrap();
    assert!(
        fake.minter()
            .mint_scope(&scope, Delivery::Gateway, now())
            .await
            .is_ok()
    );
}

#[test]
fn a_bad_configuration_is_refused_with_words() {
    for (base, expected) in [
        (
            "http://api.github.com",
            "`http://api.github.com` is not https",
        ),
        ("http://127.0.0.1.evil.example", "is not https"),
        ("http://10.0.0.1", "is not https"),
        ("ftp://api.github.com", "is not the address of a GitHub API"),
        ("https://user@api.github.com", "is not the address"),
        ("https://api.github.com?x", "is not the address"),
        ("api.github.com", "is not the address"),
        ("", "is not the address"),
    ] {
        let error = GithubMinter::new(config(base, APP_KEY))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(expected), "{base}: {error}");
    }
    for base in [
        "http://127.0.0.1:4600",
        "http://[::1]:1/api/v3/",
        "http://localhost",
        "https://ghe.example/api/v3",
    ] {
        assert!(GithubMinter::new(config(base, APP_KEY)).is_ok(), "{base}");
    }
    let error = GithubMinter::new(config("https://api.github.com", "s3cret"))
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("the app's private key: it is no private key in PEM")
    );
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[test]
fn the_app_key_may_be_pkcs8_too() {
    let body: String = APP_KEY
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let pkcs1 = STANDARD.decode(body).unwrap();
    let two = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    // PrivateKeyInfo: version 0, rsaEncryption, the PKCS#1 key as an octet string (RFC 5208 §5).
    let head = [
        &[
            0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
            0x01, 0x01, 0x05, 0x00, 0x04, 0x82,
        ][..],
        &two(pkcs1.len()),
    ]
    .concat();
    let der = [
        &[0x30, 0x82][..],
        &two(head.len() + pkcs1.len()),
        &head,
        &pkcs1,
    ]
    .concat();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der)
    );
    assert!(GithubMinter::new(config("https://api.github.com", &pem)).is_ok());
}
