//! The variables that send a tool's calls to the local server.

use std::net::SocketAddr;

use super::places::Places;

/// Variables that name the proxy. Why both spellings: curl reads `HTTP_PROXY` in small letters only, others
/// only in large ones.
const PROXY: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Names of this machine, where a command's own servers are.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// All of them. What `NO_PROXY` held before stays, for what the user wanted reached directly; only what would
/// keep an upstream's calls away from here goes.
pub(super) fn variables(
    own: SocketAddr,
    places: &Places,
    before: Option<&str>,
) -> Vec<(String, String)> {
    let proxy = format!("http://{own}");
    let mut found: Vec<_> = PROXY.iter().map(|name| ((*name).to_owned(), proxy.clone())).collect();
    let hosts = places.hosts();
    let before = before.unwrap_or_default().split(',').map(str::trim);
    let mut direct: Vec<String> = Vec::new();
    for entry in HERE.into_iter().chain(before.filter(|entry| !entry.is_empty())) {
        let known = direct.iter().any(|known| known == entry);
        if !known && !hosts.iter().any(|host| covers(entry, host)) {
            direct.push(entry.to_owned());
        }
    }
    // Why with the port too: where an upstream is on this machine, its address as a whole stays out.
    direct.push(own.to_string());
    for name in ["NO_PROXY", "no_proxy"] {
        found.push((name.to_owned(), direct.join(",")));
    }
    // Node reads the others only if it is told to.
    found.push(("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned()));
    found
}

/// Whether an entry of `NO_PROXY` would keep a host's calls away from the proxy, as the widest reader has it.
fn covers(entry: &str, host: &str) -> bool {
    let entry = entry.to_ascii_lowercase();
    let name = match entry.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            name.to_owned()
        }
        Some(_) | None => entry,
    };
    let name = name.trim_start_matches('*').trim_start_matches('.');
    let plain = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_owned();
    let (name, host) = (plain(name), plain(host));
    name.is_empty() || host == name || host.ends_with(&format!(".{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_client::UpstreamAddress;
    use jeton_domain::scope::Upstream;
    use reqwest::Url;

    fn direct(api: &str, before: &str) -> String {
        let api = Url::parse(api).ok();
        let name = Upstream::parse("a").unwrap();
        let places = Places::of(&[UpstreamAddress { name, api, git: None }]);
        let own = SocketAddr::from(([127, 0, 0, 1], 8080));
        let found = variables(own, &places, Some(before));
        assert!(found.contains(&("https_proxy".to_owned(), "http://127.0.0.1:8080".to_owned())));
        found.into_iter().find(|(name, _)| name == "NO_PROXY").unwrap().1
    }

    #[test]
    fn what_was_reached_directly_still_is_except_for_the_upstreams() {
        let here = "localhost,127.0.0.1,::1";
        let own = "127.0.0.1:8080";
        for (before, expected) in [
            ("", format!("{here},{own}")),
            (
                "corp.example.org, localhost,10.0.0.0/8",
                format!("{here},corp.example.org,10.0.0.0/8,{own}"),
            ),
            ("*", format!("{here},{own}")),
            (
                ".GitHub.com,x.api.github.com,hub.com",
                format!("{here},x.api.github.com,hub.com,{own}"),
            ),
            ("api.github.com:443,.com", format!("{here},{own}")),
        ] {
            assert_eq!(direct("https://api.github.com", before), expected, "{before}");
        }
        assert_eq!(direct("https://127.0.0.1:9", ""), format!("localhost,::1,{own}"));
        assert_eq!(direct("https://localhost:9", ""), format!("127.0.0.1,::1,{own}"));
    }
}
