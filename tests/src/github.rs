//! GitHub as a broker of the tests meets it: an App, where it is installed, and the front before it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::LazyLock};

use crate::{
    emulate::{AppKey, Emulator, OneApp, Seed},
    github_front::{Behind, GithubFront},
};

/// The App's number.
pub const APP: u64 = 77;
/// The number of its one installation.
pub const INSTALLATION: u64 = 501;
/// What the installation may do.
pub const GRANTED: [(&str, &str); 2] = [("contents", "write"), ("metadata", "read")];

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
