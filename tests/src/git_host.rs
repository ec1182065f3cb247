//! A git host on a loopback port: real `git http-backend`, every request under a credential.
//!
//! It stores no credentials and knows no rules: a [`Gate`] is asked at every request, so that a
//! credential that ends between two requests of one push ends there. What a push wants to do to
//! which refs is read from the push itself and is part of the question.

mod by_broker;
mod cgi;
mod client;
mod commands;
mod large;
mod repositories;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::loopback::Loopback;

pub use by_broker::ByBroker;
pub use client::{GitClient, GitRun};
pub use commands::RefUpdate;
pub use large::Large;

/// How much of a refused push is read before the connection is given up. Why read it at all: a
/// client that still writes may not see the answer.
const DRAINED: usize = 64 * 1024 * 1024;

/// Says whether a credential opens a repository at this moment.
pub trait Gate: Send + Sync + 'static {
    /// `repo` is `owner/name`. `refs` is what a push moves; it is empty for everything else, also
    /// for the first requests of a push.
    fn check(
        &self,
        token: String,
        repo: String,
        need: Need,
        refs: Vec<RefUpdate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Read,
    Write,
}

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    /// The credential is no good (any more): 401, git asks for another.
    pub fn bad_credential(message: &str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, message: message.to_owned() }
    }

    /// The credential is good, but not for this: 403.
    pub fn forbidden(message: &str) -> Self {
        Self { status: StatusCode::FORBIDDEN, message: message.to_owned() }
    }
}

/// A running host; dropping it closes its port. Its repositories stay where they are.
pub struct GitHost {
    server: Loopback,
    root: PathBuf,
    /// Its large files.
    pub large: Arc<Large>,
    state: Arc<State>,
}

/// A request with a credential that reached the host.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// The method and the path.
    pub line: String,
}

impl GitHost {
    /// Serves the repositories below `root` to whom the gate lets in.
    pub async fn start(root: &Path, gate: Arc<dyn Gate>) -> Self {
        Self::start_at(0, root, gate).await
    }

    /// The same at a port of the loopback.
    pub async fn start_at(port: u16, root: &Path, gate: Arc<dyn Gate>) -> Self {
        let large = Arc::new(Large::default());
        let state = Arc::new(State {
            root: root.to_owned(),
            gate,
            large: Arc::clone(&large),
            arrivals: Mutex::default(),
            read_delay: AtomicU64::new(0),
            broken_reads: AtomicU64::new(u64::MAX),
        });
        let serving = Arc::clone(&state);
        let server = Loopback::serve_at(port, move |request| {
            let state = Arc::clone(&serving);
            async move { Ok(state.answer(request).await.unwrap_or_else(refuse)) }
        })
        .await;
        Self { server, root: root.to_owned(), large, state }
    }

    /// Every request with a credential that reached it, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.arrivals.lock().unwrap().clone()
    }

    /// Waits so long before it answers a fetch, from now on.
    pub fn delay_reads(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.state.read_delay.store(millis, Ordering::Release);
    }

    /// Answers so many fetches more, and those after them with an error of its own.
    pub fn break_reads_after(&self, count: u64) {
        self.state.broken_reads.store(count, Ordering::Release);
    }

    /// Makes `owner/name`, with a first commit on `main`.
    pub fn create_repo(&self, full_name: &str) {
        repositories::create(&self.root, full_name);
    }

    /// The commit at which a ref of a repository stands.
    pub fn tip(&self, full_name: &str, name: &str) -> Option<String> {
        repositories::tip(&self.root, full_name, name)
    }

    /// All refs of a repository, in order, with their commits.
    pub fn refs(&self, full_name: &str) -> Vec<(String, String)> {
        repositories::refs(&self.root, full_name)
    }

    /// Takes a ref away.
    pub fn forget(&self, full_name: &str, name: &str) {
        repositories::forget(&self.root, full_name, name);
    }

    /// Puts a file on top of a branch. Gives the commit.
    pub fn commit(&self, full_name: &str, name: &str, file: &str, content: &[u8]) -> String {
        repositories::commit(&self.root, full_name, name, file, content)
    }

    /// Sets an option of a repository.
    pub fn configure(&self, full_name: &str, name: &str, value: &str) {
        repositories::configure(&self.root, full_name, name, value);
    }

    /// Tells whether the history of a repository is cut somewhere.
    pub fn is_shallow(&self, full_name: &str) -> bool {
        repositories::is_shallow(&self.root, full_name)
    }

    /// Puts so many bytes on `main` that no packing makes smaller.
    pub fn fill(&self, full_name: &str, bytes: usize) {
        let mut content = vec![0; bytes];
        let random = ring::rand::SystemRandom::new();
        ring::rand::SecureRandom::fill(&random, &mut content).unwrap();
        self.commit(full_name, "refs/heads/main", "large", &content);
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// `http://127.0.0.1:PORT/owner/name.git`
    pub fn repo_url(&self, full_name: &str) -> String {
        format!("{}/{full_name}.git", self.url())
    }
}

