//! GitHub for the tests: a reverse proxy in front of the emulator that adds what it lacks.
//!
//! It adds `DELETE /installation/token`, the end of tokens at their `expires_at`, the ten minutes
//! that an App JWT may live at most, and `GET /installation/repositories`. It also plays an
//! upstream that fails or lies, by [`Script`], and keeps a ledger of every token that passed
//! through. Its honest answers are held against GitHub's published contract by a test.
//!
//! What it cannot prove: how GitHub itself behaves where its contract says nothing, such as the
//! time a revocation takes to arrive everywhere.

mod answer;
mod app_jwt;
mod behind;
mod ledger;
mod mint;
mod repository;
mod revoke;
mod script;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value};

use crate::loopback::{Cut, Loopback};
use behind::{Asked, Credential, Said};
use ledger::{Held, Ledger};
use script::Play;

pub use behind::Behind;
pub use ledger::{Minted, Revocation, sha256};
pub use script::{Call, Expiry, Script};

/// More than any request of a test; a larger one is refused.
const LARGEST_REQUEST: usize = 16 * 1024 * 1024;

/// Tells the time to the front.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A running front; dropping it closes its port.
pub struct GithubFront {
    server: Loopback,
    state: Arc<State>,
}

/// A request that came to the other host of a [`Script::Redirect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strayed {
    pub method: String,
    /// Whether the caller took its credential along.
    pub with_authorization: bool,
}

struct State {
    behind: Behind,
    client: reqwest::Client,
    clock: Clock,
    url: OnceLock<String>,
    ledger: Mutex<Ledger>,
    mints: Mutex<Play>,
    revokes: Mutex<Play>,
    strayed: Mutex<Vec<Strayed>>,
    huge_sent: Arc<AtomicU64>,
}

impl GithubFront {
    /// Starts a front that goes by the time of the machine.
    pub async fn start(behind: Behind) -> Self {
        Self::start_at(behind, Arc::new(crate::now)).await
    }

    /// Starts a front that goes by this clock. The emulator has its own, which is the machine's.
    pub async fn start_at(behind: Behind, clock: Clock) -> Self {
        crate::crypto();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let state = Arc::new(State {
            behind,
            client,
            clock,
            url: OnceLock::new(),
            ledger: Mutex::default(),
            mints: Mutex::default(),
            revokes: Mutex::default(),
            strayed: Mutex::default(),
            huge_sent: Arc::default(),
        });
        let answering = Arc::clone(&state);
        let server = Loopback::serve(move |request| {
            let state = Arc::clone(&answering);
            // Why a task: a client that goes away must not undo half of what it asked for.
            async move { tokio::spawn(state.answer(request)).await.unwrap_or(Err(Cut)) }
        })
        .await;
        state.url.set(server.url()).unwrap();
        Self { server, state }
    }

    /// The base URL to give to a client of GitHub's API, without a slash at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Lets the next call that has no script yet follow this one.
    ///
    /// # Panics
    /// When the script means nothing for the call.
    pub fn next(&self, call: Call, script: Script) {
        assert!(script.fits(call), "{script:?} means nothing for {call:?}");
        locked(self.state.play(call)).then(script);
    }

    /// Lets every call follow this script from now on, and forgets those that were to come.
    ///
    /// # Panics
    /// When the script means nothing for the call.
    pub fn always(&self, call: Call, script: Script) {
        assert!(script.fits(call), "{script:?} means nothing for {call:?}");
        locked(self.state.play(call)).always(script);
    }

    /// Every token that was minted through the front, oldest first.
    pub fn minted(&self) -> Vec<Minted> {
        locked(&self.state.ledger).minted()
    }

    /// Those of them that still open something.
    pub fn live_tokens(&self) -> Vec<Minted> {
        locked(&self.state.ledger).working((self.state.clock)())
    }

    /// Every revocation that was asked for, oldest first.
    pub fn revocations(&self) -> Vec<Revocation> {
        locked(&self.state.ledger).revocations()
    }

    /// What a token opens at this moment; none when it is dead or never came from here.
    pub fn opens(&self, token: &str) -> Option<Minted> {
        self.state.live(token).map(|(minted, _)| minted)
    }

    /// From now on a token opens other repositories, as when one was renamed or moved.
    pub fn opens_now(&self, token: &str, repositories: &[&str]) {
        locked(&self.state.ledger).opens_now(token, repositories);
    }

    /// Brings the end of every token so far nearer by this much, as if it had been minted earlier.
    pub fn age_tokens(&self, by: SignedDuration) {
        locked(&self.state.ledger).age(by);
    }

    /// Who followed a redirect to another host.
    pub fn strayed(&self) -> Vec<Strayed> {
        locked(&self.state.strayed).clone()
    }

