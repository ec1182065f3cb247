//! A server that answers as told and remembers what it was asked.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    response::Response,
};
use jeton_domain::secret::Secret;
use tokio::net::TcpListener;

use super::super::{GithubConfig, GithubMinter, api::Limits};

/// One of the four calls.
pub const LOOK_UP: &str = "GET /repos/acme/api/installation";
pub const MINT: &str = "POST /app/installations/7/access_tokens";
pub const DELETE: &str = "DELETE /installation/token";
pub const TRY: &str = "GET /installation/repositories";

/// What a call is answered with.
#[derive(Clone)]
pub enum Reply {
    /// A status, headers and a body of JSON.
    Json(u16, Vec<(&'static str, String)>, String),
    /// A body of another content type.
    Html(u16),
    /// A refusal that repeats the caller's credential.
    Echo(u16),
    /// 201 and a body without end.
    Endless,
    /// No answer.
    Never,
}

pub fn json(status: u16, body: impl Into<String>) -> Reply {
    Reply::Json(status, vec![], body.into())
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub call: String,
    pub bearer: String,
    pub body: String,
}

#[derive(Clone)]
pub struct Fake {
    pub base: String,
    script: Arc<Mutex<HashMap<&'static str, Reply>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Starts one that says yes to everything.
    pub async fn start(token_answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script = HashMap::from([
            (LOOK_UP, json(200, r#"{"id":7}"#)),
            (MINT, json(201, token_answer)),
            (DELETE, json(204, "")),
            (TRY, json(401, r#"{"message":"Bad credentials"}"#)),
        ]);
        let fake = Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            script: Arc::new(Mutex::new(script)),
            seen: Arc::default(),
        };
        let served = fake.clone();
        let router = Router::new().fallback(move |request| served.clone().answer(request));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    pub fn says(&self, call: &'static str, reply: Reply) -> &Self {
        self.script.lock().unwrap().insert(call, reply);
        self
    }

    pub fn seen(&self, call: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.call == call).cloned().collect()
    }

    pub fn minter(&self) -> GithubMinter {
        // Why not always: on a busy machine an honest answer takes its time.
        let waits = self.script.lock().unwrap().values().any(|reply| matches!(reply, Reply::Never));
        let call = Duration::from_secs(if waits { 1 } else { 60 });
        minter_at(&self.base, Limits { call, mint: Duration::from_secs(60) })
    }

    async fn answer(self, request: Request) -> Response {
        let call = format!("{} {}", request.method(), request.uri().path());
        let header = request.headers()["authorization"].to_str().unwrap();
        let bearer = header.strip_prefix("Bearer ").unwrap().to_owned();
        let body = to_bytes(request.into_body(), 65_536).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.seen.lock().unwrap().push(Seen { call: call.clone(), bearer: bearer.clone(), body });
        let reply = self.script.lock().unwrap().get(call.as_str()).cloned();
        let build = |status: u16, kind: &str| {
            Response::builder().status(status).header("content-type", kind)
        };
        match reply.unwrap_or_else(|| json(404, r#"{"message":"Not Found"}"#)) {
            Reply::Json(status, headers, body) => headers
                .into_iter()
                .fold(build(status, "application/json; charset=utf-8"), |built, (name, value)| {
                    built.header(name, value)
                })
                .body(Body::from(body)),
            Reply::Html(status) => build(status, "text/html").body(Body::from("<h1>hello</h1>")),
            Reply::Echo(status) => build(status, "application/json")
                .body(Body::from(format!(r#"{{"message":"no {bearer} no"}}"#))),
            Reply::Endless => {
                let parts = std::iter::repeat_with(|| {
                    Ok::<_, io::Error>(Bytes::from_static(&[b' '; 4096]))
                });
                build(201, "application/json").body(Body::from_stream(tokio_stream::iter(parts)))
            }
            Reply::Never => std::future::pending().await,
        }
        .unwrap()
    }
}

pub fn minter_at(base: &str, limits: Limits) -> GithubMinter {
    GithubMinter::with_limits(config(base, APP_KEY), limits).unwrap()
}

pub fn config(base: &str, pem: &str) -> GithubConfig {
    GithubConfig {
        name: jeton_domain::scope::Upstream::parse("github").unwrap(),
        api_base: base.to_owned(),
        app_id: 4711,
        private_key: Secret::new(pem.to_owned()),
    }
}

/// A key that opens nothing: made for these tests.
pub const APP_KEY: &str = "\
-----BEGIN RSA PRIVATE KEY-----\n\
MIIEowIBAAKCAQEArCvRuM7W6dwyjB9GsdDkX2EyzYx+JDDf9zF4MoqeWEXyWGNx\n\
OVBCddm7YF6iM3OBfPAs9Jc05N6Psuly6vh3hOusrDR6ig4PxBhdrj/vBtNwHawh\n\
IHZqKFEW7CvIxSvXSwhu1gR48IWorv1BX0g3XtvWxGr2/mjngEkletdd1t79GLyW\n\
FeET9xVypUBNEa88a2XHr0+j6f91lkrK0dLf3AmZsY3AxPdbH8Ysnskt/9V6S7Ui\n\
BkZUEal9ZK03vjZoObZFjGG2Zmc06NSjKBf4sDVGx03bjs2WNJoF2ThVDWyMnm43\n\
dspR3fDuJbQmdotF70ngGm6pAW7pM6I7fhKo0wIDAQABAoIBAAWilYWn927GDz14\n\
1JaDUMYyZzhFDeffVaVAkD+PO+mFuI3eC1ml39b9nl1kG4j1kdpl/gKvZELNagSg\n\
EWvRYBAQqqEkQpJ8LVXsujw2yXr+tp+x/4+RcJ4LMWXfdP3HFo/VIdONZ+vvY/r+\n\
PQKCWZWYOmpJWfYvtswDGN/xZpfevL3GQ3lAiByDlIaGvkyYBq+2Z4WmzBdSg8nN\n\
jwk+ibn9n1gMgobjuuIOupKw3/r53YIpOGW5a+1IUKk4fXVAc4NmChK26sEv64fP\n\
VLLg6T7zye4MzUJHFEbWCCLbySehlZoaxGCIwxK7lLj3cVxeOUsdX6E2l+yQ3tKx\n\
jSaDh1ECgYEA5AB3NmwP0Kjm20STg6/0BY9fYGsj7WMCOll3/JHU6WIetd4l09Kr\n\
BA2n6mUCYjjdruezdMBzuf5aT3hcgxy4EjipSD4Rqv3M/Q8JRnXGAy9K2FtnpRKP\n\
4QMqEadgaskzeVB2uWt8A7ScQKAWom/MseJwNEv2Lpj7/smYYUHNursCgYEAwVA+\n\
ipEcpaRjOAGkdAIYZB+QlF92kxEe/lUg/1NB/odctRS01fvvRr7cLzMKJandmYAV\n\
5jVBR0ig8GUyMOb256AxsTES4fuOy2VygcngzYnc1v0tTpWAmHDGID84Og9iGmIX\n\
qJ19YAEm6dipSsMfxHb9Yu9DtdLuZMwY6KsuZMkCgYB2Md+a8M4KB2UVyikGnVJN\n\
B5QT8bbAOxFOmk7fOeI70kfFVBIcCxvokAO6OP7RWFVjdG3NWm8jvj2m8OhUd7Dc\n\
kU8ASlzyXXvEu+S9CBTMVdng6xGBu2um4/MND82lzgPHIfVKDfROH3TY86SINJjS\n\
pmYwViia42fPH0bFNE2oPQKBgQCRwvflc9Wt8G3/5P0jnBDYLhTOS80Ux2wfSgE/\n\
hH/WdCqrP5m7X+Pj7DYKQOn9zD+TZskcdDtsjI8NtMBLr1us+1V8zgv26b+aDjxx\n\
MM+ZK8KhOPXYs1Hrn91Eo2a6IK9QRXahZV8L7NJysTO1c7uYYEBfQRpFF286Acsm\n\
ZSzuQQKBgFR+I5JdWB4CV2QbuY6FBr3anqAYQQETl2Mpl4kI/OIPjVj/WrTKwQO7\n\
1tPHvLWSyRAHJuebaX6XQw5UOriIfkJxwfbLUuY8nvPeP+s6Knhf74D74ekd9BR7\n\
LkXuPXaoG1Cwh3WR+GYd00tkxV5rNLaXMwlciXy9dyLS6tzfasvB\n\
-----END RSA PRIVATE KEY-----\n\
";
