//! Puts the broker together from its configuration, serves it, and drains it.

mod build;
mod reviewing;
mod telling;
mod upkeep;

pub(crate) use build::seal_key;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use jeton_proto::v1::{
    approval_service_server::ApprovalServiceServer, audit_service_server::AuditServiceServer,
    grant_service_server::GrantServiceServer,
    introspection_service_server::IntrospectionServiceServer,
    policy_service_server::PolicyServiceServer, revocation_service_server::RevocationServiceServer,
    session_service_server::SessionServiceServer,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{service::Routes, transport::Server};

use crate::{
    api::{Api, authenticate::Door},
    config::Config,
    gateway::{self, Gateway, Room},
    http::{self, Pages, oauth::OAuth, serve::serve, ssf::Ssf},
    identity::listener::{Bounds, Incoming, UnixSocket},
    limits::{
        CONNECTION_AGE, CONNECTION_GRACE, DRAIN, HEADER_BYTES, KEEPALIVE, KEEPALIVE_ANSWER,
        PENDING_RESETS, REQUEST_BYTES, RESPONSE_BYTES, STREAMS_PER_CONNECTION, VOUCH,
    },
    operation::{Broker, checkpoint::checkpoint, copy_out, denial_log},
    reserved_runtime::ReservedRuntime,
    scheduler_lag::SchedulerLag,
    telemetry::{Suppressed, report_suppressed},
};

/// Why the broker did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Something that the configuration names is not usable: exit 64, before any port opens.
    #[error("{0}")]
    Unusable(String),
    /// It ran and something broke.
    #[error("{0}")]
    Broken(String),
}

/// A broker whose ports are open.
pub struct Running {
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where the gateway is, if there is one.
    pub gateway: Option<SocketAddr>,
    /// Where public keys are served.
    pub http: SocketAddr,
    /// Where metrics are served.
    pub admin: SocketAddr,
    /// The socket for processes on this host.
    pub unix_socket: Option<PathBuf>,
    stop: CancellationToken,
    tasks: TaskTracker,
    broker: Arc<Broker>,
    copy: Option<PathBuf>,
    close: Box<dyn FnOnce() + Send>,
}

/// Checks everything that the configuration names, without opening a port or changing the store. Tells
/// what is odd, and no fault.
///
/// # Errors
/// With what is not usable.
pub fn check(config: &Config) -> Result<Vec<String>, AppError> {
    build::check(config)
}

