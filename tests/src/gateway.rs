//! A broker whose gateway stands before a real git host, and a real git that goes through it.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jeton_domain::audit::{Entry, Event};
use jeton_proto::v1::{
    ApproveRequest, ClaimGrantRequest, ClaimGrantResponse, GetApprovalRequest, GrantState,
    ListEntriesRequest, ListGrantsRequest, RenewGrantRequest, RenewGrantResponse,
    RevokeGrantRequest, Session,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::Status;

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
    /// What it lets in.
    pub gate: Arc<ByBroker>,
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
        Self { broker, host, gate, home: tempfile::tempdir().unwrap(), _repositories: repositories }
    }

    /// A session with this envelope, and a git that proves it.
    pub async fn agent(&self, envelope: &[&str]) -> Agent {
        let (caller, session) = self.broker.agent_with(envelope).await;
        let handle = caller.handle.clone().unwrap();
        Agent { git: self.git(&handle), caller, session }
    }

    /// A git with the agent's certificate that shows this handle.
    pub fn git(&self, handle: &str) -> GitClient {
        self.git_without_handle().with("http.extraHeader", &format!("jeton-session: {handle}"))
    }

    /// A git with the agent's certificate that shows no handle by itself.
    pub fn git_without_handle(&self) -> GitClient {
        let file = |name: &str| self.tls(name);
        let git = self.git_without_certificate();
        git.with("http.sslCert", &file("agent.pem")).with("http.sslKey", &file("agent.key"))
    }

    /// A git that knows the gateway and proves nothing.
    pub fn git_without_certificate(&self) -> GitClient {
        GitClient::at(self.home.path()).with("http.sslCAInfo", &self.tls("ca.pem"))
    }

    fn tls(&self, name: &str) -> String {
        self.broker.data().join("tls").join(name).to_str().unwrap().to_owned()
    }

    /// The log's events, once one of this kind is among them.
    pub async fn events_until(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let auditor = self.broker.as_("audrey").await;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let page = Some(jeton_proto::v1::Page { size: 500, ..Default::default() });
            let request = ListEntriesRequest { oldest_first: true, page, filter: None };
            let answer = auditor.audit().list_entries(request).await.unwrap().into_inner();
            let event =
                |entry: jeton_proto::v1::Entry| Entry::parse(entry.text.as_bytes()).unwrap().event;
            let events: Vec<_> = answer.entries.into_iter().map(event).collect();
            if events.iter().any(&wanted) {
                return events;
            }
            assert!(Instant::now() < deadline, "the log never told it: {events:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads all of `main` through the gateway, slowly until the flag says otherwise.
    pub fn slow_clone(
        &self,
        agent: &Agent,
        repository: &str,
    ) -> (JoinHandle<Read>, Arc<AtomicBool>) {
        let url = format!("{}/git-upload-pack", self.url(repository));
        let tip = self.host.tip(repository, "refs/heads/main").unwrap();
        let client = self.broker.http(Some("agent"));
        let handle = agent.caller.handle.clone().unwrap();
        let fast = Arc::new(AtomicBool::new(false));
        let hurry = Arc::clone(&fast);
        let reading = tokio::spawn(async move {
            let lines = pkt("command=fetch\n") + &pkt("object-format=sha1\n");
            let lines = lines + "0001" + &pkt("no-progress\n") + &pkt(&format!("want {tip}\n"));
            let call = client
                .post(url)
                .header("jeton-session", handle)
                .header("git-protocol", "version=2")
                .header("content-type", "application/x-git-upload-pack-request")
                .body(lines + &pkt("done\n") + "0000");
            let mut answer = call.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
            let mut bytes = 0;
            loop {
                match answer.chunk().await {
                    Ok(Some(chunk)) => bytes += chunk.len(),
                    Ok(None) => return Read { bytes, whole: true },
                    Err(_) => return Read { bytes, whole: false },
                }
                if !hurry.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        (reading, fast)
    }

    /// The session's first active grant, once there is one.
    pub async fn first_grant(&self, agent: &Agent) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(id) = agent.caller.list_active().await.pop() {
                return id;
            }
            assert!(Instant::now() < deadline, "no grant came to be");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// An operator takes a grant back.
    pub async fn revoke(&self, grant: &str) {
        let operator = self.broker.as_("ana").await;
        let request = RevokeGrantRequest {
            id: grant.into(),
            reason: "seen enough".into(),
            ..Default::default()
        };
        operator.grants().revoke_grant(request).await.unwrap();
    }

    /// Somebody of security approves what waits, once.
    pub async fn approve(&self, grant: &str) {
        let bo = self.broker.as_("bo").await;
        let request = GetApprovalRequest { grant: grant.into() };
        let shown = bo.approvals().get_approval(request).await.unwrap().into_inner();
        let request = ApproveRequest {
            grant: grant.into(),
            request_hash: shown.approval.unwrap().request_hash,
            reason: "it is reviewed".into(),
            ..Default::default()
        };
        bo.approvals().approve(request).await.unwrap();
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

/// What was read of a clone.
#[derive(Debug)]
pub struct Read {
    /// So much.
    pub bytes: usize,
    /// Whether it came to its end.
    pub whole: bool,
}

fn pkt(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

impl Caller {
    /// The active grants of the own session.
    pub async fn list_active(&self) -> Vec<String> {
        let request = ListGrantsRequest { state: GrantState::Active.into(), ..Default::default() };
        let answer = self.grants().list_grants(request).await.unwrap().into_inner();
        answer.grants.into_iter().map(|grant| grant.id).collect()
    }

    /// Claims a grant.
    pub async fn claim(&self, id: &str) -> Result<ClaimGrantResponse, Status> {
        let request = ClaimGrantRequest { id: id.into() };
        self.grants().claim_grant(request).await.map(tonic::Response::into_inner)
    }

    /// Renews a grant.
    pub async fn renew(&self, id: &str) -> Result<RenewGrantResponse, Status> {
        let request = RenewGrantRequest { id: id.into(), ttl_seconds: 0 };
        self.grants().renew_grant(request).await.map(tonic::Response::into_inner)
    }
}
