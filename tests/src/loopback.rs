//! An HTTP server on a loopback port of its own, for the upstreams that the tests play.
//!
//! It knows nothing of what it serves. It differs from a ready-made server in one thing: an
//! answer can be [`Cut`], so that a client sees the connection go away in place of a response.

use std::fmt;
use std::net::SocketAddr;

use axum::body::Body;
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// In place of a response: the connection is closed and nothing is said.
#[derive(Debug)]
pub struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the connection is cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// A listening server; dropping it closes the port and every connection.
pub struct Loopback {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Loopback {
    /// Binds `127.0.0.1:0` and answers each request with `answer`.
    pub async fn serve<A, F>(answer: A) -> Self
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
    {
        Self::serve_at(0, answer).await
    }

    /// The same at a port.
    pub async fn serve_at<A, F>(port: u16, answer: A) -> Self
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, answer));
        Self { address, accepting }
    }

    /// The port's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<A, F>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
{
    // Why: the set ends its connections when it is dropped with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, answer.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse<A, F>(stream: TcpStream, answer: A)
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
{
    let service =
        service_fn(move |request: Request<hyper::body::Incoming>| answer(request.map(Body::new)));
    // A client that goes away in the middle of a request is no fault of the server.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
