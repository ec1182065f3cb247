//! Which addresses are whose: from the host, port and path of a call to the upstream that it is for.
//!
//! Hosts are compared as they are written, in lower case. What is written oddly is no address that is known.

use std::{collections::BTreeSet, fmt};

use jeton_client::UpstreamAddress;
use jeton_domain::scope::Upstream;
use reqwest::Url;

use super::limits::HOSTS_TOLD;

/// A scheme, a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Origin {
    /// Whether it is https.
    pub secure: bool,
    /// In lower case; an address of IPv6 stands in brackets.
    pub host: String,
    port: u16,
}

impl Origin {
    /// Reads `host` or `host:port`, as it stands in `Host`.
    pub fn of_host(secure: bool, text: &str) -> Option<Self> {
        let bare = match text.rfind(']') {
            Some(end) => end.checked_add(1)? == text.len(),
            None => !text.contains(':'),
        };
        match bare {
            true => Self::of_parts(secure, text, default_port(secure)),
            false => Self::of_tunnel(secure, text),
        }
    }

    /// Reads `host:port`, as it stands behind CONNECT.
    pub fn of_tunnel(secure: bool, text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let digits = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
        // Why: `0443` and `+443` are ports to some readers.
        if !digits || port.starts_with('0') {
            return None;
        }
        Self::of_parts(secure, host, port.parse().ok()?)
    }

    fn of_parts(secure: bool, host: &str, port: u16) -> Option<Self> {
        let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let plain = match inside {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                !host.is_empty() && host.len() <= 253 && host.bytes().all(good)
            }
        };
        plain.then(|| Self { secure, host: host.to_ascii_lowercase(), port })
    }

    fn of_url(url: &Url) -> Option<Self> {
        let (secure, host) = (url.scheme() == "https", url.host_str()?.to_ascii_lowercase());
        Some(Self { secure, host, port: url.port_or_known_default()? })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "https://" } else { "http://" })?;
        f.write_str(&self.host)?;
        match self.port == default_port(self.secure) {
            true => Ok(()),
            false => write!(f, ":{}", self.port),
        }
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Api,
    Git,
}

/// One address of one upstream.
#[derive(Debug, Clone)]
struct Place {
    kind: Kind,
    upstream: Upstream,
    origin: Origin,
    /// Without a slash at the end.
    path: String,
}

/// All addresses that this run knows.
#[derive(Debug, Clone)]
pub(super) struct Places(Vec<Place>);

/// The way of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// What is asked of the gateway, from the first slash on.
    pub inner: String,
    /// What stands for the upstream's own address in paths of the gateway.
    prefix: String,
    /// The upstream's own address.
    base: String,
}

impl Way {
    /// Turns the place of a redirect that leads through the gateway back into the upstream's own address.
    pub fn outward(&self, place: &str) -> Option<String> {
        let below = place.strip_prefix(&self.prefix)?;
        // Why: `/api/git` is not the beginning of `/api/github`.
        let whole = below.is_empty() || below.starts_with(['/', '?']);
        whole.then(|| format!("{}{below}", self.base))
    }
}

impl Places {
    /// Of what the gateway told.
    pub fn of(upstreams: &[UpstreamAddress]) -> Self {
        let mut places = Vec::new();
        for UpstreamAddress { name, api, git } in upstreams {
            let mut add = |kind, url: &Option<Url>| {
                let Some(url) = url else { return };
                if let Some(origin) = Origin::of_url(url) {
                    let path = url.path().trim_end_matches('/').to_owned();
                    places.push(Place { kind, upstream: name.clone(), origin, path });
                }
            };
            add(Kind::Api, api);
            add(Kind::Git, git);
        }
        // Why: the narrowest place is meant. The sort is stable, so that of two equals the first one is.
        places.sort_by_key(|place| std::cmp::Reverse(place.path.len()));
        Self(places)
    }

    /// Whether no call could be meant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is at this address.
    pub fn holds(&self, origin: &Origin) -> bool {
        self.0.iter().any(|place| place.origin == *origin)
    }

    /// The hosts, each once.
    pub fn hosts(&self) -> BTreeSet<&str> {
        self.0.iter().map(|place| place.origin.host.as_str()).collect()
    }

    /// Upstreams whose calls go to another one, for both have one address: the one without, the one with.
    pub fn hidden(&self) -> Vec<(&Upstream, &Upstream)> {
        let same = |one: &Place, other: &Place| {
            one.kind == other.kind && one.origin == other.origin && one.path == other.path
        };
        let mut found = Vec::new();
        for (place, second) in self.0.iter().enumerate() {
            let first = self.0.iter().take(place).find(|first| same(first, second));
            found.extend(first.map(|first| (&second.upstream, &first.upstream)));
        }
        found
    }

    /// Which way a call goes. Its target is a path that may have a query.
    pub fn way(&self, origin: &Origin, target: &str) -> Option<Way> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let here = |place: &&Place| {
            let below = path.strip_prefix(&place.path);
            place.origin == *origin
                && below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        };
        let kind = if is_git(path) { Kind::Git } else { Kind::Api };
        let mut all = self.0.iter().filter(here);
        let place = all.clone().find(|place| place.kind == kind).or_else(|| all.next())?;
        let below = path.strip_prefix(&place.path)?;
        let (room, below) = match place.kind {
            Kind::Api => ("api", below.to_owned()),
            Kind::Git => ("git", named(below)),
        };
        let prefix = format!("/{room}/{}", place.upstream);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let base = format!("{}{}", place.origin, place.path);
        Some(Way { inner: format!("{prefix}{below}{query}"), prefix, base })
    }

    /// The addresses, for a refusal.
    pub fn told(&self) -> String {
        let own = |place: &Place| format!("{}{}", place.origin, place.path);
        let all: BTreeSet<String> = self.0.iter().map(own).collect();
        let shown: Vec<_> = all.iter().take(HOSTS_TOLD).map(String::as_str).collect();
        match shown.as_slice() {
            [] => "there is none in this session".to_owned(),
            shown if shown.len() < all.len() => format!("{}, …", shown.join(", ")),
            shown => shown.join(", "),
        }
    }
}

