//! Each answer, honest or not, and its outcome.

use serde_json::{Value, json as value};

use super::{
    NOW, ask,
    fake::{DELETE, Fake, LOOK_UP, MINT, Reply, json},
    good, tell, token_answer,
};

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
        (refusal(400, &"x ".repeat(500)), "the upstream refused: it answered 400: `x x"),
        (Reply::Html(404), "it answered 404; install"),
        (limited(vec![("retry-after", "60".into())]), "limits the rate of calls Some(60s)"),
        (limited(vec![("retry-after", "-1".into())]), "limits the rate of calls None"),
        (limited(vec![("retry-after", "1000000000".into())]), "limits the rate of calls None"),
        (
            limited(vec![("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", reset)]),
            "limits the rate of calls Some(90s)",
        ),
        (
            limited(vec![("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", "1".into())]),
            "limits the rate of calls None",
        ),
        (
            limited(vec![("x-ratelimit-remaining", "4999".into())]),
            "the upstream refused: it answered 403: `slow down`",
        ),
        (refusal(403, "You have exceeded a secondary rate limit"), "limits the rate of calls None"),
        (refusal(429, "slow down"), "limits the rate of calls None"),
        (
            Reply::Json(302, vec![("location", "http://127.0.0.1:1/".into())], String::new()),
            "it answered 302, a redirect, which is never followed",
        ),
        (refusal(500, "oops"), "answer was lost: it answered 500: `oops`"),
        (Reply::Html(502), "answer was lost: it answered 502"),
        (Reply::Html(201), "answer was lost: the answer is not JSON by its content type"),
        (json(201, ""), "answer was lost: the answer is not the JSON that GitHub documents"),
        (json(200, r#"{"message":"error"}"#), "answer was lost: the answer is not the JSON"),
        (json(201, "[".repeat(100_000)), "answer was lost: the answer is not the JSON"),
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
                good().replacen('{', r#"{"token":"ghs_another_token_of_forty_characters","#, 1),
            ),
            "answer was lost: the answer is not the JSON",
        ),
        (Reply::Endless, "answer was lost: the answer is longer than 262144 bytes"),
        (Reply::Never, "answer was lost: no answer within"),
        (Reply::Echo(422), "the upstream refused: it answered 422: `no … no`"),
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
    let twice = good().replace(r#""contents":"write""#, r#""contents":"write","contents":"read""#);
    assert_ne!(twice, good());
    let repositories =
        |names: &[&str]| names.iter().map(|name| value!({ "full_name": name })).collect::<Value>();
    for (answer, expected) in [
        (
            token_answer("permissions", value!({"contents": "write", "issues": "read"})),
            "has `issues:read`, which was not asked for",
        ),
        (token_answer("permissions", value!({"contents": "admin"})), "has `contents:admin`"),
        (
            token_answer("permissions", value!({"contents": "wr\u{1b}ite"})),
            "has `contents:wr\u{fffd}ite`",
        ),
        (token_answer("permissions", value!({"metadata": "write"})), "has `metadata:write`"),
        (token_answer("permissions", Value::Null), "does not say which permissions"),
        (token_answer("permissions", value!(["contents"])), "does not say which permissions"),
        (twice, "does not say which permissions"),
        (
            token_answer("repository_selection", value!("all")),
            "not limited to selected repositories",
        ),
        (token_answer("repository_selection", Value::Null), "not limited to selected repositories"),
        (token_answer("repositories", Value::Null), "does not say which repository"),
        (token_answer("repositories", repositories(&[])), "does not say which repository"),
        (token_answer("repositories", value!([7])), "does not say which repository"),
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
        (token_answer("expires_at", value!("soon")), "not a time within the next hour"),
        (token_answer("expires_at", value!(NOW)), "not a time within the next hour"),
        (token_answer("expires_at", Value::Null), "not a time within the next hour"),
        (token_answer("token", value!("ghs_short")), "a token of 9 characters is none"),
        (token_answer("token", value!("x".repeat(2049))), "a token of 2049 characters is none"),
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
    let told = tell(ask(&fake.says(DELETE, Reply::Html(500)).minter()).await, "x.y.zz");
    assert!(
        told.ends_with(
            "did not confirm the revocation: DELETE /installation/token: it answered 500"
        ),
        "{told}"
    );
}

#[tokio::test]
async fn an_answer_in_another_time_zone_or_case_or_with_less_is_as_good() {
    for (member, changed) in [
        ("expires_at", value!("2026-01-01T03:00:00+02:00")),
        ("permissions", value!({"contents": "read"})),
        ("repositories", value!([{ "full_name": "acme/api" }])),
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
        (json(200, r#"{"id":"7"}"#), "can't be reached: the answer is not the JSON"),
        (json(200, r#"{"id":-7}"#), "can't be reached: the answer is not the JSON"),
        (json(200, r#"{"id":7,"id":8}"#), "can't be reached: the answer is not the JSON"),
        (Reply::Html(200), "can't be reached: the answer is not JSON by its content type"),
        (Reply::Never, "can't be reached: no answer within"),
    ] {
        let fake = Fake::start(&good()).await;
        let outcome = ask(&fake.says(LOOK_UP, reply).minter()).await;
        let told = tell(outcome, &fake.seen(LOOK_UP)[0].bearer);
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(fake.seen(MINT).is_empty());
    }
}
