//! What the gateway says of the upstreams that this session may call: their own addresses.

use http::{HeaderMap, Method, StatusCode};
use jeton_domain::scope::Upstream;
use reqwest::{Response, Url};
use serde::Deserialize;

use super::Gateway;
use crate::error::{Error, ErrorKind};

/// Longest answer that is read. Why: a gateway that is none must not fill the memory.
const LONGEST: usize = 256 * 1024;

/// One upstream, and where it is by its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamAddress {
    /// Its name at the broker.
    pub name: Upstream,
    /// Its API.
    pub api: Option<Url>,
    /// Its repositories: `URL/owner/name.git`.
    pub git: Option<Url>,
}

#[derive(Deserialize)]
struct RawDirectory {
    upstreams: Vec<RawAddress>,
}

#[derive(Deserialize)]
struct RawAddress {
    name: String,
    api: Option<String>,
    git: Option<String>,
}

impl Gateway {
    /// Asks which upstreams this session may call through it.
    ///
    /// # Errors
    /// When it can't be reached, does not know the session, or answers what can't be read.
    pub async fn upstreams(&self) -> Result<Vec<UpstreamAddress>, Error> {
        let answer = self.call(Method::GET, "/upstreams", HeaderMap::new(), None).await?;
        let status = answer.status();
        let body = read(answer).await?;
        match status {
            StatusCode::OK => parse(&body),
            StatusCode::UNAUTHORIZED => Err(Error::local(ErrorKind::Unauthenticated, told(&body))),
            StatusCode::FORBIDDEN => Err(Error::local(ErrorKind::Denied, told(&body))),
            StatusCode::NOT_FOUND => Err(Error::config(
                "the gateway does not tell its upstreams; it is older than this command",
            )),
            _ => {
                let words = format!("the gateway did not tell its upstreams ({status})");
                Err(Error::local(ErrorKind::Unavailable, words))
            }
        }
    }
}

async fn read(mut answer: Response) -> Result<Vec<u8>, Error> {
    let broken = |error: reqwest::Error| {
        let words = format!("the gateway's answer broke off: {}", error.without_url());
        Error::local(ErrorKind::Unavailable, words)
    };
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        if body.len().saturating_add(chunk.len()) > LONGEST {
            return Err(odd("it is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn parse(body: &[u8]) -> Result<Vec<UpstreamAddress>, Error> {
    let raw: RawDirectory =
        serde_json::from_slice(body).map_err(|error| odd(&error.to_string()))?;
    raw.upstreams.into_iter().map(address).collect()
}

fn address(raw: RawAddress) -> Result<UpstreamAddress, Error> {
    let name = Upstream::parse(&raw.name).map_err(|error| odd(&error.to_string()))?;
    Ok(UpstreamAddress { name, api: url(raw.api)?, git: url(raw.git)? })
}

fn url(text: Option<String>) -> Result<Option<Url>, Error> {
    let Some(text) = text else { return Ok(None) };
    let no_address = || odd(&format!("`{text}` is no address"));
    let url = Url::parse(&text).map_err(|_| no_address())?;
    let web = matches!(url.scheme(), "https" | "http") && url.has_host();
    let bare = url.username().is_empty() && url.password().is_none();
    let plain = url.query().is_none() && url.fragment().is_none();
    if web && bare && plain { Ok(Some(url)) } else { Err(no_address()) }
}

fn odd(words: &str) -> Error {
    let words = format!("the gateway's list of upstreams can't be read: {words}");
    Error::local(ErrorKind::Internal, words)
}

/// The first line of a refusal in plain text.
fn told(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("jeton: ").unwrap_or(line).chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let text = r#"{"upstreams":[{"name":"github","api":"https://api.github.com/","git":"https://github.com/"},{"name":"orders","api":"https://o/v1"}]}"#;
        let found = parse(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].git.as_ref().unwrap().as_str(), "https://github.com/");
        assert_eq!(found[1].git, None);
        for bad in [
            "[]",
            r#"{"upstreams":[{"name":"Git Hub"}]}"#,
            r#"{"upstreams":[{"name":"a","api":"file:///etc"}]}"#,
            r#"{"upstreams":[{"name":"a","api":"https://u:p@h/"}]}"#,
            r#"{"upstreams":[{"name":"a","api":"https://h/?q"}]}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
