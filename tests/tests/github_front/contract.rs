//! The honest answers against the OpenAPI description that GitHub publishes.

use jeton_tests::openapi::{Answer, OpenApi};
use serde_json::json;

use crate::scene::{APP, KEY, MINT, Scene, narrow};

#[tokio::test]
async fn the_honest_answers_keep_githubs_published_contract() {
    let contract = OpenApi::of_github();
    for scene in Scene::both().await {
        let minted = scene.mint(&narrow()).await;
        assert_eq!(minted.status, 201);
        let token = minted.body["token"].as_str().unwrap();
        let repositories = scene.get(token, "/installation/repositories").await;
        assert_eq!(repositories.status, 200);
        let revoked = scene.revoke(token).await;
        let dead = scene.get(token, "/installation/repositories").await;
        assert_eq!(dead.status, 401);
        let now = jeton_tests::now().as_second();
        let endless = KEY.sign(&json!({ "iss": APP.to_string(), "iat": now }));
        let refused = scene.mint_with(&endless, &narrow()).await;
        assert_eq!(refused.status, 401);

        for (method, path, answer) in [
            ("POST", MINT, &minted),
            ("POST", MINT, &refused),
            ("GET", "/installation/repositories", &repositories),
            ("GET", "/installation/repositories", &dead),
            ("DELETE", "/installation/token", &revoked),
        ] {
            let faults = contract.faults(method, path, &answer.as_answer());
            assert!(faults.is_empty(), "{method} {path} {}: {faults:#?}", answer.status);
        }
    }
    // The 401 for a token that is dead already is not in the contract, which names one status:
    // it is the general rule for bad credentials, and this test cannot prove it for GitHub.
    assert_eq!(contract.statuses("DELETE", "/installation/token"), [204]);
}

#[tokio::test]
async fn the_contract_is_not_kept_by_what_lacks_a_field_or_has_a_wrong_one() {
    let contract = OpenApi::of_github();
    let scene = Scene::before_nothing().await;
    let good = scene.mint(&narrow()).await.as_answer();
    let changed = |change: fn(&mut Answer)| {
        let mut answer = good.clone();
        change(&mut answer);
        contract.faults("POST", MINT, &answer).join("\n")
    };
    assert_eq!(changed(|_| {}), "");
    assert_eq!(changed(|a| a.status = 200), "status 200 is not documented");
    assert_eq!(changed(|a| a.body = None), "no body where one is documented");
    assert_eq!(
        changed(|a| drop(a.body.as_mut().unwrap().as_object_mut().unwrap().remove("token"))),
        "$.token is missing"
    );
    assert_eq!(
        changed(|a| a.body.as_mut().unwrap()["repositories"][0]["owner"]["id"] = json!("one")),
        "$.repositories[0].owner.id is not of type \"integer\""
    );
    assert_eq!(
        changed(|a| a.body.as_mut().unwrap()["permissions"]["contents"] = json!("all")),
        "$.permissions.contents is not one of the documented values"
    );
    let spoken = Answer { status: 204, body: Some(json!({})) };
    assert_eq!(
        contract.faults("DELETE", "/installation/token", &spoken),
        ["a body where none is documented"]
    );
}
