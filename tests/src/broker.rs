//! A real `jetond` of its own for each test: a process, a folder, free ports, callers over mTLS.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use jeton_proto::{
    SESSION_METADATA,
    v1::{
        Envelope, OpenSessionRequest, RequestGrantRequest, RequestGrantResponse, Scope, Session,
        approval_service_client::ApprovalServiceClient, audit_service_client::AuditServiceClient,
        grant_service_client::GrantServiceClient,
        introspection_service_client::IntrospectionServiceClient, open_session_request::Binding,
        policy_service_client::PolicyServiceClient, session_service_client::SessionServiceClient,
    },
};
use tempfile::TempDir;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// Time for a broker to open its ports.
const START: Duration = Duration::from_secs(30);

/// The agent of the example certificates.
pub const AGENT: &str = "spiffe://dev.jeton.local/agent/build-42";

/// A running broker.
pub struct Broker {
    data: PathBuf,
    _folder: Option<TempDir>,
    child: Option<Child>,
    environment: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    jetond: PathBuf,
}

/// Where a program of this workspace was built: beside this test.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().skip(1).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built; run `cargo build --workspace --bins`"))
}

impl Broker {
    /// Starts one with the example configuration.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Starts one whose folder is changed before.
    pub fn start_with(change: impl FnOnce(&Path)) -> Self {
        let mut broker = Self::make();
        change(&broker.data);
        broker.run();
        broker
    }

    /// Makes the folder and starts nothing.
    pub fn make() -> Self {
        Self::make_of(program("jetond"))
    }

    /// The same with another build of `jetond`.
    pub fn make_of(jetond: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let made = Command::new(&jetond)
            .args(["dev", "--only-make", "--free-ports", "--data"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self {
            data,
            _folder: Some(folder),
            child: None,
            environment: vec![],
            variables: vec![],
            jetond,
        }
    }

    /// Sets a variable of the broker's environment, such as a log filter.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The folder with everything.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts the process and waits for its ports.
    pub fn run(&mut self) {
        let env = self.data.join("env");
        let _ = fs::remove_file(&env);
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.data.join("log")).unwrap();
        let child = Command::new(&self.jetond)
            .args(["dev", "--free-ports", "--data"])
            .arg(&self.data)
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + START;
        while !env.exists() {
            let exited = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(exited.is_none(), "jetond ended: {exited:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "jetond opened no port in time\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = fs::read_to_string(&env).unwrap();
        self.environment = text
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = fs::File::open(self.data.join("log")) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }

    /// A variable of the file `env`, such as `JETON_ENDPOINT`.
    pub fn env(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// All variables of the file `env`.
    pub fn envs(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Ends it without any warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Asks it to end and waits for its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().code()
    }

    /// Connects as one of the example's people or programs: `agent`, `orchestrator`, `ana` …
    pub async fn as_(&self, who: &str) -> Caller {
        self.try_as(who).await.unwrap()
    }

    /// Connects, or tells why not.
    pub async fn try_as(&self, who: &str) -> Result<Caller, tonic::transport::Error> {
        self.connect(who, self.env("JETON_ENDPOINT")).await
    }

    /// Connects to any server that trusts the example's CA.
    pub async fn connect(&self, who: &str, url: &str) -> Result<Caller, tonic::transport::Error> {
        Ok(Caller { channel: self.channel(who, url).await?, handle: None })
    }

    /// A channel to any server that trusts the example's CA.
    pub async fn channel(&self, who: &str, url: &str) -> Result<Channel, tonic::transport::Error> {
        let read = |name: String| fs::read(self.data.join("tls").join(name)).unwrap();
        let tls = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(read("ca.pem".into())))
            .identity(Identity::from_pem(read(format!("{who}.pem")), read(format!("{who}.key"))));
        crate::crypto();
        let endpoint = Endpoint::from_shared(url.to_owned())?
            .tls_config(tls)?
            .timeout(Duration::from_secs(30));
        endpoint.connect().await
    }

    /// Connects without a certificate.
    pub async fn nobody(&self) -> Caller {
        let ca = fs::read(self.data.join("tls/ca.pem")).unwrap();
        let tls = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(ca));
        crate::crypto();
        let endpoint = Endpoint::from_shared(self.env("JETON_ENDPOINT").to_owned()).unwrap();
        let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
        Caller { channel, handle: None }
    }

    /// The client library as one of the example's people or programs.
    pub async fn client(&self, who: &str) -> jeton_client::Client {
        crate::crypto();
        let file = |name: String| Some(self.data.join("tls").join(name));
        let settings = jeton_client::Settings {
            endpoint: Some(self.env("JETON_ENDPOINT").to_owned()),
            ca: file("ca.pem".to_owned()),
            certificate: file(format!("{who}.pem")),
            key: file(format!("{who}.key")),
            ..jeton_client::Settings::default()
        };
        settings.connect().await.unwrap()
    }

    /// A client for plain HTTP, perhaps with somebody's certificate.
    pub fn http(&self, who: Option<&str>) -> reqwest::Client {
        crate::crypto();
        let read = |name: &str| fs::read(self.data.join("tls").join(name)).unwrap();
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&read("ca.pem")).unwrap()])
            .http1_only();
        if let Some(who) = who {
            let pem = [read(&format!("{who}.key")), read(&format!("{who}.pem"))].concat();
            builder = builder.identity(reqwest::Identity::from_pem(&pem).unwrap());
        }
        builder.build().unwrap()
    }

    /// SHA-256 of somebody's certificate, as sessions are bound to it.
    pub fn thumbprint(&self, who: &str) -> String {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        use rustls_pki_types::{CertificateDer, pem::PemObject};
        let path = self.data.join("tls").join(format!("{who}.pem"));
        let der = CertificateDer::from_pem_file(path).unwrap();
        URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &der))
    }

    /// Opens a session for the example's agent and connects as it, handle and all.
    pub async fn agent_with(&self, envelope: &[&str]) -> (Caller, Session) {
        let orchestrator = self.as_("orchestrator").await;
        let mut request = opening(envelope);
        request.binding = Some(Binding::CertificateSha256(self.thumbprint("agent")));
        let opened = orchestrator.sessions().open_session(request).await.unwrap().into_inner();
        let mut agent = self.as_("agent").await;
        agent.handle = Some(opened.handle);
        (agent, opened.session.unwrap())
    }
}

