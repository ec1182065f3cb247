//! Every way in which the front can be told to go wrong.

use std::time::Duration;

use jeton_tests::github_front::{Behind, Call, Expiry, GithubFront, Script};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::scene::{INSTALLATION, MINT, Scene, narrow, seed};

#[tokio::test]
async fn a_broader_token_than_asked_for_says_so_and_is_one() {
    for scene in Scene::both().await {
        scene.front.next(Call::Mint, Script::BroaderPermissions);
        let told = scene.mint(&narrow()).await;
        assert!(told.body["permissions"].as_object().unwrap().len() > 1, "{told:?}");

        scene.front.next(Call::Mint, Script::BroaderRepositories);
        let told = scene.mint(&narrow()).await;
        assert!(told.body["repositories"].as_array().unwrap().len() > 1, "{told:?}");
        let token = told.body["token"].as_str().unwrap();
        assert_eq!(scene.get(token, "/repos/acme/api").await.status, 200);

        scene.front.next(Call::Mint, Script::AllRepositories);
        let told = scene.mint(&narrow()).await;
        assert_eq!(told.body["repository_selection"], "all");
        assert_eq!(told.body.get("repositories"), None);

        let ledger = scene.front.minted();
        assert_eq!(ledger[0].permissions.len(), 3);
        assert_eq!(ledger[1].repositories, ["acme/api", "acme/web"]);
    }
}

#[tokio::test]
async fn broader_is_made_up_where_the_installation_has_no_more_to_give() {
    let scene = Scene::before_nothing().await;
    let all = json!({
        "repositories": ["api", "web"],
        "permissions": { "contents": "write", "issues": "write", "metadata": "read" },
    });
    scene.front.next(Call::Mint, Script::BroaderPermissions);
    let told = scene.mint(&all).await;
    assert_eq!(told.body["permissions"]["administration"], "write");
    scene.front.next(Call::Mint, Script::BroaderRepositories);
    let told = scene.mint(&all).await;
    assert_eq!(told.body["repositories"][2]["full_name"], "acme/not-asked-for");
}

#[tokio::test]
async fn an_answer_lost_after_accepting_leaves_a_live_token_that_nobody_holds() {
    for scene in Scene::both().await {
        for (script, status) in [
            (Script::ServerErrorAfterAccepting, 502),
            (Script::CutAfterAccepting, 0),
            (Script::TruncatedJson, 201),
            (Script::EmptyToken, 201),
            (Script::TokenWithCrlf, 201),
        ] {
            let before = scene.front.live_tokens().len();
            scene.front.next(Call::Mint, script.clone());
            let told = scene.mint(&narrow()).await;
            assert_eq!(told.status, status, "{script:?}");
            let live = scene.front.live_tokens();
            assert_eq!(live.len(), before + 1, "{script:?}");
            assert!(!live[before].delivered, "{script:?}");
            match script {
                Script::TruncatedJson => assert_eq!(told.body, Value::Null),
                Script::EmptyToken => assert_eq!(told.body["token"], ""),
                Script::TokenWithCrlf => {
                    assert!(told.body["token"].as_str().unwrap().contains("\r\n"));
                }
                _ => {}
            }
        }
        if let Some(emulator) = &scene.emulator {
            assert_eq!(emulator.witness_tokens().await.len(), 5);
        }
    }
}

#[tokio::test]
async fn tokens_of_the_old_and_the_new_length_work_alike() {
    for scene in Scene::both().await {
        for length in [40, 520] {
            scene.front.next(Call::Mint, Script::TokenLength(length));
            let token = scene.token(&narrow()).await;
            assert_eq!(token.len(), length);
            assert!(token.starts_with("ghs_"));
            assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 200);
            assert_eq!(scene.revoke(&token).await.status, 204);
            assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 401);
        }
    }
}

#[tokio::test]
async fn a_wrong_expiry_is_told_but_the_ledger_keeps_the_true_one() {
    let scene = Scene::before_nothing().await;
    for expiry in [Expiry::Past, Expiry::TenYears, Expiry::Absent, Expiry::Garbage] {
        scene.front.next(Call::Mint, Script::WrongExpiry(expiry));
        let told = scene.mint(&narrow()).await;
        let text = told.body.get("expires_at").map(|value| value.as_str().unwrap());
        let time = text.and_then(|text| text.parse::<Timestamp>().ok());
        let now = jeton_tests::now();
        match expiry {
            Expiry::Past => assert!(time.unwrap() < now),
            Expiry::TenYears => assert!(time.unwrap() > now + SignedDuration::from_hours(80_000)),
            Expiry::Absent => assert_eq!(text, None),
            Expiry::Garbage => assert!(text.is_some() && time.is_none()),
        }
    }
    assert_eq!(scene.front.live_tokens().len(), 4);
}

