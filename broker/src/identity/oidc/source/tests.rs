use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Response, StatusCode},
    response::IntoResponse,
    routing::get,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify};

use super::*;
use crate::{
    identity::{
        jose::Algorithm,
        testing::{Signer, after},
    },
    limits::JWKS_BYTES,
};

/// An issuer on this host, whose answers a test chooses.
struct Issuer {
    url: String,
    answers: Arc<Answers>,
}

struct Answers {
    discovery: std::sync::Mutex<Answer>,
    keys: std::sync::Mutex<Answer>,
    fetched: AtomicUsize,
    asked: Notify,
    go: Notify,
}

#[derive(Clone)]
enum Answer {
    Text(String),
    Status(u16),
    Redirect(String),
    Held(String),
    Drip,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string();
        let answers = Arc::new(Answers {
            discovery: std::sync::Mutex::new(Answer::Text(discovery)),
            keys: std::sync::Mutex::new(Answer::Status(500)),
            fetched: AtomicUsize::new(0),
            asked: Notify::new(),
            go: Notify::new(),
        });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery_document))
            .route("/keys", get(key_set))
            .route("/moved", get(key_set))
            .with_state(Arc::clone(&answers));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, answers }
    }

    async fn with_keys(keys: &[&Signer]) -> Self {
        let issuer = Self::start().await;
        issuer.has(keys);
        issuer
    }

    fn has(&self, keys: &[&Signer]) {
        let keys: Vec<_> =
            keys.iter().enumerate().map(|(kid, key)| key.jwk_named(&kid.to_string())).collect();
        self.says(Answer::Text(json!({"keys": keys}).to_string()));
    }

    fn says(&self, answer: Answer) {
        *self.answers.keys.lock().unwrap() = answer;
    }

    fn discovers(&self, answer: Answer) {
        *self.answers.discovery.lock().unwrap() = answer;
    }

    fn fetched(&self) -> usize {
        self.answers.fetched.load(Ordering::SeqCst)
    }

    fn source(&self, place: KeyPlace) -> Arc<KeySource> {
        let fetcher = Fetcher::with_deadline(Duration::from_millis(300)).unwrap();
        Arc::new(KeySource::new(&self.url, &place, fetcher).unwrap())
    }

    fn jwks(&self) -> Arc<KeySource> {
        self.source(KeyPlace::JwksUrl(format!("{}/keys", self.url)))
    }
}

async fn discovery_document(State(answers): State<Arc<Answers>>) -> Response<Body> {
    let answer = answers.discovery.lock().unwrap().clone();
    answers.give(answer).await
}

async fn key_set(State(answers): State<Arc<Answers>>) -> Response<Body> {
    answers.fetched.fetch_add(1, Ordering::SeqCst);
    let answer = answers.keys.lock().unwrap().clone();
    answers.give(answer).await
}

impl Answers {
    async fn give(&self, answer: Answer) -> Response<Body> {
        match answer {
            Answer::Text(text) => text.into_response(),
            Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
            Answer::Redirect(to) => axum::response::Redirect::temporary(&to).into_response(),
            Answer::Held(text) => {
                self.asked.notify_one();
                self.go.notified().await;
                text.into_response()
            }
            Answer::Drip => {
                let start = tokio_stream::once(Ok::<_, io::Error>("{\"keys\""));
                let rest = tokio_stream::pending();
                Body::from_stream(tokio_stream::StreamExt::chain(start, rest)).into_response()
            }
        }
    }
}

use std::io;

fn wanted(kid: &str) -> Wanted {
    Wanted::read(json!({"kid": kid}).as_object().unwrap(), Algorithm::EdDsa).unwrap()
}

fn outcome(found: Result<Found, IdentityError>) -> &'static str {
    found.map_or_else(|error| error.reason(), |_| "found")
}

