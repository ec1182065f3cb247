//! Git's credential protocol: reads a question, decides whether it is for us, writes the answer.
//! Pure: it knows no broker and does no input or output.
//!
//! Spec: gitcredentials(7), git-credential(1) "INPUT/OUTPUT FORMAT".
//!
//! Invariants: an answer is written only for exactly the configured scheme, host and port, and only
//! for a path `owner/repo`. What git itself would never send is refused, not repaired: most holes in
//! credential helpers came from reading `\r`, `\n` or an empty host in another way than git does
//! (CVE-2020-5260, CVE-2020-11008, CVE-2024-50349, CVE-2024-52006).

use std::fmt;

/// Largest question, in bytes.
pub const BYTES: usize = 64 * 1024;
const LINES: usize = 64;
const LINE_BYTES: usize = 4 * 1024;

/// Why a question is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// Larger than [`BYTES`].
    #[error("it is larger than {BYTES} bytes")]
    Large,
    /// Too many lines.
    #[error("it has more than {LINES} lines")]
    Lines,
    /// A long line.
    #[error("a line is longer than {LINE_BYTES} bytes")]
    Line,
    /// Not text.
    #[error("it is not UTF-8")]
    Text,
    /// A control character.
    #[error("it holds a control character")]
    Control,
    /// No `=`.
    #[error("a line has no `=`")]
    NoValue,
    /// Something follows the blank line.
    #[error("something follows the blank line that ends it")]
    Tail,
    /// A key that has one value came twice, or as a whole URL.
    #[error("a key is given twice, or `url` is given, which git never sends")]
    Twice,
}

/// A web server: what must match exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    https: bool,
    host: String,
    port: u16,
}

/// What git asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Question {
    protocol: Option<String>,
    host: Option<String>,
    path: Option<String>,
    /// Whether git understands `authtype` and `credential`.
    pub authtype: bool,
}

/// Whether a question is for us.
#[derive(Debug, PartialEq, Eq)]
pub enum Aim {
    /// Another server.
    Elsewhere,
    /// Our server, but git told no path.
    NoPath,
    /// Our server, but not `owner/repo`.
    OddPath,
    /// A repository, as `owner/repo`.
    Repository(String),
}

impl Site {
    /// Reads `scheme://host` or `scheme://host:port`, with nothing after it but one `/`.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (protocol, rest) = url.split_once("://")?;
        Self::of(protocol, rest.strip_suffix('/').unwrap_or(rest))
    }

    fn of(protocol: &str, authority: &str) -> Option<Self> {
        let (https, default) = match protocol {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        let (host, port) = match authority.rsplit_once(':') {
            // Why: in `[::1]` the last colon belongs to the address.
            Some((host, port)) if !port.ends_with(']') => (host, port_number(port)?),
            Some(_) | None => (authority, default),
        };
        is_host(host).then(|| Self { https, host: host.to_ascii_lowercase(), port })
    }

    /// Whether a secret sent to it crosses a network in clear.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        let near = matches!(self.host.as_str(), "localhost" | "[::1]")
            || self.host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        !self.https && !near
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default) = if self.https { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != default {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl Question {
    /// Reads what git sent.
    ///
    /// # Errors
    /// When it is anything that git does not send.
    pub fn parse(bytes: &[u8]) -> Result<Self, Odd> {
        if bytes.len() > BYTES {
            return Err(Odd::Large);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Odd::Text)?;
        let mut question = Self::default();
        let mut lines = text.split('\n').enumerate();
        for (number, line) in lines.by_ref() {
            if line.is_empty() {
                break;
            }
            if number >= LINES {
                return Err(Odd::Lines);
            }
            question.take(line)?;
        }
        if lines.any(|(_, line)| !line.is_empty()) {
            return Err(Odd::Tail);
        }
        Ok(question)
    }

    fn take(&mut self, line: &str) -> Result<(), Odd> {
        if line.len() > LINE_BYTES {
            return Err(Odd::Line);
        }
        if line.chars().any(jeton_domain::id::unprintable) {
            return Err(Odd::Control);
        }
        let (key, value) = line.split_once('=').ok_or(Odd::NoValue)?;
        let slot = match key {
            "protocol" => &mut self.protocol,
            "host" => &mut self.host,
            "path" => &mut self.path,
            "url" => return Err(Odd::Twice),
            "capability[]" => {
                self.authtype |= value == "authtype";
                return Ok(());
            }
            // Spec: unrecognised attributes are ignored.
            _ => return Ok(()),
        };
        match slot.replace(value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(Odd::Twice),
        }
    }

    /// Tells whether the question is for this server, and about which repository.
    #[must_use]
    pub fn aims_at(&self, ours: &Site) -> Aim {
        let theirs = match (&self.protocol, &self.host) {
            (Some(protocol), Some(host)) => Site::of(protocol, host),
            (None, _) | (_, None) => None,
        };
        if theirs.as_ref() != Some(ours) {
            return Aim::Elsewhere;
        }
        match self.path.as_deref() {
            None | Some("") => Aim::NoPath,
            Some(path) => repository(path).map_or(Aim::OddPath, Aim::Repository),
        }
    }
}

/// What git is told.
pub struct Answer<'a> {
    /// User name beside the secret.
    pub username: &'a str,
    /// The secret.
    pub secret: &'a str,
    /// Whether the server wants it as `Bearer`; else it is `Basic`.
    pub bearer: bool,
    /// When it ends, in seconds since 1970.
    pub expires: Option<i64>,
}

impl Answer<'_> {
    /// Writes it for a git that understands `authtype`, or for an older one. `None` when a part could
    /// be read as another line.
    #[must_use]
    pub fn text(&self, authtype: bool) -> Option<String> {
        let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        if !plain(self.secret) || !plain(self.username) || self.username.contains(':') {
            return None;
        }
        let mut text = match authtype {
            true => format!(
                "capability[]=authtype\nauthtype={}\ncredential={}\nephemeral=1\n",
                if self.bearer { "Bearer" } else { "Basic" },
                if self.bearer { self.secret.to_owned() } else { self.basic() }
            ),
            false => format!("username={}\npassword={}\n", self.username, self.secret),
        };
        if let Some(expires) = self.expires {
            text.push_str(&format!("password_expiry_utc={expires}\n"));
        }
        Some(text)
    }

    /// Spec: RFC 7617.
    fn basic(&self) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.encode(format!("{}:{}", self.username, self.secret))
    }
}

fn repository(path: &str) -> Option<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix(".git").unwrap_or(path);
    let (owner, name) = path.split_once('/')?;
    let good = |segment: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
    };
    (good(owner) && good(name)).then(|| path.to_owned())
}

fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.len() <= 253 && host.bytes().all(plain)
        }
    }
}

fn port_number(text: &str) -> Option<u16> {
    // Why not `parse` alone: it takes `+5` and `0443`.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod noise;
#[cfg(test)]
mod tests;