struct State {
    root: PathBuf,
    gate: Arc<dyn Gate>,
    large: Arc<Large>,
    arrivals: Mutex<Vec<Arrival>>,
    /// Milliseconds before a fetch is answered.
    read_delay: AtomicU64,
    /// Fetches that are answered before all others fail.
    broken_reads: AtomicU64,
}

/// One of the four requests of git's smart HTTP protocol.
struct Wanted {
    repo: String,
    service: &'static str,
    need: Need,
    push: bool,
}

impl State {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let (parts, mut body) = request.into_parts();
        let (user, token) = credential(&parts.headers)
            .ok_or_else(|| Refusal::bad_credential("this host needs a credential"))?;
        let line = format!("{} {}", parts.method, parts.uri);
        let fetches = line.ends_with("/git-upload-pack");
        self.arrivals.lock().unwrap().push(Arrival { at: Instant::now(), line });
        if fetches {
            self.play_fetch().await?;
        }
        if let Some(repo) = large(&parts) {
            return self.batch(token, repo, body).await;
        }
        let wanted = Wanted::of(&parts).ok_or_else(not_found)?;

        let mut taken = Bytes::new();
        let mut updates = Vec::new();
        let mut reported = None;
        if wanted.push {
            match commands::read(&mut body).await {
                Ok(read) => {
                    reported = (read.report_status && read.side_band).then(|| read.updates.clone());
                    (updates, taken) = (read.updates, read.taken);
                }
                Err(unreadable) => {
                    drain(body).await;
                    return Err(Refusal::forbidden(&format!("unreadable push: {}", unreadable.0)));
                }
            }
        }
        let verdict = self.gate.check(token, wanted.repo.clone(), wanted.need, updates).await;
        if let Err(refusal) = verdict {
            drain(body).await;
            return match reported {
                Some(updates) if refusal.status == StatusCode::FORBIDDEN => {
                    Ok(report(&updates, &refusal.message))
                }
                _ => Err(refusal),
            };
        }
        let path = format!("/{}.git/{}", wanted.repo, wanted.service);
        if !self.root.join(format!("{}.git", wanted.repo)).is_dir() {
            return Err(not_found());
        }
        let call =
            cgi::Call { root: &self.root, path, user: &user, parts: &parts, taken, rest: body };
        Ok(cgi::run(call).await)
    }

    async fn play_fetch(&self) -> Result<(), Refusal> {
        let delay = self.read_delay.load(Ordering::Acquire);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let one_less = |left: u64| (left != u64::MAX).then(|| left.saturating_sub(1));
        let left = self.broken_reads.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
        match left {
            Ok(0) => Err(Refusal {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message: "the host fails on purpose".to_owned(),
            }),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn batch(
        &self,
        token: String,
        repo: String,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let asked = body.collect().await.map_err(|_| not_found())?.to_bytes().to_vec();
        let upload = String::from_utf8_lossy(&asked).contains("\"upload\"");
        let need = if upload { Need::Write } else { Need::Read };
        self.gate.check(token, repo.clone(), need, vec![]).await?;
        self.large.batch(&repo, asked).await
    }
}

/// The repository of which large files are asked for.
fn large(parts: &Parts) -> Option<String> {
    let repo = parts.uri.path().strip_suffix(".git/info/lfs/objects/batch")?.strip_prefix('/')?;
    let (owner, name) = repo.split_once('/')?;
    (parts.method == Method::POST && is_name(owner) && is_name(name)).then(|| repo.to_owned())
}

impl Wanted {
    fn of(parts: &Parts) -> Option<Self> {
        let path: Vec<&str> = parts.uri.path().strip_prefix('/')?.split('/').collect();
        let (owner, name, rest) = match path.as_slice() {
            [owner, name, rest @ ..] => (owner, name.strip_suffix(".git").unwrap_or(name), rest),
            _ => return None,
        };
        if !is_name(owner) || !is_name(name) {
            return None;
        }
        let (service, need, push) = match (&parts.method, rest, parts.uri.query()) {
            (&Method::GET, ["info", "refs"], Some("service=git-upload-pack")) => {
                ("info/refs", Need::Read, false)
            }
            (&Method::GET, ["info", "refs"], Some("service=git-receive-pack")) => {
                ("info/refs", Need::Write, false)
            }
            (&Method::POST, ["git-upload-pack"], None) => ("git-upload-pack", Need::Read, false),
            (&Method::POST, ["git-receive-pack"], None) => ("git-receive-pack", Need::Write, true),
            _ => return None,
        };
        Some(Self { repo: format!("{owner}/{name}"), service, need, push })
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain)
}

/// The user name and the secret of `Basic` (any user name) or `Bearer` (no user name).
fn credential(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(("bearer".to_owned(), value.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn not_found() -> Refusal {
    Refusal { status: StatusCode::NOT_FOUND, message: "no such repository".to_owned() }
}

fn refuse(refusal: Refusal) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("{}\n", refusal.message)));
    *answer.status_mut() = refusal.status;
    // git shows a body of this type, line by line, after `remote: `.
    answer.headers_mut().insert(CONTENT_TYPE, "text/plain".parse().unwrap());
    answer.headers_mut().insert(CACHE_CONTROL, "no-cache".parse().unwrap());
    if refusal.status == StatusCode::UNAUTHORIZED {
        let challenge = r#"Basic realm="jeton git host""#;
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
    }
    answer
}

async fn drain(mut body: Body) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > DRAINED {
            return;
        }
    }
}

