//! GitHub as a broker of the tests meets it: an App, where it is installed, and the front before it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::LazyLock, time::Duration};

use jeton_proto::v1::{
    GetGrantRequest, Grant, ListGrantsRequest, RevokeGrantRequest, UpstreamRevocation,
};

use crate::{
    broker::{Broker, Caller},
    emulate::{AppKey, Emulator, OneApp, Seed},
    eventually::within,
    github_front::{Behind, GithubFront, sha256},
};

/// The App's number.
pub const APP: u64 = 77;
/// The number of its one installation.
pub const INSTALLATION: u64 = 501;
/// What the installation may do.
pub const GRANTED: [(&str, &str); 2] = [("contents", "write"), ("metadata", "read")];

/// More than one pause between two tries of a revocation.
pub const SOON: Duration = Duration::from_secs(20);

/// The App's key, one for each test process.
pub static KEY: LazyLock<AppKey> = LazyLock::new(AppKey::generate);

/// The front, with what stands behind it.
pub struct Github {
    /// Where the broker is sent to.
    pub front: GithubFront,
    emulator: Option<Emulator>,
}

impl Github {
    /// The emulator that others wrote, behind the front.
    pub async fn real() -> Self {
        let emulator = Emulator::start(&seed()).await.unwrap();
        let front = GithubFront::start(Behind::Emulator(emulator.url().to_owned())).await;
        Self { front, emulator: Some(emulator) }
    }

    /// The front alone: no Node, faster, and signatures are not verified.
    pub async fn pretended() -> Self {
        Self { front: GithubFront::start(Behind::Nothing(seed())).await, emulator: None }
    }

    /// The independent witness.
    pub fn emulator(&self) -> &Emulator {
        self.emulator.as_ref().unwrap()
    }

    /// Adds the upstream `github` to a broker's folder.
    pub fn configure(&self, data: &Path) {
        self.configure_with(data, KEY.pem());
    }

    /// The same with another key.
    pub fn configure_with(&self, data: &Path, key: &str) {
        let file = data.join("keys/github.pem");
        fs::write(&file, key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let config = data.join("jetond.toml");
        let text = fs::read_to_string(&config).unwrap();
        let upstream = format!(
            "\n[[upstream]]\nname = \"github\"\nkind = \"github-app\"\napi = \"{}\"\napp_id = {APP}\nprivate_key = \"keys/github.pem\"\n",
            self.front.url()
        );
        fs::write(&config, text + &upstream).unwrap();
    }

    /// Uses a token for a repository; gives the status.
    pub async fn opening(&self, token: &str, repository: &str) -> u16 {
        let url = format!("{}/repos/{repository}", self.front.url());
        let request = reqwest::Client::new().get(url).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }
}

/// A broker before the emulator, an agent with a session and an operator.
pub struct Scene {
    /// Where tokens come from.
    pub github: Github,
    /// The broker.
    pub broker: Broker,
    /// May read, and ask for what the installation does not have.
    pub agent: Caller,
    /// May revoke everything.
    pub operator: Caller,
}

impl Scene {
    /// With the emulator and the App's own key.
    pub async fn set() -> Self {
        let github = Github::real().await;
        let broker = Broker::start_with(|data| github.configure(data));
        Self::before(github, broker).await
    }

    /// With this front and this broker.
    pub async fn before(github: Github, broker: Broker) -> Self {
        let envelope = ["github:acme/* contents:write,contents:read,pull_requests:read"];
        let (agent, _) = broker.agent_with(&envelope).await;
        let operator = broker.as_("ana").await;
        Self { github, broker, agent, operator }
    }

    /// Asks and gets.
    pub async fn token(&self, text: &str) -> (Grant, String) {
        let answer = self.agent.requests(text).await.unwrap();
        (answer.grant.unwrap(), answer.credential.unwrap().secret)
    }

    /// Looks a grant up.
    pub async fn grant(&self, id: &str) -> Grant {
        let request = GetGrantRequest { id: id.into() };
        self.operator.grants().get_grant(request).await.unwrap().into_inner().grant.unwrap()
    }

    /// The grant that was asked for last.
    pub async fn newest(&self) -> Grant {
        let list = self.operator.grants().list_grants(ListGrantsRequest::default()).await;
        list.unwrap().into_inner().grants.swap_remove(0)
    }

    /// Takes a grant back as an operator.
    pub async fn revoke(&self, id: &str) -> Grant {
        let request =
            RevokeGrantRequest { id: id.into(), reason: "enough".into(), wait_seconds: 0 };
        self.operator.grants().revoke_grant(request).await.unwrap().into_inner().grant.unwrap()
    }

    /// Waits until the upstream was seen to refuse the grant's credential.
    pub async fn is_confirmed(&self, id: &str) -> Grant {
        let what = format!("the upstream confirms the end of {id}\n{}", self.broker.log());
        within(SOON, &what, async || {
            let grant = self.grant(id).await;
            (grant.upstream_revocation() == UpstreamRevocation::Confirmed).then_some(grant)
        })
        .await
    }

    /// How each revocation of a token was answered.
    pub fn tries(&self, token: &str) -> Vec<Option<u16>> {
        let asked = self.github.front.revocations();
        asked.iter().filter(|one| one.sha256 == sha256(token)).map(|one| one.status).collect()
    }
}

fn seed() -> Seed {
    Seed::one_app(OneApp {
        app_id: APP,
        private_key: KEY.pem(),
        installation_id: INSTALLATION,
        org: "acme",
        repos: &["api", "web", "vault"],
        installed_on: &["api", "web"],
        permissions: &GRANTED,
    })
}