impl Broker {
    /// The same for a person. Gives the agent alone.
    pub async fn agent_for(&self, person: &str, envelope: &[&str]) -> Caller {
        let orchestrator = self.as_("orchestrator").await;
        let mut request = opening(envelope);
        request.person = person.to_owned();
        request.binding = Some(Binding::CertificateSha256(self.thumbprint("agent")));
        let opened = orchestrator.sessions().open_session(request).await.unwrap().into_inner();
        let mut agent = self.as_("agent").await;
        agent.handle = Some(opened.handle);
        agent
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A request to open a session for the example's agent, bound to nothing yet.
pub fn opening(envelope: &[&str]) -> OpenSessionRequest {
    OpenSessionRequest {
        agent: AGENT.into(),
        task: "a test".into(),
        envelope: Some(Envelope {
            scopes: envelope.iter().map(|line| scope(line)).collect(),
            max_grants: 100_000,
            max_ttl_seconds: 900,
        }),
        ttl_seconds: 3600,
        ..Default::default()
    }
}

/// The wire form of `upstream:resource action,action ref=pattern`.
pub fn scope(text: &str) -> Scope {
    let bound = jeton_domain::scope::ScopeBound::parse(text).unwrap();
    Scope {
        upstream: bound.upstream.to_string(),
        resource: bound.resource.to_string(),
        actions: bound.actions.iter().map(ToString::to_string).collect(),
        r#ref: bound.git_ref.map(|pattern| pattern.to_string()).unwrap_or_default(),
    }
}

/// A connection of one principal, perhaps with a session's handle.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    /// Sent with each call.
    pub handle: Option<String>,
}

type Send_ = InterceptedService<Channel, Handle>;

/// Puts the handle on each call.
#[derive(Clone)]
pub struct Handle(Option<String>);

impl tonic::service::Interceptor for Handle {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(handle) = &self.0 {
            let value = MetadataValue::try_from(handle).unwrap();
            request.metadata_mut().insert(SESSION_METADATA, value);
        }
        Ok(request)
    }
}

impl Caller {
    /// What a client of any service is made of.
    pub fn service(&self) -> Send_ {
        InterceptedService::new(self.channel.clone(), Handle(self.handle.clone()))
    }

    /// The session service.
    pub fn sessions(&self) -> SessionServiceClient<Send_> {
        SessionServiceClient::with_interceptor(self.channel.clone(), Handle(self.handle.clone()))
    }

    /// The grant service.
    pub fn grants(&self) -> GrantServiceClient<Send_> {
        GrantServiceClient::with_interceptor(self.channel.clone(), Handle(self.handle.clone()))
    }

    /// The introspection service.
    pub fn introspection(&self) -> IntrospectionServiceClient<Send_> {
        IntrospectionServiceClient::with_interceptor(
            self.channel.clone(),
            Handle(self.handle.clone()),
        )
    }

    /// The audit service.
    pub fn audit(&self) -> AuditServiceClient<Send_> {
        AuditServiceClient::with_interceptor(self.channel.clone(), Handle(self.handle.clone()))
    }

    /// The policy service.
    pub fn policies(&self) -> PolicyServiceClient<Send_> {
        PolicyServiceClient::with_interceptor(self.channel.clone(), Handle(self.handle.clone()))
    }

    /// The approval service.
    pub fn approvals(&self) -> ApprovalServiceClient<Send_> {
        ApprovalServiceClient::with_interceptor(self.channel.clone(), Handle(self.handle.clone()))
    }

    /// Asks for a grant.
    pub async fn requests(&self, text: &str) -> Result<RequestGrantResponse, Status> {
        self.requests_with_id(text, "").await
    }

    /// Asks for a grant with a reason of its own.
    pub async fn requests_with_reason(
        &self,
        text: &str,
        reason: &str,
    ) -> Result<RequestGrantResponse, Status> {
        let request = RequestGrantRequest {
            scope: Some(scope(text)),
            reason: reason.into(),
            delivery: jeton_proto::v1::Delivery::Direct.into(),
            ..Default::default()
        };
        self.grants().request_grant(request).await.map(tonic::Response::into_inner)
    }

    /// Asks for a grant under a request id.
    pub async fn requests_with_id(
        &self,
        text: &str,
        id: &str,
    ) -> Result<RequestGrantResponse, Status> {
        let request = RequestGrantRequest {
            scope: Some(scope(text)),
            ttl_seconds: 600,
            reason: "a test".into(),
            request_id: id.into(),
            delivery: jeton_proto::v1::Delivery::Direct.into(),
        };
        self.grants().request_grant(request).await.map(tonic::Response::into_inner)
    }
}
