//! A revocation is believed when the token was seen to be refused.

use jeton_domain::secret::Secret;

use super::{
    TOKEN,
    fake::{DELETE, Fake, Reply, TRY, json},
    good,
};
use crate::upstream::Minter;

#[tokio::test]
async fn only_a_token_that_was_seen_to_be_refused_counts_as_revoked() {
    let ok = || json(200, r#"{"total_count":1}"#);
    let gone = || json(401, r#"{"message":"Bad credentials"}"#);
    let forbidden = || json(403, r#"{"message":"Bad credentials"}"#);
    let unknown = || json(404, r#"{"message":"Not Found"}"#);
    let limited = || Reply::Json(403, vec![("retry-after", "7".into())], "{}".into());
    for (told, tried, expected) in [
        (json(204, ""), gone(), ""),
        (json(204, ""), forbidden(), ""),
        (gone(), gone(), ""),
        (gone(), unknown(), ""),
        (forbidden(), forbidden(), ""),
        (unknown(), gone(), ""),
        (json(204, ""), ok(), "it says 204 but the token still works"),
        (gone(), ok(), "the token still works"),
        (unknown(), ok(), "the token still works"),
        (unknown(), unknown(), "no call to try the token with"),
        (json(204, ""), unknown(), "no call to try the token with"),
        (json(204, ""), json(403, "{}"), "trying the token: it answered 403"),
        (json(204, ""), Reply::Html(502), "trying the token: it answered 502"),
        (json(204, ""), Reply::Never, "trying the token: no answer within"),
        (json(500, "{}"), gone(), "DELETE /installation/token: it answered 500"),
        (json(200, "{}"), gone(), "DELETE /installation/token: it answered 200"),
        (limited(), gone(), "limits the rate of calls"),
        (json(204, ""), limited(), "limits the rate of calls"),
        (Reply::Echo(422), gone(), "it answered 422: `no … no`"),
    ] {
        let fake = Fake::start(&good()).await;
        let minter = fake.says(DELETE, told).says(TRY, tried).minter();
        match minter.revoke(&Secret::new(TOKEN.into())).await {
            Ok(()) => assert_eq!(expected, ""),
            Err(error) => {
                let words = error.to_string();
                assert!(!expected.is_empty() && words.contains(expected), "{expected}: {words}");
                assert!(!words.contains(TOKEN));
                let waits = error.retry_after.map(|wait| wait.as_secs());
                assert_eq!(waits, words.contains("limits the rate").then_some(7));
            }
        }
        assert_eq!(fake.seen(DELETE)[0].bearer, TOKEN);
    }
}

#[tokio::test]
async fn what_is_no_header_value_is_never_sent() {
    let fake = Fake::start(&good()).await;
    let error = fake.minter().revoke(&Secret::new("ghs_\r\nx: y".into())).await.unwrap_err();
    assert!(error.reason.contains("no header value"), "{error}");
    assert!(fake.seen(DELETE).is_empty());
}