/// Builds the broker, closes what a crash left open, opens the ports and serves.
///
/// # Errors
/// When something that the configuration names is not usable, or a port is taken.
pub async fn start(config: Config) -> Result<Running, AppError> {
    let parts = build::build(&config).await?;
    let listen = async |address: SocketAddr| {
        TcpListener::bind(address).await.map_err(|error| {
            AppError::Unusable(format!(
                "can't listen on {address}: {error}; is another broker running?"
            ))
        })
    };
    let grpc = listen(config.grpc.listen).await?;
    let gateway = match &config.gateway {
        Some(gateway) => Some(listen(gateway.listen).await?),
        None => None,
    };
    let public = listen(config.http).await?;
    let admin = listen(config.admin).await?;
    let unix = config
        .grpc
        .unix_socket
        .as_deref()
        .map(|path| UnixSocket::bind(path, None))
        .transpose()
        .map_err(|error| AppError::Unusable(error.to_string()))?;
    let address = |listener: &TcpListener| {
        listener.local_addr().map_err(|error| AppError::Broken(error.to_string()))
    };
    let addresses = (address(&grpc)?, address(&public)?, address(&admin)?);

    let authenticator = Arc::new(build::authenticator(
        &config,
        &config.grpc.external_urls,
        addresses.0.port(),
        Some(&parts),
    )?);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let lag = Arc::new(SchedulerLag::default());
    let reserved = ReservedRuntime::new().map_err(|error| {
        AppError::Broken(format!("can't start the threads for revocations: {error}"))
    })?;
    let reserved = Arc::new(reserved);
    let door = Door::new(
        Arc::clone(&parts.broker),
        Arc::clone(&authenticator),
        Arc::clone(&lag),
        reserved,
    );
    tasks.spawn({
        let stop = stop.clone();
        async move { lag.measure(stop).await }
    });
    let oauth = OAuth {
        broker: Arc::clone(&parts.broker),
        authenticator,
        issuer: config.keys.issuer.as_str().into(),
        base: build::external_urls(&config.grpc.external_urls, addresses.0.port())
            .first()
            .map(|url| url.as_str().into()),
    };
    if let Some(base) = &oauth.base {
        parts.broker.status.serve_at(base);
    }
    let ssf = Ssf {
        broker: Arc::clone(&parts.broker),
        transmitters: Arc::clone(&parts.transmitters),
        issuer: Arc::clone(&oauth.issuer),
        base: oauth.base.clone(),
    };
    let pages = Pages { broker: Arc::clone(&parts.broker), keys: Arc::clone(&parts.keys) };
    let routes = services(&Api::new(Arc::clone(&parts.broker), stop.clone()), &stop).await?;
    let log = http::log::for_auditors(Arc::clone(&parts.broker));
    let routes = routes
        .into_axum_router()
        .merge(log)
        .merge(http::oauth::endpoints(oauth.clone()))
        .merge(http::ssf::endpoint(ssf.clone()))
        .merge(http::issuer(pages.clone(), oauth.clone(), ssf.clone()));
    // Why: the door lets no unknown RPC through, so what is left over was asked for as a page.
    let routes = Routes::from(http::refusing(routes));
    let incoming = Incoming::tls(grpc, Arc::clone(&parts.tls), Bounds::default());
    tasks.spawn(serve_grpc(door.clone(), routes.clone(), incoming, stop.clone()));
    if let Some(socket) = unix {
        let incoming = Incoming::unix(socket, Bounds::default());
        tasks.spawn(serve_grpc(door, routes, incoming, stop.clone()));
    }
    let gateway = match gateway {
        Some(listener) => Some(serve_gateway(listener, &config, &parts, &tasks, &stop)?),
        None => None,
    };
    let everyone = http::public(pages.clone(), oauth, ssf, config.audit.public_tiles);
    tasks.spawn(serve(public, everyone, stop.clone()));
    tasks.spawn(serve(admin, http::admin(pages), stop.clone()));
    let listeners = build::listeners(&config)?;
    let reviewers = Arc::new(build::reviewers(&config)?);
    tasks.spawn(reviewing::reviewing(Arc::clone(&parts.broker), reviewers, stop.clone()));
    upkeep::start(&tasks, &stop, &parts, listeners, &config);
    tasks.close();
    tracing::info!(grpc = %addresses.0, http = %addresses.1, admin = %addresses.2, "jetond serves");
    let store = Arc::clone(&parts.store);
    Ok(Running {
        grpc: addresses.0,
        gateway,
        http: addresses.1,
        admin: addresses.2,
        unix_socket: config.grpc.unix_socket,
        stop,
        tasks,
        broker: parts.broker,
        copy: config.audit.copy,
        close: Box::new(move || store.close()),
    })
}

impl Running {
    /// The public key of its log.
    #[must_use]
    pub fn log_key(&self) -> &jeton_domain::merkle::VerifierKey {
        self.broker.log_key.public()
    }

    /// Stops taking calls, lets those in work finish within a deadline, and closes the store.
    pub async fn drain(self) {
        self.stop.cancel();
        let finished = async {
            self.tasks.wait().await;
            self.broker.mints.finished().await;
            self.broker.uses.close();
            self.broker.uses.wait().await;
        };
        if tokio::time::timeout(DRAIN, finished).await.is_err() {
            tracing::warn!(
                seconds = DRAIN.as_secs(),
                "some calls did not finish in time and are cut"
            );
        }
        // Why before the last checkpoint: it covers them.
        match tokio::time::timeout(VOUCH, denial_log::write_all(&self.broker)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the last denials could not be recorded"),
            Err(_) => tracing::error!("recording the last denials took too long"),
        }
        // Why apart: a caller that never lets go must not keep the last entries from being signed.
        match tokio::time::timeout(VOUCH, last_checkpoint(&self.broker, self.copy)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "the log's last entries could not be signed or copied out");
            }
            Err(_) => tracing::error!("signing and copying the log's last entries took too long"),
        }
        let close = self.close;
        if tokio::task::spawn_blocking(close).await.is_err() {
            tracing::error!("the store's writer did not end cleanly");
        }
        report_suppressed(Suppressed::All);
        tracing::info!("jetond has stopped");
    }
}