#[tokio::test]
async fn refusals_mint_nothing_and_come_as_scripted() {
    let scene = Scene::before_nothing().await;
    for (script, status) in [
        (Script::RateLimited403 { retry_after: Some(-1) }, 403),
        (Script::TooMany429, 429),
        (Script::Unauthorized401, 401),
        (Script::NotFound404, 404),
        (Script::Html200, 200),
    ] {
        scene.front.next(Call::Mint, script);
        assert_eq!(scene.mint(&narrow()).await.status, status);
    }
    assert!(scene.front.minted().is_empty());
    assert_eq!(scene.mint(&narrow()).await.status, 201, "after the scripts comes honesty");

    scene.front.always(Call::Mint, Script::TooMany429);
    for _ in 0..3 {
        assert_eq!(scene.mint(&narrow()).await.status, 429);
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() {
    let scene = Scene::before_nothing().await;
    for (retry_after, header) in [(Some(1_000_000_000), Some("1000000000")), (None, None)] {
        scene.front.next(Call::Mint, Script::RateLimited403 { retry_after });
        let path = MINT.replace("{installation_id}", &INSTALLATION.to_string());
        let url = format!("{}{path}", scene.front.url());
        let answer = scene.client.post(url).send().await.unwrap();
        let said = answer.headers().get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(said, header);
        assert_eq!(answer.headers()["x-ratelimit-remaining"], "0");
    }
}

#[tokio::test]
async fn who_follows_a_redirect_to_another_host_is_recorded() {
    let scene = Scene::before_nothing().await;
    scene.front.next(Call::Mint, Script::Redirect);
    assert_eq!(scene.mint(&narrow()).await.status, 404);
    assert_eq!(scene.front.strayed().len(), 1);
    assert!(!scene.front.strayed()[0].with_authorization);

    let careful =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let scene = Scene { client: careful, ..scene };
    scene.front.next(Call::Mint, Script::Redirect);
    assert_eq!(scene.mint(&narrow()).await.status, 302);
    assert_eq!(scene.front.strayed().len(), 1);
}

#[tokio::test]
async fn a_huge_body_is_made_only_as_far_as_it_is_read() {
    let scene = Scene::before_nothing().await;
    scene.front.next(Call::Mint, Script::HugeBody);
    let path = MINT.replace("{installation_id}", &INSTALLATION.to_string());
    let mut answer =
        scene.client.post(format!("{}{path}", scene.front.url())).send().await.unwrap();
    let mut read = 0;
    while read < 20_000_000 {
        read += answer.chunk().await.unwrap().unwrap().len();
    }
    drop(answer);
    let sent = scene.front.huge_bytes_sent();
    assert!((20_000_000..100_000_000).contains(&sent), "{sent}");
    assert!(scene.front.minted().is_empty());
}

#[tokio::test]
async fn a_slow_answer_is_accepted_even_if_its_client_does_not_wait() {
    let scene = Scene::before_nothing().await;
    scene.front.next(Call::Mint, Script::Slow(Duration::from_secs(3600)));
    let impatient = tokio::time::timeout(Duration::from_millis(500), scene.mint(&narrow())).await;
    assert!(impatient.is_err());
    assert_eq!(scene.front.live_tokens().len(), 1);
}

#[tokio::test]
async fn a_lying_revocation_is_answered_but_the_token_lives_on() {
    for scene in Scene::both().await {
        let token = scene.token(&narrow()).await;
        scene.front.next(Call::Revoke, Script::RevokeLies);
        assert_eq!(scene.revoke(&token).await.status, 204);
        assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 200);
        scene.front.next(Call::Revoke, Script::RevokeFails(503));
        assert_eq!(scene.revoke(&token).await.status, 503);
        assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 200);
        assert_eq!(scene.front.live_tokens().len(), 1);
        assert!(scene.front.revocations().iter().all(|revocation| !revocation.took_effect));
    }
}

#[tokio::test]
async fn a_revocation_whose_answer_is_lost_has_taken_effect() {
    for scene in Scene::both().await {
        for (script, status) in
            [(Script::ServerErrorAfterAccepting, 502), (Script::CutAfterAccepting, 0)]
        {
            let token = scene.token(&narrow()).await;
            scene.front.next(Call::Revoke, script);
            assert_eq!(scene.revoke(&token).await.status, status);
            assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 401);
        }
        assert!(scene.front.live_tokens().is_empty());
    }
}

#[tokio::test]
async fn a_redirected_or_rate_limited_revocation_changes_nothing() {
    let scene = Scene::before_nothing().await;
    let token = scene.token(&narrow()).await;
    for script in [
        Script::RateLimited403 { retry_after: Some(1) },
        Script::TooMany429,
        Script::NotFound404,
        Script::Unauthorized401,
        Script::Html200,
    ] {
        scene.front.next(Call::Revoke, script);
        scene.revoke(&token).await;
        assert_eq!(scene.get(&token, "/repos/acme/web").await.status, 200);
    }
    assert_eq!(scene.front.revocations().len(), 5);
    assert_eq!(scene.revoke(&token).await.status, 204);
}

#[tokio::test]
#[should_panic(expected = "RevokeLies means nothing for Mint")]
async fn a_script_that_means_nothing_for_a_call_is_a_mistake_of_the_test() {
    let front = GithubFront::start(Behind::Nothing(seed())).await;
    front.next(Call::Mint, Script::RevokeLies);
}