/// What only git asks for.
const GIT: [&str; 3] = ["/info/refs", "/git-upload-pack", "/git-receive-pack"];

fn is_git(path: &str) -> bool {
    GIT.iter().any(|end| path.ends_with(end)) || path.contains("/info/lfs/")
}

/// Why: hosts know a repository with and without `.git`, the gateway has one name for it.
fn named(below: &str) -> String {
    let cut = GIT.iter().find_map(|end| Some((below.strip_suffix(end)?, end)));
    match cut {
        Some((repository, end)) if !repository.ends_with(".git") => {
            format!("{}.git{end}", repository.trim_end_matches('/'))
        }
        Some(_) | None => below.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let url = |text: &str| Some(Url::parse(text).unwrap());
        let named = |name: &str, api: Option<Url>, git: Option<Url>| UpstreamAddress {
            name: Upstream::parse(name).unwrap(),
            api,
            git,
        };
        Places::of(&[
            named("ghes", url("https://forge.acme.dev/api/v3"), url("https://forge.acme.dev/")),
            named("github", url("https://api.github.com/"), url("https://github.com")),
            named("orders", url("http://orders.acme.dev:8080/base/"), None),
            named("twin", url("https://api.github.com"), None),
        ])
    }

    fn inner(origin: &str, target: &str) -> Option<String> {
        let (secure, host) = match origin.strip_prefix("https://") {
            Some(host) => (true, host),
            None => (false, origin.strip_prefix("http://").unwrap()),
        };
        let origin = Origin::of_host(secure, host).unwrap();
        places().way(&origin, target).map(|way| way.inner)
    }

    #[test]
    fn a_call_goes_to_the_upstream_whose_address_it_has() {
        for (origin, target, expected) in [
            ("https://api.github.com", "/repos/a/b?page=2", Some("/api/github/repos/a/b?page=2")),
            ("https://API.GitHub.com:443", "/x", Some("/api/github/x")),
            ("https://api.github.com:8443", "/x", None),
            ("http://api.github.com", "/x", None),
            (
                "https://github.com",
                "/a/b.git/info/refs?service=x",
                Some("/git/github/a/b.git/info/refs?service=x"),
            ),
            (
                "https://github.com",
                "/a/b/git-upload-pack",
                Some("/git/github/a/b.git/git-upload-pack"),
            ),
            ("https://forge.acme.dev", "/api/v3/repos", Some("/api/ghes/repos")),
            ("https://forge.acme.dev", "/api/v30/repos", Some("/git/ghes/api/v30/repos")),
            ("https://forge.acme.dev", "/a/b.git/info/refs", Some("/git/ghes/a/b.git/info/refs")),
            ("http://orders.acme.dev:8080", "/base/v1", Some("/api/orders/v1")),
            ("http://orders.acme.dev:8080", "/other", None),
            ("https://evil.example.org", "/x", None),
        ] {
            assert_eq!(inner(origin, target).as_deref(), expected, "{origin}{target}");
        }
        let hidden = places();
        let hidden: Vec<_> = hidden.hidden().into_iter().map(|(a, b)| format!("{a} {b}")).collect();
        assert_eq!(hidden, ["twin github"]);
    }

    #[test]
    fn an_address_has_one_spelling() {
        for good in ["h:443", "127.0.0.1:1", "[::1]:65535", "a-b.c_d:80"] {
            assert!(Origin::of_tunnel(true, good).is_some(), "{good}");
        }
        for bad in [
            "h",
            "h:",
            ":443",
            "h:0",
            "h:0443",
            "h:+443",
            "h:65536",
            "h:99999999",
            "u@h:443",
            "u:p@h:443",
            "[::1:443",
            "::1:443",
            "h/x:443",
            "h:443:443",
            "h%2e:443",
            "",
            "[h]:1",
            "h\u{e9}:443",
        ] {
            assert!(Origin::of_tunnel(true, bad).is_none(), "{bad}");
        }
        assert_eq!(Origin::of_host(true, "H"), Origin::of_tunnel(true, "h:443"));
        assert_eq!(Origin::of_host(false, "[::1]"), Origin::of_tunnel(false, "[::1]:80"));
        assert!(Origin::of_host(true, "u@h").is_none());
    }

    #[test]
    fn a_redirect_through_the_gateway_becomes_the_upstreams_own_address() {
        let origin = Origin::of_host(true, "forge.acme.dev").unwrap();
        let way = places().way(&origin, "/api/v3/a").unwrap();
        let out = |place| way.outward(place);
        assert_eq!(out("/api/ghes/b?x").as_deref(), Some("https://forge.acme.dev/api/v3/b?x"));
        assert_eq!(out("/api/ghes2/b"), None);
        assert_eq!(out("https://elsewhere.example.org/"), None);
    }
}
