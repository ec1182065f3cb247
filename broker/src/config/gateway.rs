//! The gateway: where it listens, what it takes at most, and where upstreams are for it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use reqwest::Url;

use super::{address, external_url, reader::Section};
use crate::{
    limits::{FILE_MIB, PUSH_MIB},
    upstream::kept::KeyHeader,
};

/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// The gateway.
pub struct GatewayConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What clients call it: the start of the URLs in DPoP proofs.
    pub external_urls: Vec<String>,
    /// Where pushes wait on disk until they are decided.
    pub spool: Option<PathBuf>,
    /// Largest push, in bytes.
    pub push_bytes: u64,
    /// Largest file of a push, in bytes.
    pub file_bytes: u64,
    /// One of so many ordinary reads is told to the log.
    pub one_of: u32,
}

/// Where an upstream is for the gateway.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Its repositories: `URL/owner/name.git`.
    pub git: Option<Url>,
    /// Its API.
    pub api: Option<Url>,
    /// Where it keeps large files, if not there: `https://HOST`, and no path.
    pub large_files: Vec<Url>,
    /// How it takes a key that never changes.
    pub key: KeyHeader,
    /// The CA of its certificates, in PEM; without it those that the web trusts.
    pub ca: Option<PathBuf>,
}

pub(super) fn read(root: &Section<'_>, folder: &Path) -> Option<GatewayConfig> {
    if !root.has("gateway") {
        return None;
    }
    let section = root.section("gateway");
    let listen = section.parse("listen", address);
    let listen =
        section.require("listen", listen, "write an address and port, such as \"0.0.0.0:7444\"");
    let external_urls = section.parse_all("external_urls", external_url);
    let spool = section.file("spool", folder);
    let bytes = |key, most: u64| section.number(key).unwrap_or(most).saturating_mul(MIB);
    let (push_bytes, file_bytes) = (bytes("push_mib", PUSH_MIB), bytes("file_mib", FILE_MIB));
    if push_bytes == 0 || file_bytes == 0 {
        section.wrong("push_mib", "nothing could be pushed; leave it out, or write how many MiB");
    }
    let one_of = u32::try_from(section.number("log_one_read_of").unwrap_or(1)).unwrap_or(0);
    if one_of == 0 {
        section
            .wrong("log_one_read_of", "write 1 to have each read in the log, or one of how many");
    }
    section.finish();
    Some(GatewayConfig { listen: listen?, external_urls, spool, push_bytes, file_bytes, one_of })
}

/// Reads where an upstream is. `api` is what is known of that already.
pub(super) fn reach(section: &Section<'_>, folder: &Path, api: Option<Url>) -> Reach {
    Reach {
        git: section.parse("git", base_url),
        api,
        large_files: section.parse_all("large_files", host_url),
        key: KeyHeader::default(),
        ca: section.file("ca", folder),
    }
}

/// The address of a host, without a path.
fn host_url(text: &str) -> Result<Url, String> {
    let url = base_url(text)?;
    match url.path() {
        "/" => Ok(url),
        _ => Err(format!(
            "`{text}` must be an address without a path, such as https://files.acme.dev"
        )),
    }
}

/// The address below which something is: https, or a host of this machine.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = super::outside_url(text)?;
    let bare = url.query().is_none() && url.fragment().is_none();
    match bare && url.username().is_empty() && url.password().is_none() {
        true => Ok(url),
        false => Err(format!("`{text}` must be an address without a user, `?` and `#`")),
    }
}