#[tokio::test]
async fn keys_are_found_by_discovery_url_and_file() {
    let key = Signer::ed25519();
    let issuer = Issuer::with_keys(&[&key]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, json!({"keys": [key.jwk_named("0")]}).to_string()).unwrap();
    let url = KeyPlace::JwksUrl(format!("{}/keys", issuer.url));
    for place in [KeyPlace::Discovery, url, KeyPlace::File(path)] {
        let source = issuer.source(place.clone());
        assert_eq!(outcome(source.find(&wanted("0"), after(0)).await), "found", "{place:?}");
        assert_eq!(outcome(source.find(&wanted("1"), after(0)).await), "TOKEN_KEY_UNKNOWN");
    }
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_or_host_is_refused() {
    let issuer = Issuer::with_keys(&[&Signer::ed25519()]).await;
    let keys = format!("{}/keys", issuer.url);
    for document in [
        json!({"issuer": format!("{}/", issuer.url), "jwks_uri": keys}),
        json!({"issuer": issuer.url.to_uppercase(), "jwks_uri": keys}),
        json!({"jwks_uri": keys}),
        json!({"issuer": issuer.url}),
        json!({"issuer": issuer.url, "jwks_uri": "http://169.254.169.254/keys"}),
        json!({"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": issuer.url, "jwks_uri": [keys]}),
    ] {
        issuer.discovers(Answer::Text(document.to_string()));
        let source = issuer.source(KeyPlace::Discovery);
        let found = source.find(&wanted("0"), after(0)).await;
        assert_eq!(outcome(found), "ISSUER_KEYS_UNAVAILABLE", "{document}");
    }
    issuer.discovers(Answer::Redirect(keys));
    let found = issuer.source(KeyPlace::Discovery).find(&wanted("0"), after(0)).await;
    assert_eq!(outcome(found), "ISSUER_KEYS_UNAVAILABLE");
    assert_eq!(issuer.fetched(), 0, "no document led to the keys");
}

#[tokio::test]
async fn a_remote_issuer_may_not_lead_us_to_this_host() {
    let source =
        KeySource::new("https://issuer.example", &KeyPlace::Discovery, Fetcher::new().unwrap());
    let reach = match source.unwrap().place {
        Place::Discovery { reach, .. } => reach,
        Place::Jwks(_) | Place::File(_) => panic!("it is discovered"),
    };
    assert!(safe_url("http://127.0.0.1/keys", reach).is_err());
    assert!(safe_url("https://issuer.example/keys", reach).is_ok());
}

#[tokio::test]
async fn large_slow_moved_and_broken_answers_give_no_keys_and_a_word_to_try_again() {
    let issuer = Issuer::start().await;
    let key = Signer::ed25519();
    let good = json!({"keys": [key.jwk_named("0")]}).to_string();
    let twins = json!({"keys": [key.jwk_named("0"), key.jwk_named("0")]});
    for answer in [
        Answer::Text(good.clone() + &" ".repeat(10 * 1024 * 1024)),
        Answer::Text(good.clone() + &" ".repeat(JWKS_BYTES - good.len() + 1)),
        Answer::Drip,
        Answer::Redirect("/moved".into()),
        Answer::Redirect("http://169.254.169.254/".into()),
        Answer::Status(500),
        Answer::Status(204),
        Answer::Text(twins.to_string()),
        Answer::Text("<html>".into()),
        Answer::Text(String::new()),
    ] {
        issuer.says(answer);
        let before = issuer.fetched();
        let error = issuer.jwks().find(&wanted("0"), after(0)).await.err().unwrap();
        assert_eq!(issuer.fetched(), before + 1);
        assert!(error.is_passing());
        let expected = format!(
            "the keys of issuer `{}` can't be had now; try again in a few seconds",
            issuer.url
        );
        assert_eq!(error.to_string(), expected);
    }
    issuer.says(Answer::Text(good.clone() + &" ".repeat(JWKS_BYTES - good.len())));
    assert_eq!(outcome(issuer.jwks().find(&wanted("0"), after(0)).await), "found");
}

#[tokio::test]
async fn an_unknown_key_makes_it_ask_again_but_not_more_often_than_the_limit() {
    let (one, two) = (Signer::ed25519(), Signer::ed25519());
    let issuer = Issuer::with_keys(&[&one]).await;
    let source = issuer.jwks();
    assert_eq!(outcome(source.find(&wanted("0"), after(0)).await), "found");
    issuer.has(&[&one, &two]);
    for _ in 0..50 {
        assert_eq!(outcome(source.find(&wanted("1"), after(29)).await), "TOKEN_KEY_UNKNOWN");
    }
    assert_eq!(issuer.fetched(), 1);
    assert_eq!(outcome(source.find(&wanted("1"), after(30)).await), "found");
    assert_eq!(issuer.fetched(), 2);
}

#[tokio::test]
async fn fresh_keys_are_not_asked_for_again_and_old_ones_are() {
    let key = Signer::ed25519();
    let issuer = Issuer::with_keys(&[&key]).await;
    let source = issuer.jwks();
    for seconds in [0, 1, 299] {
        assert_eq!(outcome(source.find(&wanted("0"), after(seconds)).await), "found");
    }
    assert_eq!(issuer.fetched(), 1);
    issuer.has(&[]);
    assert_eq!(outcome(source.find(&wanted("0"), after(300)).await), "TOKEN_KEY_UNKNOWN");
    assert_eq!(issuer.fetched(), 2);
}

#[tokio::test]
async fn old_keys_serve_an_hour_while_the_issuer_is_down_and_then_no_more() {
    let issuer = Issuer::with_keys(&[&Signer::ed25519()]).await;
    let source = issuer.jwks();
    assert_eq!(outcome(source.find(&wanted("0"), after(0)).await), "found");
    issuer.says(Answer::Status(503));
    assert_eq!(outcome(source.find(&wanted("0"), after(300)).await), "found");
    assert_eq!(outcome(source.find(&wanted("0"), after(304)).await), "found");
    assert_eq!(issuer.fetched(), 2, "a failed fetch is not repeated at once");
    assert_eq!(outcome(source.find(&wanted("0"), after(3599)).await), "found");
    assert_eq!(outcome(source.find(&wanted("0"), after(3600)).await), "ISSUER_KEYS_UNAVAILABLE");
    issuer.has(&[&Signer::ed25519()]);
    assert_eq!(outcome(source.find(&wanted("0"), after(3700)).await), "found");
}

#[tokio::test]
async fn many_callers_share_one_fetch_and_one_that_gives_up_stops_nobody() {
    let key = Signer::ed25519();
    let issuer = Issuer::start().await;
    issuer.says(Answer::Held(json!({"keys": [key.jwk_named("0")]}).to_string()));
    let source = issuer.jwks();
    let ask = || {
        let source = Arc::clone(&source);
        tokio::spawn(async move { outcome(source.find(&wanted("0"), after(0)).await) })
    };
    let first = ask();
    issuer.answers.asked.notified().await;
    first.abort();
    let others: Vec<_> = (0..20).map(|_| ask()).collect();
    issuer.answers.go.notify_one();
    for other in others {
        assert_eq!(other.await.unwrap(), "found");
    }
    assert_eq!(issuer.fetched(), 1);
}
