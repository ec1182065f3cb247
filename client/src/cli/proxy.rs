//! `jeton proxy`: runs a command whose calls go through the gateway, so that it needs no secret at all.
//!
//! A server on a loopback port sends each request on with the session's identity. Only processes of the user
//! who started it are answered, and only under its own name, so that no page in a browser reaches it.

mod child_env;
mod owner;

use std::{ffi::OsString, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::{IntoResponse, Response},
};
use clap::Args;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use jeton_client::{ENVIRONMENT, Gateway};
use tokio::{net::TcpListener, process::Command};

use self::child_env::{Api, Git};
use super::{Global, exec::child, failure::Failure};

/// A command to run.
#[derive(Args)]
pub struct Proxy {
    /// Send git's calls to URL through the gateway, as repositories of UPSTREAM; may stand more than once.
    #[arg(long, value_name = "UPSTREAM=URL", value_parser = child_env::git)]
    git: Vec<Git>,
    /// Put the address of UPSTREAM's API into the variable VARIABLE; may stand more than once.
    #[arg(long, value_name = "UPSTREAM=VARIABLE", value_parser = child_env::api)]
    api: Vec<Api>,
    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs it and gives its exit code.
///
/// # Errors
/// When the gateway is not named, or the command can't be started.
pub async fn run(global: &Global, proxy: Proxy) -> Result<u8, Failure> {
    let gateway = global.settings().gateway()?;
    let signals = child::Signals::listen()?;
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await;
    let listener =
        listener.map_err(|error| Failure::Broken(format!("no port is free: {error}")))?;
    let own = listener.local_addr().map_err(|error| Failure::Broken(error.to_string()))?;
    let door = Arc::new(Door { gateway, own });
    let pages = Router::new().fallback(pass).with_state(door);
    let served = axum::serve(listener, pages.into_make_service_with_connect_info::<SocketAddr>());
    let serving = tokio::spawn(async move { served.await });
    let (program, arguments) = proxy
        .command
        .split_first()
        .ok_or_else(|| Failure::Invalid("say which command to run".to_owned()))?;
    let mut command = Command::new(program);
    command.args(arguments);
    for name in ENVIRONMENT {
        command.env_remove(name);
    }
    child_env::set(&mut command, own, &proxy.git, &proxy.api);
    let child = child::start(&mut command, program)?;
    let ended = child::wait(child, signals, std::future::ready(())).await;
    serving.abort();
    ended
}

struct Door {
    gateway: Gateway,
    own: SocketAddr,
}

/// Headers that are about the connection to this process, or that would say who calls.
const STAY: [HeaderName; 8] = [
    HOST,
    CONNECTION,
    AUTHORIZATION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("jeton-session"),
    HeaderName::from_static("dpop"),
];

/// Sends one request on.
async fn pass(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let refuse =
        |code: StatusCode, words: &str| (code, format!("jeton: {words}\n")).into_response();
    if !owner::is_mine(peer, door.own) {
        return refuse(
            StatusCode::FORBIDDEN,
            "only the user who started `jeton proxy` is answered",
        );
    }
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    // Why: a page that a browser loaded calls it by another name (DNS rebinding).
    if named != Some(door.own.to_string().as_str()) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "this port answers under its own address only",
        );
    }
    // Why: a page in a browser of the same user could call it blindly; browsers say so.
    if ["origin", "sec-fetch-site"].iter().any(|name| request.headers().contains_key(*name)) {
        return refuse(StatusCode::FORBIDDEN, "pages in a browser are not answered");
    }
    let (parts, body) = request.into_parts();
    let Some(path) = parts.uri.path_and_query().map(|path| path.as_str().to_owned()) else {
        return refuse(StatusCode::BAD_REQUEST, "the request has no path");
    };
    // Why: to some it names another host.
    if path.starts_with("//") {
        return refuse(StatusCode::BAD_REQUEST, "a path begins with one slash");
    }
    let sends =
        [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| parts.headers.contains_key(name));
    let mut headers = HeaderMap::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| !STAY.contains(name)) {
        headers.append(name, value.clone());
    }
    let body = sends.then(|| reqwest::Body::wrap_stream(body.into_data_stream()));
    match door.gateway.call(parts.method, &path, headers, body).await {
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut told = Response::new(Body::from_stream(answer.bytes_stream()));
            *told.status_mut() = status;
            *told.headers_mut() = headers;
            for name in [CONNECTION, TRANSFER_ENCODING] {
                told.headers_mut().remove(name);
            }
            told
        }
        Err(error) => refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}
