//! The GitHub path against the emulator that others wrote, with the front before it for what the
//! emulator lacks and for what no honest upstream does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jeton_client::{EntryFilter, PageOf};
use jeton_domain::audit::{Entry, Event};
use jeton_proto::v1::{
    GrantState, ReleaseGrantRequest, RenewGrantRequest, RequestGrantRequest, UpstreamRevocation,
};
use jeton_tests::{
    broker::{Broker, scope},
    emulate::AppKey,
    eventually::within,
    github::{APP, Github, INSTALLATION, SOON, Scene},
    github_front::{Call, Expiry, Script},
    records::Records,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const WEB: &str = "github:acme/web contents:read";

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_was_asked_and_nothing_beside_it() {
    let scene = Scene::set().await;
    let (_, token) = scene.token(WEB).await;
    let witnessed = scene.github.emulator().witness_tokens().await;
    let [one] = witnessed.as_slice() else { panic!("{witnessed:?}") };
    assert_eq!((one.app.id, one.installation.id), (APP, INSTALLATION));
    assert_eq!(one.repository_selection, "selected");
    assert_eq!(one.repository_ids.len(), 1);
    let more: BTreeMap<_, _> =
        one.permissions.iter().filter(|(name, _)| *name != "metadata").collect();
    assert_eq!(more, BTreeMap::from([(&"contents".to_owned(), &"read".to_owned())]));
    let opened = scene.github.front.opens(&token).unwrap();
    assert_eq!(opened.repositories, ["acme/web"]);
    assert_eq!(scene.github.opening(&token, "acme/web").await, 200);
    assert_eq!(
        scene.github.opening(&token, "acme/api").await,
        403,
        "installed there, but not asked for"
    );
    assert_eq!(scene.github.opening(&token, "acme/vault").await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_witness_and_our_log_agree_token_by_token() {
    let mut scene = Scene::set().await;
    let mut granted = Vec::new();
    for text in [WEB, "github:acme/api contents:read", WEB, "github:acme/api contents:write"] {
        match scene.agent.requests(text).await {
            Ok(answer) => granted.push((answer.grant.unwrap().id, text)),
            // The example policies may refuse to write without a ref; then nothing may be minted.
            Err(refused) => assert_eq!(reason(&refused), "DENIED", "{refused:?}"),
        }
    }
    scene.agent.requests("github:acme/vault contents:read").await.unwrap_err();
    let renew = RenewGrantRequest { id: granted[0].0.clone(), ..Default::default() };
    scene.agent.grants().renew_grant(renew).await.unwrap();
    granted.push(granted[0].clone());
    let witnessed = scene.github.emulator().witness_tokens().await;

    scene.broker.stop();
    let mut logged = Vec::new();
    let mut intents = 0;
    for event in Records::open(scene.broker.data()).events() {
        match event {
            Event::Intent { .. } => intents += 1,
            Event::Issued { about, fingerprint, .. }
            | Event::Renewed { about, fingerprint, .. } => {
                logged.push((about.grant.to_string(), about.scope, fingerprint));
            }
            _ => {}
        }
    }
    assert_eq!(logged.len(), granted.len(), "what agents got is what the log holds");
    assert_eq!(witnessed.len(), logged.len(), "one token each, and no token beside them");
    assert!(intents >= witnessed.len(), "each was announced");
    let fingerprints: BTreeSet<_> = logged.iter().map(|(.., fingerprint)| fingerprint).collect();
    assert_eq!(fingerprints.len(), logged.len(), "each token has its own fingerprint");
    let minted = scene.github.front.minted();
    for (((id, scope, _), (granted, text)), (token, seen)) in
        logged.iter().zip(&granted).zip(witnessed.iter().zip(&minted))
    {
        assert_eq!((id, scope.to_string()), (granted, (*text).to_owned()));
        assert_eq!(seen.repositories, [scope.resource.to_string()]);
        let level = if text.ends_with("write") { "write" } else { "read" };
        assert_eq!(token.permissions["contents"], level);
        assert_eq!(token.repository_ids.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_stands_otherwise_than_recorded_is_found_told_and_taken_back() {
    let github = Github::pretended().await;
    let broker = Broker::start_with(|data| {
        github.configure(data);
        let file = data.join("jetond.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + "reconcile_seconds = 1\n").unwrap();
    });
    let scene = Scene::before(github, broker).await;
    let (kept, _) = scene.token(WEB).await;
    let (gone, dead) = scene.token(WEB).await;
    let (moved, other) = scene.token(WEB).await;
    let (wider, more) = scene.token(WEB).await;
    // Somebody else's hand: the token is revoked there, a repository is renamed, one is added.
    let url = format!("{}/installation/token", scene.github.front.url());
    let told = reqwest::Client::new().delete(url).bearer_auth(&dead).send().await.unwrap();
    assert_eq!(told.status().as_u16(), 204);
    scene.github.front.opens_now(&other, &["acme/api"]);
    scene.github.front.opens_now(&more, &["acme/api", "acme/web"]);
    let auditor = scene.broker.client("audrey").await;
    let found = within(SOON, "each is told", async || {
        let filter = EntryFilter { event: Some("drift_found".into()), ..Default::default() };
        let page = PageOf { size: 10, token: None };
        let found = auditor.list_entries(filter, false, page).await.unwrap().items;
        (found.len() >= 3).then_some(found)
    })
    .await;
    let words: BTreeMap<String, String> = found
        .iter()
        .map(|found| {
            let Event::DriftFound { of, found } =
                Entry::parse(found.text.as_bytes()).unwrap().event
            else {
                panic!("{}", found.text)
            };
            (of.grant.to_string(), found.as_str().to_owned())
        })
        .collect();
    assert_eq!(words[&gone.id], "github no longer takes its credential");
    assert_eq!(words[&moved.id], "at github: it opens `acme/api` and not `acme/web`");
    assert_eq!(words[&wider.id], "at github: it opens 2 repositories");
    for id in [&moved.id, &wider.id] {
        assert_eq!(scene.is_confirmed(id).await.state(), GrantState::Revoked);
    }
    assert_eq!(scene.grant(&kept.id).await.state(), GrantState::Active);
    assert_eq!(scene.grant(&gone.id).await.state(), GrantState::Active, "told, and no more");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let filter = EntryFilter { event: Some("drift_found".into()), ..Default::default() };
    let page = PageOf { size: 10, token: None };
    let found = auditor.list_entries(filter, false, page).await.unwrap().items;
    assert_eq!(found.len(), 3, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_installation_does_not_have_is_refused_upstream() {
    let scene = Scene::set().await;
    let refused = scene.agent.requests("github:acme/web pull_requests:read").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert_eq!(reason(&refused), "UPSTREAM_REFUSED", "{refused:?}");
    assert!(refused.message().contains("422"), "{}", refused.message());
    let grant = scene.newest().await;
    assert_eq!(grant.state(), GrantState::Failed);
    assert_eq!(grant.upstream_revocation(), UpstreamRevocation::NotNeeded);
    assert!(scene.github.emulator().witness_tokens().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_app_key_is_the_platform_teams_matter_and_agents_learn_no_more() {
    let github = Github::real().await;
    let other = AppKey::generate();
    let broker = Broker::start_with(|data| github.configure_with(data, other.pem()));
    let scene = Scene::before(github, broker).await;
    let refused = scene.agent.requests(WEB).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "UPSTREAM_REFUSED_BROKER");
    assert_eq!(refused.message(), "the upstream refused the broker itself; tell the platform team");
    for private in ["JSON web token", "401", "signature", "key"] {
        assert!(!format!("{refused:?}").contains(private), "`{private}` in {refused:?}");
    }
    assert_eq!(scene.newest().await.state(), GrantState::Failed);
    assert!(scene.broker.log().contains("401"), "the operator's log says more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_the_app_says_what_to_install() {
    let scene = Scene::set().await;
    let refused = scene.agent.requests("github:acme/vault contents:read").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "UPSTREAM_NOT_INSTALLED");
    assert!(refused.message().contains("install the GitHub App"), "{}", refused.message());
    assert_eq!(scene.newest().await.state(), GrantState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_passed_on_with_the_time_to_wait() {
    let scene = Scene::set().await;
    for (script, wait) in
        [(Script::RateLimited403 { retry_after: Some(7) }, 7), (Script::TooMany429, 60)]
    {
        scene.github.front.next(Call::Mint, script);
        let refused = scene.agent.requests(WEB).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(reason(&refused), "UPSTREAM_RATE_LIMITED");
        let details = refused.get_error_details();
        let told = details.retry_info().unwrap().retry_delay;
        assert_eq!(told, Some(Duration::from_secs(wait)));
        let grant = scene.newest().await;
        assert_eq!(grant.state(), GrantState::Failed);
        assert_eq!(grant.upstream_revocation(), UpstreamRevocation::NotNeeded);
    }
    scene.token(WEB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_dead_at_github_and_seen_to_be() {
    let scene = Scene::set().await;
    let (grant, token) = scene.token(WEB).await;
    let revoked = scene.revoke(&grant.id).await;
    assert_eq!(revoked.state(), GrantState::Revoked);
    scene.is_confirmed(&grant.id).await;
    assert_eq!(scene.tries(&token), [Some(204)]);
    assert!(scene.github.front.opens(&token).is_none());
    assert_eq!(scene.github.opening(&token, "acme/web").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_token_is_dead_at_github() {
    let scene = Scene::set().await;
    let (grant, token) = scene.token(WEB).await;
    let release = ReleaseGrantRequest { id: grant.id.clone() };
    scene.agent.grants().release_grant(release).await.unwrap();
    let ended = scene.is_confirmed(&grant.id).await;
    assert_eq!(ended.state(), GrantState::Released);
    assert_eq!(scene.github.opening(&token, "acme/web").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_grant_has_a_new_token_and_the_one_before_dies() {
    let scene = Scene::set().await;
    let (grant, old) = scene.token(WEB).await;
    let renew = RenewGrantRequest { id: grant.id.clone(), ..Default::default() };
    let renewed = scene.agent.grants().renew_grant(renew).await.unwrap().into_inner();
    let new = renewed.credential.unwrap().secret;
    assert_ne!(old, new);
    within(SOON, "the old token dies", async || {
        scene.github.front.opens(&old).is_none().then_some(())
    })
    .await;
    assert_eq!(scene.github.opening(&new, "acme/web").await, 200);
    assert_eq!(scene.grant(&grant.id).await.state(), GrantState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_renewal_may_have_made_is_not_said_to_be_gone() {
    let scene = Scene::set().await;
    let (grant, old) = scene.token(WEB).await;
    scene.github.front.next(Call::Mint, Script::Slow(Duration::from_secs(2)));
    let renew = RenewGrantRequest { id: grant.id.clone(), ..Default::default() };
    let (agent, first) = (scene.agent.clone(), renew.clone());
    let renewing = tokio::spawn(async move { agent.grants().renew_grant(first).await });
    within(SOON, "the front mints", async || {
        (scene.github.front.minted().len() == 2).then_some(())
    })
    .await;
    let second = scene.agent.grants().renew_grant(renew).await.unwrap_err();
    assert!(second.message().contains("still being worked on"), "{second:?}");

    scene.revoke(&grant.id).await;
    within(SOON, "the old token dies", async || {
        scene.github.front.opens(&old).is_none().then_some(())
    })
    .await;
    let told = scene.grant(&grant.id).await.upstream_revocation();
    assert_eq!(told, UpstreamRevocation::Unsupported, "of the new one nobody knows yet");
    renewing.await.unwrap().unwrap_err();
    scene.is_confirmed(&grant.id).await;
    assert!(scene.github.front.live_tokens().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_runs_out_takes_its_token_with_it() {
    let scene = Scene::set().await;
    let request = RequestGrantRequest {
        scope: Some(scope(WEB)),
        ttl_seconds: 2,
        reason: "a moment".into(),
        request_id: String::new(),
        delivery: jeton_proto::v1::Delivery::Direct.into(),
    };
    let answer = scene.agent.grants().request_grant(request).await.unwrap().into_inner();
    let token = answer.credential.unwrap().secret;
    let ended = scene.is_confirmed(&answer.grant.unwrap().id).await;
    assert_eq!(ended.state(), GrantState::Expired);
    assert_eq!(scene.github.opening(&token, "acme/web").await, 401, "its hour was not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_more_than_was_asked_is_refused_and_taken_back() {
    let scene = Scene::set().await;
    for script in [
        Script::BroaderPermissions,
        Script::BroaderRepositories,
        Script::AllRepositories,
        Script::WrongExpiry(Expiry::Past),
        Script::WrongExpiry(Expiry::TenYears),
        Script::WrongExpiry(Expiry::Absent),
        Script::WrongExpiry(Expiry::Garbage),
    ] {
        scene.github.front.next(Call::Mint, script.clone());
        let minted = scene.github.front.minted().len();
        let refused = scene.agent.requests(WEB).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{script:?}: {refused:?}");
        assert_eq!(reason(&refused), "UPSTREAM_UNUSABLE", "{script:?}");
        assert!(!format!("{refused:?}").contains("ghs_"), "{script:?}: {refused:?}");
        assert_eq!(scene.github.front.minted().len(), minted + 1, "{script:?}");
        assert!(
            scene.github.front.live_tokens().is_empty(),
            "{script:?}: it still opens something"
        );
        let grant = scene.newest().await;
        assert_eq!(grant.state(), GrantState::Failed, "{script:?}");
        scene.is_confirmed(&grant.id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_saw_is_recorded_as_out_of_reach() {
    let scene = Scene::set().await;
    for (script, made) in [
        (Script::ServerErrorAfterAccepting, true),
        (Script::CutAfterAccepting, true),
        (Script::EmptyToken, true),
        (Script::TokenWithCrlf, true),
        (Script::TruncatedJson, true),
        (Script::Html200, false),
        (Script::HugeBody, false),
    ] {
        let before = scene.github.front.minted().len();
        scene.github.front.next(Call::Mint, script.clone());
        let began = Instant::now();
        let refused = scene.agent.requests(WEB).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(10), "{script:?} took {:?}", began.elapsed());
        assert_eq!(refused.code(), Code::Unavailable, "{script:?}: {refused:?}");
        assert_eq!(reason(&refused), "UPSTREAM_LOST", "{script:?}");
        assert!(!format!("{refused:?}").contains("ghs_"), "{script:?}: {refused:?}");
        assert_eq!(scene.github.front.minted().len(), before + usize::from(made), "{script:?}");
        let grant = scene.newest().await;
        assert_eq!(grant.state(), GrantState::Failed, "{script:?}");
        assert_eq!(grant.upstream_revocation(), UpstreamRevocation::Unsupported, "{script:?}");
    }
    let taken = scene.github.front.huge_bytes_sent();
    assert!(taken < 32 * 1024 * 1024, "{taken} bytes of a body that is never needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_waited_for() {
    let scene = Scene::set().await;
    scene.github.front.next(Call::Mint, Script::Slow(Duration::from_secs(3)));
    let (grant, token) = scene.token(WEB).await;
    assert_eq!(grant.state(), GrantState::Active);
    assert_eq!(scene.github.opening(&token, "acme/web").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_refused_and_takes_no_credential_along() {
    let scene = Scene::set().await;
    scene.github.front.next(Call::Mint, Script::Redirect);
    let refused = scene.agent.requests(WEB).await.unwrap_err();
    assert_eq!(reason(&refused), "UPSTREAM_REFUSED", "{refused:?}");
    let (grant, _) = scene.token(WEB).await;
    scene.github.front.next(Call::Revoke, Script::Redirect);
    scene.revoke(&grant.id).await;
    scene.is_confirmed(&grant.id).await;
    assert_eq!(scene.github.front.strayed(), [], "nobody went to the other host");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_old_and_the_new_length_are_passed_on_and_taken_back() {
    let scene = Scene::set().await;
    for length in [40, 520] {
        scene.github.front.next(Call::Mint, Script::TokenLength(length));
        let (grant, token) = scene.token(WEB).await;
        assert_eq!(token.len(), length);
        assert_eq!(scene.github.opening(&token, "acme/web").await, 200);
        scene.revoke(&grant.id).await;
        scene.is_confirmed(&grant.id).await;
        assert!(scene.github.front.opens(&token).is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_confirmed_only_when_the_token_is_seen_dead() {
    let scene = Scene::set().await;
    for lie in
        [Script::RevokeLies, Script::RevokeFails(500), Script::NotFound404, Script::TooMany429]
    {
        let (grant, token) = scene.token(WEB).await;
        // Why two: one failed try must be followed by another, and nothing is claimed meanwhile.
        let failing = if lie == Script::TooMany429 { 1 } else { 2 };
        if lie == Script::TooMany429 {
            // It asks for a minute, which the broker keeps; here only that nothing is claimed.
            scene.github.front.next(Call::Revoke, lie.clone());
        } else {
            scene.github.front.always(Call::Revoke, lie.clone());
        }
        scene.revoke(&grant.id).await;
        within(SOON, &format!("{lie:?} is tried"), async || {
            (scene.tries(&token).len() >= failing).then_some(())
        })
        .await;
        let waiting = scene.grant(&grant.id).await;
        assert_eq!(waiting.upstream_revocation(), UpstreamRevocation::Pending, "{lie:?}");
        assert_eq!(waiting.state(), GrantState::Revoked, "{lie:?}");
        assert!(scene.github.front.opens(&token).is_some(), "{lie:?} leaves it alive");
        if lie != Script::TooMany429 {
            scene.github.front.always(Call::Revoke, Script::Honest);
            scene.is_confirmed(&grant.id).await;
            assert!(scene.github.front.opens(&token).is_none(), "{lie:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_makes_one_token_however_often_it_is_sent() {
    let scene = Scene::set().await;
    scene.github.front.next(Call::Mint, Script::Slow(Duration::from_millis(500)));
    let (first, second) = tokio::join!(
        scene.agent.requests_with_id(WEB, "once"),
        scene.agent.requests_with_id(WEB, "once")
    );
    let mut secrets = BTreeSet::new();
    for answer in [first, second] {
        match answer {
            Ok(answer) => {
                secrets.insert(answer.credential.unwrap().secret);
            }
            Err(status) => assert_eq!(reason(&status), "IN_PROGRESS", "{status:?}"),
        }
    }
    let again = scene.agent.requests_with_id(WEB, "once").await.unwrap();
    secrets.insert(again.credential.unwrap().secret);
    assert_eq!(secrets.len(), 1);
    assert_eq!(scene.github.emulator().witness_tokens().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_revoked_while_it_is_minted_never_reaches_its_agent() {
    let scene = Scene::set().await;
    scene.github.front.next(Call::Mint, Script::Slow(Duration::from_secs(2)));
    let agent = scene.agent.clone();
    let asking = tokio::spawn(async move { agent.requests(WEB).await });
    within(SOON, "the front mints", async || {
        (scene.github.front.minted().len() == 1).then_some(())
    })
    .await;
    let minting = scene.newest().await;
    assert_eq!(minting.state(), GrantState::Minting);
    let revoked = scene.revoke(&minting.id).await;
    assert_eq!(revoked.state(), GrantState::Revoked);

    let refused = asking.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let ended = scene.is_confirmed(&minting.id).await;
    assert_eq!(ended.state(), GrantState::Revoked, "who revoked it stays on record");
    assert!(scene.github.front.live_tokens().is_empty());
}
