//! A bare tonic server with the broker's messages, sizes and TLS, and nothing behind them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use jeton_proto::v1::{
    self,
    grant_service_server::{GrantService, GrantServiceServer},
};
use tonic::{
    Request, Response, Status, async_trait,
    transport::{Certificate, Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

/// Bytes of the credential that it answers with: those of the broker's tokens.
const CREDENTIAL_BYTES: usize = 830;

/// A running echo.
pub(super) struct Echo {
    child: Child,
    pub url: String,
}

impl Echo {
    /// Starts one in its own process.
    pub fn start(data: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--echo")
            .arg(data.join("tls"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, url: format!("https://localhost:{}", line.trim()) }
    }
}

impl Echo {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until it is killed; prints its port first.
pub async fn serve(folder: &Path) {
    crate::crypto();
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("server.pem"), read("server.key")))
        .client_ca_root(Certificate::from_pem(read("ca.pem")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    std::io::stdout().write_all(format!("{port}\n").as_bytes()).unwrap();
    Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(GrantServiceServer::new(Bare))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .unwrap();
}

struct Bare;

type Answer<T> = Result<Response<T>, Status>;

fn none<T>() -> Answer<T> {
    Err(Status::unimplemented("the echo knows one call"))
}

#[async_trait]
impl GrantService for Bare {
    async fn request_grant(
        &self,
        request: Request<v1::RequestGrantRequest>,
    ) -> Answer<v1::RequestGrantResponse> {
        let request = request.into_inner();
        let time = Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 1_000_000 });
        Ok(Response::new(v1::RequestGrantResponse {
            grant: Some(v1::Grant {
                id: "gr_00000000000000000000000000".into(),
                session: "se_00000000000000000000000000".into(),
                agent: crate::broker::AGENT.into(),
                scope: request.scope,
                state: v1::GrantState::Active.into(),
                request_time: time,
                expire_time: time,
                policy_ids: vec!["push-own-branches".into()],
                policy_hash: "0".repeat(32),
                reason: request.reason,
                ..Default::default()
            }),
            credential: Some(v1::Credential {
                secret: "x".repeat(CREDENTIAL_BYTES),
                kind: v1::CredentialKind::SignedJwt.into(),
                expire_time: time,
                username: "x-access-token".into(),
            }),
        }))
    }

    async fn claim_grant(
        &self,
        _: Request<v1::ClaimGrantRequest>,
    ) -> Answer<v1::ClaimGrantResponse> {
        none()
    }

    type AwaitGrantStream = tokio_stream::Empty<Result<v1::AwaitGrantResponse, Status>>;

    async fn await_grant(
        &self,
        _: Request<v1::AwaitGrantRequest>,
    ) -> Answer<Self::AwaitGrantStream> {
        none()
    }

    async fn renew_grant(
        &self,
        _: Request<v1::RenewGrantRequest>,
    ) -> Answer<v1::RenewGrantResponse> {
        none()
    }

    async fn release_grant(
        &self,
        _: Request<v1::ReleaseGrantRequest>,
    ) -> Answer<v1::ReleaseGrantResponse> {
        none()
    }

    async fn get_grant(&self, _: Request<v1::GetGrantRequest>) -> Answer<v1::GetGrantResponse> {
        none()
    }

    async fn list_grants(
        &self,
        _: Request<v1::ListGrantsRequest>,
    ) -> Answer<v1::ListGrantsResponse> {
        none()
    }

    async fn revoke_grant(
        &self,
        _: Request<v1::RevokeGrantRequest>,
    ) -> Answer<v1::RevokeGrantResponse> {
        none()
    }

    async fn revoke_matching(
        &self,
        _: Request<v1::RevokeMatchingRequest>,
    ) -> Answer<v1::RevokeMatchingResponse> {
        none()
    }

    async fn lift_stop(&self, _: Request<v1::LiftStopRequest>) -> Answer<v1::LiftStopResponse> {
        none()
    }

    async fn list_stops(&self, _: Request<v1::ListStopsRequest>) -> Answer<v1::ListStopsResponse> {
        none()
    }

    async fn list_budgets(
        &self,
        _: Request<v1::ListBudgetsRequest>,
    ) -> Answer<v1::ListBudgetsResponse> {
        none()
    }

    async fn re_decide(&self, _: Request<v1::ReDecideRequest>) -> Answer<v1::ReDecideResponse> {
        none()
    }
}
