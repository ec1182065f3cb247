//! Real git through the gateway: what may be done is done, what may not is refused in words that git shows.

use jeton_tests::gateway::{Agent, Scene};

const WRITE: &str = "git:acme/* contents:write ref=agent/*";
const READ: &str = "git:acme/* contents:read";

async fn cloned(scene: &Scene, envelope: &[&str]) -> Agent {
    let agent = scene.agent(envelope).await;
    agent.git.run(".", &["clone", "-q", &scene.url("acme/api"), "work"]).await.succeeded();
    agent
}

#[tokio::test]
async fn an_agent_clones_pushes_to_its_branch_and_is_refused_on_main_in_words() {
    let scene = Scene::start().await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    let commit = scene.commit(&agent.git, "work", "fix", b"the fix\n").await;
    agent.git.run("work", &["push", "origin", "HEAD:refs/heads/agent/fix"]).await.succeeded();
    assert_eq!(scene.host.tip("acme/api", "refs/heads/agent/fix"), Some(commit.clone()));

    let before = scene.host.tip("acme/api", "refs/heads/main");
    let said = agent.git.run("work", &["push", "origin", "HEAD:refs/heads/main"]).await.failed();
    for words in [
        "remote: jeton: refs/heads/main is outside this session's scope (agent/*)",
        "! [remote rejected] HEAD -> main",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(scene.host.tip("acme/api", "refs/heads/main"), before);
    agent.git.run("work", &["fetch", "-q", "origin", "agent/fix"]).await.succeeded();
}