/// A push refused ref by ref, with the message as `remote: ` lines, as a hook would refuse it.
///
/// Why not 403: git does not show the body of a failed push request, only its status.
fn report(updates: &[RefUpdate], message: &str) -> Response<Body> {
    let reason = message.lines().next().unwrap_or_default();
    let mut status = pkt_line("unpack ok\n".as_bytes());
    for update in updates {
        status.extend(pkt_line(format!("ng {} {reason}\n", update.name).as_bytes()));
    }
    status.extend(b"0000");

    let mut bands = Vec::new();
    for (band, content) in [(2, format!("{message}\n").into_bytes()), (1, status)] {
        for part in content.chunks(32_000) {
            bands.extend(pkt_line(&[&[band], part].concat()));
        }
    }
    bands.extend(b"0000");
    let mut answer = Response::new(Body::from(bands));
    let kind = "application/x-git-receive-pack-result";
    answer.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
    answer.headers_mut().insert(CACHE_CONTROL, "no-cache".parse().unwrap());
    answer
}

fn pkt_line(content: &[u8]) -> Vec<u8> {
    [format!("{:04x}", content.len() + 4).as_bytes(), content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(path: &str) -> Option<String> {
        let target = format!("{path}/info/refs?service=git-upload-pack");
        let (parts, ()) = Request::get(target).body(()).unwrap().into_parts();
        Wanted::of(&parts).map(|wanted| wanted.repo)
    }

    #[test]
    fn a_repository_is_an_owner_and_a_name_and_nothing_that_leads_elsewhere() {
        assert_eq!(repo("/acme/web.git").as_deref(), Some("acme/web"));
        assert_eq!(repo("/acme/web").as_deref(), Some("acme/web"));
        for bad in ["/../web.git", "/acme/..", "/acme/.git", "//web.git", "/a%2fb/web.git", "/web"]
        {
            assert_eq!(repo(bad), None, "{bad}");
        }
    }
}
