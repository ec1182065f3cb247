//! What the command finds in its environment: addresses, and no secret.

use std::net::SocketAddr;

use jeton_client::UpstreamAddress;
use jeton_domain::scope::Upstream;
use tokio::process::Command;

/// Repositories whose calls go through the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    upstream: Upstream,
    url: String,
}

impl Git {
    /// Whether they are this upstream's.
    pub(super) fn is_of(&self, upstream: &Upstream) -> bool {
        self.upstream == *upstream
    }
}

/// An API whose address a variable holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    upstream: Upstream,
    variable: String,
}

/// Reads `UPSTREAM=URL`.
pub(super) fn git(text: &str) -> Result<Git, String> {
    let odd = || "write it as UPSTREAM=URL, such as github=https://github.com".to_owned();
    let (upstream, url) = text.split_once('=').ok_or_else(odd)?;
    let upstream = Upstream::parse(upstream).map_err(|error| error.to_string())?;
    let known =
        ["https://", "http://", "ssh://", "git@"].iter().any(|start| url.starts_with(start));
    let plain = url.chars().all(|letter| letter.is_ascii_graphic());
    if known && plain { Ok(Git { upstream, url: url.to_owned() }) } else { Err(odd()) }
}

/// The repositories of an upstream by the address that the gateway knows, and by that of the same host over
/// SSH: what git would do there itself is not what the session may.
pub(super) fn gits_of(address: &UpstreamAddress) -> Vec<Git> {
    let Some(url) = &address.git else { return Vec::new() };
    let git = |url: String| Git { upstream: address.name.clone(), url };
    let mut found = vec![git(url.as_str().to_owned())];
    let whole = url.path() == "/" && url.scheme() == "https" && url.port().is_none();
    if let Some(host) = url.host_str().filter(|_| whole) {
        found.extend([git(format!("ssh://git@{host}/")), git(format!("git@{host}:"))]);
    }
    found
}

/// Reads `UPSTREAM=VARIABLE`.
pub(super) fn api(text: &str) -> Result<Api, String> {
    let odd = || "write it as UPSTREAM=VARIABLE, such as github=GITHUB_API_URL".to_owned();
    let (upstream, variable) = text.split_once('=').ok_or_else(odd)?;
    let upstream = Upstream::parse(upstream).map_err(|error| error.to_string())?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = variable.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if starts && variable.bytes().all(good) {
        Ok(Api { upstream, variable: variable.to_owned() })
    } else {
        Err(odd())
    }
}

/// Puts it all there.
pub(super) fn set(command: &mut Command, own: SocketAddr, git: &[Git], api: &[Api]) {
    for (name, value) in variables(own, git, api) {
        command.env(name, value);
    }
}

fn variables(own: SocketAddr, git: &[Git], api: &[Api]) -> Vec<(String, String)> {
    let base = format!("http://{own}");
    let mut found = vec![("JETON_PROXY".to_owned(), base.clone())];
    // Why counted from 0: what stood there before may name other helpers and other addresses.
    let mut settings = Vec::new();
    for Git { upstream, url } in git {
        let from = match url.strip_prefix("git@") {
            Some(_) => url.clone(),
            None => format!("{}/", url.trim_end_matches('/')),
        };
        settings.push((format!("url.{base}/git/{upstream}/.insteadOf"), from));
    }
    settings.push((format!("http.{base}/.proxy"), String::new()));
    settings.push((format!("credential.{base}.helper"), String::new()));
    found.push(("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string()));
    for (place, (key, value)) in settings.into_iter().enumerate() {
        found.push((format!("GIT_CONFIG_KEY_{place}"), key));
        found.push((format!("GIT_CONFIG_VALUE_{place}"), value));
    }
    // Why: an agent must not hang at a password prompt.
    found.push(("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()));
    for Api { upstream, variable } in api {
        found.push((variable.clone(), format!("{base}/api/{upstream}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_addresses_and_no_secret() {
        let own = SocketAddr::from(([127, 0, 0, 1], 8080));
        let git = [git("github=https://github.com").unwrap()];
        let api = [api("github=GITHUB_API_URL").unwrap()];
        let told: Vec<_> = variables(own, &git, &api)
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            told,
            [
                "JETON_PROXY=http://127.0.0.1:8080",
                "GIT_CONFIG_COUNT=3",
                "GIT_CONFIG_KEY_0=url.http://127.0.0.1:8080/git/github/.insteadOf",
                "GIT_CONFIG_VALUE_0=https://github.com/",
                "GIT_CONFIG_KEY_1=http.http://127.0.0.1:8080/.proxy",
                "GIT_CONFIG_VALUE_1=",
                "GIT_CONFIG_KEY_2=credential.http://127.0.0.1:8080.helper",
                "GIT_CONFIG_VALUE_2=",
                "GIT_TERMINAL_PROMPT=0",
                "GITHUB_API_URL=http://127.0.0.1:8080/api/github",
            ]
        );
    }

    #[test]
    fn repositories_are_met_by_the_addresses_that_people_write() {
        let of = |git: &str| {
            let name = Upstream::parse("github").unwrap();
            let git = reqwest::Url::parse(git).ok();
            let found = gits_of(&UpstreamAddress { name, api: None, git });
            found.into_iter().map(|git| git.url).collect::<Vec<_>>()
        };
        let all = ["https://github.com/", "ssh://git@github.com/", "git@github.com:"];
        assert_eq!(of("https://github.com"), all);
        assert_eq!(of("https://forge.acme.dev/git"), ["https://forge.acme.dev/git"]);
        assert_eq!(of("http://127.0.0.1:8080"), ["http://127.0.0.1:8080/"]);
    }

    #[test]
    fn what_is_odd_is_refused_with_what_to_write() {
        for text in ["github", "github=ftp://x", "GitHub=https://x", "github=https://x y"] {
            assert!(git(text).is_err(), "{text}");
        }
        for text in ["github", "github=A B", "github=1A", "github="] {
            assert!(api(text).is_err(), "{text}");
        }
    }
}