    /// How much of all huge bodies was taken by clients or lies in socket buffers.
    pub fn huge_bytes_sent(&self) -> u64 {
        self.state.huge_sent.load(Ordering::Relaxed)
    }
}

/// The credential of a request, owned; the front has judged it already.
enum Caller {
    App { jwt: String, issuer: String },
    Token { minted: Box<Minted>, held: Held },
    Other,
}

impl Caller {
    fn credential(&self) -> Credential<'_> {
        match self {
            Self::App { jwt, issuer } => Credential::App { jwt, issuer },
            Self::Token { minted, held } => Credential::Token { inner: &held.inner, minted },
            Self::Other => Credential::Other,
        }
    }
}

impl State {
    async fn answer(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Cut> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, LARGEST_REQUEST).await.map_err(|_| Cut)?;
        let path: Vec<&str> = parts.uri.path().trim_start_matches('/').split('/').collect();

        match (parts.method.as_str(), path.as_slice()) {
            (_, ["elsewhere", ..]) => Ok(self.stray(&parts)),
            ("POST", ["app", "installations", id, "access_tokens"]) => {
                self.mint(id.parse().unwrap_or_default(), &parts, body).await
            }
            ("DELETE", ["installation", "token"]) => self.revoke(&parts).await,
            ("GET", ["installation", "repositories"]) => Ok(self.repositories(&parts).await),
            _ => Ok(match self.caller(&parts.headers) {
                Ok(caller) => relay(self.behind(&parts, &caller, body).await),
                Err(message) => answer::error(401, message),
            }),
        }
    }

    /// Judges the credential of a request; the error is the message of a 401.
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, &'static str> {
        let Some(secret) = secret(headers) else {
            return Ok(Caller::Other);
        };
        if let Some((minted, held)) = self.live(secret) {
            return Ok(Caller::Token { minted: Box::new(minted), held });
        }
        if secret.starts_with("ghs_") {
            return Err("Bad credentials");
        }
        if secret.split('.').count() != 3 {
            return Ok(Caller::Other);
        }
        let claims = app_jwt::check(secret, (self.clock)())?;
        Ok(Caller::App { jwt: secret.to_owned(), issuer: claims.issuer })
    }

    async fn behind(&self, parts: &Parts, caller: &Caller, body: Bytes) -> Said {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let asked = Asked {
            method: &parts.method,
            target,
            headers: &parts.headers,
            body,
            credential: caller.credential(),
            now: (self.clock)(),
        };
        match &self.behind {
            Behind::Emulator(base) => behind::forward(&self.client, base, asked).await,
            Behind::Nothing(seed) => behind::pretend(seed, &asked),
        }
    }

    /// Asks behind the front on a caller's behalf.
    async fn get(&self, caller: &Caller, target: &str) -> Said {
        let request = Request::get(target).body(()).unwrap();
        self.behind(&request.into_parts().0, caller, Bytes::new()).await
    }

    fn live(&self, token: &str) -> Option<(Minted, Held)> {
        locked(&self.ledger).live(token, (self.clock)())
    }

    fn stray(&self, parts: &Parts) -> Response<Body> {
        locked(&self.strayed).push(Strayed {
            method: parts.method.to_string(),
            with_authorization: parts.headers.contains_key(AUTHORIZATION),
        });
        answer::error(404, "Not Found")
    }

    /// The same port under another host name, so that a client sees a cross-host redirect.
    fn elsewhere(&self) -> String {
        format!("{}/elsewhere/", self.api().replace("127.0.0.1", "localhost"))
    }

    fn api(&self) -> &str {
        self.url.get().map(String::as_str).unwrap_or_default()
    }

    fn play(&self, call: Call) -> &Mutex<Play> {
        match call {
            Call::Mint => &self.mints,
            Call::Revoke => &self.revokes,
        }
    }
}

/// The secret of `Authorization: Bearer …` or `token …`, the two spellings that GitHub takes.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let known = ["bearer", "token"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known.then(|| secret.trim())
}

fn relay(said: Said) -> Response<Body> {
    let mut answer = answer::empty(said.status);
    *answer.headers_mut() = said.headers;
    *answer.body_mut() = Body::from(said.body);
    answer
}

fn full_name(repository: &Map<String, Value>) -> Option<String> {
    repository.get("full_name")?.as_str().map(str::to_owned)
}

/// A token of this many characters that looks like GitHub's.
fn random_token(length: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
    let mut bytes = vec![0; length.saturating_sub(4)];
    SystemRandom::new().fill(&mut bytes).unwrap();
    let letters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % 64]));
    "ghs_".chars().chain(letters).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
