//! What the front does when nobody scripts it otherwise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jeton_tests::emulate::{AppKey, Emulator, Permissions, Selection, permissions};
use jeton_tests::github_front::{Behind, Clock, GithubFront, sha256};
use jeton_tests::loopback::Loopback;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::scene::{APP, INSTALLATION, KEY, MINT, Scene, narrow, seed};

#[tokio::test]
async fn a_narrowed_token_opens_its_repository_and_no_other() {
    for scene in Scene::both().await {
        let token = scene.token(&narrow()).await;
        assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 200);
        assert_ne!(scene.get(&token, "/repos/acme/api").await.status, 200);
        assert_ne!(scene.get(&token, "/repos/acme/vault").await.status, 200);
    }
}

#[tokio::test]
async fn more_than_the_installation_has_is_not_minted() {
    for scene in Scene::both().await {
        for (asked, status) in [
            (json!({ "repositories": ["vault"] }), 422),
            (json!({ "permissions": { "metadata": "write" } }), 422),
            (json!({ "permissions": { "secrets": "read" } }), 422),
        ] {
            assert_eq!(scene.mint(&asked).await.status, status, "{asked}");
        }
        assert!(scene.front.minted().is_empty());
    }
}

#[tokio::test]
async fn the_emulator_bears_witness_to_every_token_in_the_ledger() {
    let scene = Scene::before_the_emulator().await;
    scene.token(&narrow()).await;
    scene.token(&json!({})).await;
    let witnessed = scene.emulator.as_ref().unwrap().witness_tokens().await;
    let ledger = scene.front.minted();
    let of_witness: Vec<&Permissions> = witnessed.iter().map(|token| &token.permissions).collect();
    let of_ledger: Vec<&Permissions> = ledger.iter().map(|token| &token.permissions).collect();
    assert_eq!(of_witness, of_ledger);
    assert_eq!(of_ledger[0], &permissions(&[("contents", "read")]));
    assert!(witnessed.iter().all(|token| token.app.id == APP));
    assert!(witnessed.iter().all(|token| token.installation.id == INSTALLATION));
    assert_eq!(witnessed[0].repository_ids.len(), 1);
    assert_eq!(ledger[0].repositories, ["acme/web"]);
    assert_eq!(ledger[0].expires, witnessed[0].expires_at);
}

#[tokio::test]
async fn a_revoked_token_is_dead_on_every_path() {
    for scene in Scene::both().await {
        let (token, other) = (scene.token(&narrow()).await, scene.token(&narrow()).await);
        assert_eq!(scene.front.live_tokens().len(), 2);

        let answer = scene.revoke(&token).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        for path in ["/repos/acme/web", "/installation/repositories", "/user", "/nowhere"] {
            let answer = scene.get(&token, path).await;
            assert_eq!((answer.status, &answer.body["message"]), (401, &json!("Bad credentials")));
        }
        assert_eq!(scene.revoke(&token).await.status, 401);
        assert_eq!(scene.get(&other, "/repos/acme/web").await.status, 200);

        let live = scene.front.live_tokens();
        assert_eq!(live.len(), 1);
        assert_eq!(live[0].sha256, sha256(&other));
        assert!(scene.front.opens(&other).is_some() && scene.front.opens(&token).is_none());
        let ended = scene.front.minted()[0].revoked.clone().unwrap();
        assert_eq!(ended.status, Some(204));
        let seen: Vec<_> =
            scene.front.revocations().iter().map(|r| (r.status, r.took_effect)).collect();
        assert_eq!(seen, [(Some(204), true), (Some(401), false)]);
    }
}

#[tokio::test]
async fn a_token_is_dead_when_its_time_is_over() {
    for scene in Scene::both().await {
        let token = scene.token(&narrow()).await;
        scene.front.age_tokens(SignedDuration::from_mins(59));
        assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 200);
        scene.front.age_tokens(SignedDuration::from_mins(1));
        assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 401);
        assert!(scene.front.live_tokens().is_empty());
    }
}

#[tokio::test]
async fn a_front_before_nothing_goes_by_the_clock_it_is_given() {
    let time = Arc::new(Mutex::new("2031-01-01T00:00:00Z".parse::<Timestamp>().unwrap()));
    let read = Arc::clone(&time);
    let clock: Clock = Arc::new(move || *read.lock().unwrap());
    let front = GithubFront::start_at(Behind::Nothing(seed()), clock).await;
    let scene = Scene { front, emulator: None, client: reqwest::Client::new() };

    let now = time.lock().unwrap().as_second();
    let told = scene.mint_with(&KEY.jwt(APP, now), &narrow()).await;
    assert_eq!(told.body["expires_at"], "2031-01-01T01:00:00Z");
    assert_eq!(scene.front.live_tokens().len(), 1);
    *time.lock().unwrap() += SignedDuration::from_hours(1);
    assert_eq!(scene.front.live_tokens().len(), 0);
}

