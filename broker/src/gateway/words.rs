//! Refusals as people and models read them: in the output of git, or as a problem (RFC 9457).
//!
//! git shows the body of a refused request if that is plain text, line by line behind `remote: `.

use axum::{body::Body, response::IntoResponse};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE},
};
use jeton_domain::{
    decision::{Denial, Layer},
    scope::Scope,
};
use jeton_git::large::MEDIA_TYPE;
use tonic::Status;
use tonic_types::StatusExt;

use crate::{api::status, http::problem::Problem, operation::Refusal};

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Told {
    code: StatusCode,
    lines: Vec<String>,
    problem: Option<Status>,
}

impl Told {
    /// Of these words.
    pub fn new(code: StatusCode, words: &str) -> Self {
        Self { code, lines: vec![words.to_owned()], problem: None }
    }

    /// Of the status that a gRPC caller would get.
    pub fn plain(status: Status) -> Self {
        let mut lines = vec![status.message().to_owned()];
        let details = status.get_error_details();
        if let Some(info) = details.error_info() {
            let of = |name: &str| info.metadata.get(name).filter(|text| !text.is_empty());
            if let Some(ids) = of("policy_ids") {
                lines.push(format!("rule: {ids}"));
            }
            for scope in of("requestable").into_iter().flat_map(|all| all.lines()).take(3) {
                lines.push(format!("you may: {scope}"));
            }
            if let Some(grant) = of("grant") {
                lines.push(format!("wait for it: jeton grant claim {grant} --wait 10m"));
            }
        }
        Self { code: status::http_code(&status), lines, problem: Some(status) }
    }

    /// Of a refusal.
    pub fn of(refusal: Refusal) -> Self {
        Self::plain(refusal.into())
    }

    /// The lines that git shows, each with the name of who speaks.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("jeton: {line}\n")).collect()
    }

    /// The first line, without a name.
    pub fn first(&self) -> &str {
        self.lines.first().map_or("", String::as_str)
    }

    /// Spec: RFC 9110 §10.2.3: whole seconds.
    fn retry_seconds(&self) -> u64 {
        let details = self.problem.as_ref().map(|status| status.get_error_details());
        let wait = details.as_ref().and_then(|details| details.retry_info()?.retry_delay);
        wait.map_or(1, |wait| wait.as_secs().max(1))
    }

    /// As an answer that git shows.
    pub fn response(self) -> Response<Body> {
        let mut answer = Response::new(Body::from(self.text()));
        *answer.status_mut() = self.code;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.code == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_seconds()));
        }
        if self.code == StatusCode::UNAUTHORIZED {
            // Why Basic: it is what makes git ask its credential helper for the session's handle.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"jeton\""));
        }
        answer
    }

    /// As an answer to a client of large files, which shows what stands in `message`.
    pub fn large(self) -> Response<Body> {
        let words = self.text();
        let told = serde_json::json!({ "message": words.trim_end() });
        let mut answer = self.response();
        *answer.body_mut() = Body::from(told.to_string());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        answer
    }

    /// As an answer to a program: a problem, unless git asks.
    pub fn answer(self, headers: &HeaderMap) -> Response<Body> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let git = text(USER_AGENT).is_some_and(|agent| agent.starts_with("git/"));
        let plain = text(ACCEPT).is_some_and(|kinds| kinds.starts_with("text/plain"));
        match self.problem {
            Some(status) if !git && !plain => Problem::from(status).into_response(),
            problem => Self { problem, ..self }.response(),
        }
    }
}

/// Why a ref is not moved, in one line: what a person or a model does next stands in it.
pub(super) fn of_ref(name: &str, denial: &Denial, bounds: &[Scope]) -> String {
    let rules: Vec<_> = denial.decided_by.policies.iter().map(|id| id.as_str()).collect();
    let rule = match rules.as_slice() {
        [] => String::new(),
        rules => format!("; rule {}", rules.join(", ")),
    };
    let refs: Vec<_> = bounds.iter().filter_map(|scope| scope.git_ref.as_ref()).collect();
    let mut refs: Vec<_> = refs.iter().map(|pattern| pattern.as_str()).collect();
    refs.dedup();
    let own = refs.join(" or ");
    let what = match denial.layer {
        Layer::Envelope if refs.is_empty() => {
            format!("{name} is outside this session's scope")
        }
        Layer::Envelope => format!("{name} is outside this session's scope ({own})"),
        Layer::Session | Layer::Stop | Layer::Policy | Layer::Delivery | Layer::Budget => {
            format!("{name}: {}", denial.reason)
        }
    };
    let instead = match (denial.layer, denial.requestable.first(), refs.first()) {
        (Layer::Policy, Some(scope), _) => {
            format!("; ask with: jeton grant request --for-gateway '{scope}'")
        }
        (Layer::Envelope, _, Some(pattern)) => {
            format!(
                "; push to a ref like {pattern}, or have a session opened whose envelope holds it"
            )
        }
        _ => String::new(),
    };
    format!("{what}{rule}{instead}")
}
