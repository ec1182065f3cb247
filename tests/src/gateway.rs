//! A broker whose gateway stands before a real git host, and a real git that goes through it.

use std::{fs, path::Path, sync::Arc};

use jeton_proto::v1::Session;
use tempfile::TempDir;

use crate::{
    broker::{Broker, Caller},
    git_host::{ByBroker, GitClient, GitHost},
};

/// All of it. Everything goes away when dropped.
pub struct Scene {
    /// The broker.
    pub broker: Broker,
    /// The host behind the gateway.
    pub host: GitHost,
    /// The folder of the agent's git.
    pub home: TempDir,
    _repositories: TempDir,
}

/// A session, and what its git is.
pub struct Agent {
    /// Its connection to the broker.
    pub caller: Caller,
    /// The session.
    pub session: Session,
    /// Its git: certificate and handle.
    pub git: GitClient,
}

impl Scene {
    /// Starts with the example policies.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with the broker's folder changed before.
    pub async fn start_with(change: impl FnOnce(&Path)) -> Self {
        let repositories = tempfile::tempdir().unwrap();
        let gate = Arc::new(ByBroker::default());
        let host = GitHost::start(repositories.path(), Arc::clone(&gate) as _).await;
        let url = host.url();
        let broker = Broker::start_with(|data| {
            let file = data.join("jetond.toml");
            let text = fs::read_to_string(&file).unwrap();
            let own = "audience = \"https://git.dev.jeton.local\"\n";
            fs::write(&file, text.replace(own, &format!("{own}git = \"{url}\"\n"))).unwrap();
            change(data);
        });
        gate.know(broker.client("git-host").await);
        host.create_repo("acme/api");
        Self { broker, host, home: tempfile::tempdir().unwrap(), _repositories: repositories }
    }

    /// A session with this envelope, and a git that proves it.
    pub async fn agent(&self, envelope: &[&str]) -> Agent {
        let (caller, session) = self.broker.agent_with(envelope).await;
        let handle = caller.handle.clone().unwrap();
        Agent { git: self.git(&handle), caller, session }
    }

    /// A git with the agent's certificate that shows this handle.
    pub fn git(&self, handle: &str) -> GitClient {
        let tls = self.broker.data().join("tls");
        let file = |name: &str| tls.join(name).to_str().unwrap().to_owned();
        GitClient::at(self.home.path())
            .with("http.sslCAInfo", &file("ca.pem"))
            .with("http.sslCert", &file("agent.pem"))
            .with("http.sslKey", &file("agent.key"))
            .with("http.extraHeader", &format!("jeton-session: {handle}"))
    }

    /// Where a repository is for agents.
    pub fn url(&self, repository: &str) -> String {
        format!("{}/git/git/{repository}.git", self.broker.env("JETON_GATEWAY"))
    }

    /// Commits a file in a folder of the agent's git. Gives the commit.
    pub async fn commit(
        &self,
        git: &GitClient,
        folder: &str,
        file: &str,
        content: &[u8],
    ) -> String {
        let path = self.home.path().join(folder).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        git.run(folder, &["add", "-A"]).await.succeeded();
        git.run(folder, &["commit", "-q", "-m", "Change"]).await.succeeded();
        git.run(folder, &["rev-parse", "HEAD"]).await.succeeded()
    }
}