#[tokio::test]
async fn an_app_jwt_lives_ten_minutes_at_most() {
    for scene in Scene::both().await {
        let now = jeton_tests::now().as_second();
        let iss = APP.to_string();
        for (claims, status) in [
            (json!({ "iss": iss, "iat": now - 1, "exp": now + 599 }), 201),
            (json!({ "iss": APP, "iat": now - 60, "exp": now + 500 }), 201),
            (json!({ "iss": iss, "iat": now, "exp": now + 601 }), 401),
            (json!({ "iss": iss, "iat": now - 60, "exp": now + 599 }), 401),
            (json!({ "iss": iss, "iat": now + 3600, "exp": now + 4000 }), 401),
            (json!({ "iss": iss, "iat": now - 60, "exp": now - 1 }), 401),
            (json!({ "iss": iss, "iat": now }), 401),
            (json!({ "iss": iss, "exp": now + 60 }), 401),
            (json!({ "iss": iss, "iat": now, "exp": "soon" }), 401),
            (json!({ "iat": now, "exp": now + 60 }), 401),
        ] {
            let told = scene.mint_with(&KEY.sign(&claims), &narrow()).await;
            assert_eq!(told.status, status, "{claims}: {told:?}");
        }
        assert_eq!(scene.mint_with("a.b.c", &narrow()).await.status, 401);
        assert_eq!(scene.mint_with("", &narrow()).await.status, 401);
    }
}

#[tokio::test]
async fn a_jwt_of_another_key_is_refused_by_the_emulator() {
    let scene = Scene::before_the_emulator().await;
    let stranger = AppKey::generate();
    let jwt = stranger.jwt(APP, jeton_tests::now().as_second());
    assert_eq!(scene.mint_with(&jwt, &narrow()).await.status, 401);
}

#[tokio::test]
async fn a_token_that_never_came_from_here_is_refused() {
    for scene in Scene::both().await {
        let invented = format!("ghs_{}", "a".repeat(36));
        assert_eq!(scene.get(&invented, "/repos/acme/web").await.status, 401);
        assert_eq!(scene.revoke(&invented).await.status, 401);
    }
}

#[tokio::test]
async fn the_repositories_of_a_token_come_a_page_at_a_time() {
    let mut whole = seed();
    whole.apps[0].installations[0].repository_selection = Selection::All;
    whole.apps[0].installations[0].repositories.clear();
    let emulator = Emulator::start(&whole).await.unwrap();
    for behind in [Behind::Emulator(emulator.url().to_owned()), Behind::Nothing(whole.clone())] {
        let front = GithubFront::start(behind).await;
        let scene = Scene { front, emulator: None, client: reqwest::Client::new() };
        let token = scene.token(&json!({})).await;
        let mut names = Vec::new();
        for page in 1..=2 {
            let path = format!("/installation/repositories?per_page=2&page={page}");
            let told = scene.get(&token, &path).await;
            assert_eq!(told.body["total_count"], 3, "{told:?}");
            for repository in told.body["repositories"].as_array().unwrap() {
                names.push(repository["full_name"].as_str().unwrap().to_owned());
            }
        }
        names.sort();
        assert_eq!(names, ["acme/api", "acme/vault", "acme/web"]);
    }
}

#[tokio::test]
async fn the_emulator_ends_with_its_handle() {
    let emulator = Emulator::start(&seed()).await.unwrap();
    let address = emulator.url().trim_start_matches("http://").to_owned();
    assert!(tokio::net::TcpStream::connect(&address).await.is_ok());
    drop(emulator);
    let gone = async { while tokio::net::TcpStream::connect(&address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn a_token_is_in_the_ledger_though_its_client_left_before_it_was_minted() {
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (was_asked, may_go_on) = (Arc::clone(&asked), Arc::clone(&go_on));
    let hesitating = Loopback::serve(move |_| {
        let (asked, go_on) = (Arc::clone(&was_asked), Arc::clone(&may_go_on));
        async move {
            asked.notify_one();
            go_on.notified().await;
            let token = json!({ "token": "ghs_late", "expires_at": "2999-01-01T00:00:00Z" });
            let answer = http::Response::builder().status(201);
            Ok(answer.body(token.to_string().into()).unwrap())
        }
    })
    .await;
    let front = GithubFront::start(Behind::Emulator(hesitating.url())).await;

    let mut client = TcpStream::connect(front.url().trim_start_matches("http://")).await.unwrap();
    let path = MINT.replace("{installation_id}", "1");
    let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    asked.notified().await;
    client.shutdown().await.unwrap();
    assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0, "the front hung up too");

    go_on.notify_one();
    let recorded = async {
        while front.minted().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), recorded).await.unwrap();
}