/// Signs the log as it is left, and copies that out: a backup from before this stop is then found.
async fn last_checkpoint(broker: &Broker, copy: Option<PathBuf>) -> Result<(), AppError> {
    let broken = |error: &dyn std::fmt::Display| AppError::Broken(error.to_string());
    let signed = checkpoint(broker).await.map_err(|error| broken(&error))?;
    let Some(to) = copy.filter(|_| broker.halt.restored().is_none()) else { return Ok(()) };
    tokio::task::spawn_blocking(move || copy_out::write(&signed, &to))
        .await
        .map_err(|error| broken(&error))?
        .map_err(|error| broken(&error))
}

async fn services(api: &Api, stop: &CancellationToken) -> Result<Routes, AppError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<GrantServiceServer<Api>>().await;
    health.set_serving::<SessionServiceServer<Api>>().await;
    health.set_serving::<AuditServiceServer<Api>>().await;
    let draining = stop.clone();
    tokio::spawn(async move {
        draining.cancelled().await;
        health.set_not_serving::<GrantServiceServer<Api>>().await;
        health.set_not_serving::<SessionServiceServer<Api>>().await;
        health.set_not_serving::<AuditServiceServer<Api>>().await;
    });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(jeton_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| AppError::Broken(error.to_string()))?;
    let bounded = |api: &Api| api.clone();
    Ok(Routes::new(
        SessionServiceServer::new(bounded(api))
            .max_decoding_message_size(REQUEST_BYTES)
            .max_encoding_message_size(RESPONSE_BYTES),
    )
    .add_service(
        GrantServiceServer::new(bounded(api))
            .max_decoding_message_size(REQUEST_BYTES)
            .max_encoding_message_size(RESPONSE_BYTES),
    )
    .add_service(
        ApprovalServiceServer::new(bounded(api))
            .max_decoding_message_size(REQUEST_BYTES)
            .max_encoding_message_size(RESPONSE_BYTES),
    )
    .add_service(
        PolicyServiceServer::new(bounded(api))
            .max_decoding_message_size(REQUEST_BYTES)
            .max_encoding_message_size(RESPONSE_BYTES),
    )
    .add_service(
        IntrospectionServiceServer::new(bounded(api))
            .max_decoding_message_size(REQUEST_BYTES)
            .max_encoding_message_size(RESPONSE_BYTES),
    )
    .add_service(
        RevocationServiceServer::new(bounded(api))
            .max_decoding_message_size(REQUEST_BYTES)
            .max_encoding_message_size(RESPONSE_BYTES),
    )
    .add_service(
        AuditServiceServer::new(bounded(api))
            .max_decoding_message_size(REQUEST_BYTES)
            .max_encoding_message_size(RESPONSE_BYTES),
    )
    .add_service(health_service.max_decoding_message_size(REQUEST_BYTES))
    .add_service(reflection))
}

/// Serves the gateway, at an address of its own.
fn serve_gateway(
    listener: TcpListener,
    config: &Config,
    parts: &build::Parts,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<SocketAddr, AppError> {
    let Some(set) = &config.gateway else {
        return Err(AppError::Broken("a gateway without a configuration".to_owned()));
    };
    let address = listener.local_addr().map_err(|error| AppError::Broken(error.to_string()))?;
    let spool = match &set.spool {
        Some(folder) => folder.clone(),
        None => config.store.with_extension("spool"),
    };
    let gateway = Gateway::new(
        Arc::clone(&parts.broker),
        build::authenticator(config, &set.external_urls, address.port(), Some(parts))?,
        build::gateway_ways(config)?,
        Room { spool, push_bytes: set.push_bytes, file_bytes: set.file_bytes, one_of: set.one_of },
    )
    .map_err(|error| AppError::Unusable(error.to_string()))?;
    let bounds = Bounds { unanswered: usize::MAX, ..Bounds::default() };
    let incoming = Incoming::tls(listener, Arc::clone(&parts.tls), bounds);
    tasks.spawn(gateway::serve(incoming, Arc::new(gateway), stop.clone()));
    Ok(address)
}

/// tonic sets almost no limit by itself: every one that it has is set here. A call's deadline is the
/// door's.
async fn serve_grpc(door: Door, routes: Routes, incoming: Incoming, stop: CancellationToken) {
    let server = Server::builder()
        // HTTP/1.1 too: for OAuth clients and readers of the log's tiles that know no HTTP/2.
        .accept_http1(true)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_connection_age(CONNECTION_AGE)
        .max_connection_age_grace(CONNECTION_GRACE)
        .layer(door)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    if let Err(error) = server.await {
        tracing::error!(%error, "the gRPC listener ended");
    }
}
