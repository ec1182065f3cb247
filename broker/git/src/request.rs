//! What a request is for: which repository, and what of it. Nothing in its line is decoded: a name that needs
//! that is none.
//!
//! Spec: `gitprotocol-http`; for large files the API of Git LFS, `docs/api/basic-transfers.md` there.

use std::fmt;

use jeton_domain::{
    id::quote,
    scope::{Resource, Upstream},
};

/// What git asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// What there is, to read.
    ReadAdvert,
    /// Objects.
    Read,
    /// What there is, to push.
    PushAdvert,
    /// A push.
    Push,
    /// Where large files are, or go.
    Batch,
    /// One of them, to read.
    Download(LargeFile),
    /// One of them, to keep.
    Upload(LargeFile),
}

impl Service {
    /// Its path below the repository, with its query.
    #[must_use]
    pub fn path(self) -> String {
        match self {
            Self::ReadAdvert => "info/refs?service=git-upload-pack".to_owned(),
            Self::PushAdvert => "info/refs?service=git-receive-pack".to_owned(),
            Self::Read => "git-upload-pack".to_owned(),
            Self::Push => "git-receive-pack".to_owned(),
            Self::Batch => format!("{LARGE}batch"),
            Self::Download(file) | Self::Upload(file) => file.path(),
        }
    }

    /// Its HTTP method.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::ReadAdvert | Self::PushAdvert | Self::Download(_) => "GET",
            Self::Read | Self::Push | Self::Batch => "POST",
            Self::Upload(_) => "PUT",
        }
    }

    /// Whether it writes. Of a batch only its body tells.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::PushAdvert | Self::Push | Self::Upload(_) => true,
            Self::ReadAdvert | Self::Read | Self::Batch | Self::Download(_) => false,
        }
    }
}

/// Below a repository, where large files are asked for.
const LARGE: &str = "info/lfs/objects/";

/// Name and size of a large file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeFile {
    /// SHA-256 of the content.
    pub id: [u8; 32],
    /// Bytes of it.
    pub size: u64,
}

impl LargeFile {
    /// Reads a name of 64 digits of hex in lower case.
    #[must_use]
    pub fn parse(id: &str, size: u64) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
            b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
            _ => None,
        };
        let (pairs, rest) = id.as_bytes().as_chunks::<2>();
        let mut found = [0; 32];
        if pairs.len() != found.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in found.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self { id: found, size })
    }

    /// Where the gateway has it, below the repository.
    #[must_use]
    pub fn path(self) -> String {
        format!("{LARGE}{self}/{}", self.size)
    }

    fn at(rest: &str) -> Option<Self> {
        let (id, size) = rest.split_once('/')?;
        let file = Self::parse(id, size.parse().ok()?)?;
        // Why: `+5` and `05` are numbers too, and another spelling.
        (file.size.to_string() == size).then_some(file)
    }
}

/// The name, in hex.
impl fmt::Display for LargeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&jeton_domain::secret::hex(&self.id))
    }
}

/// What is wanted of which repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where the repository is.
    pub upstream: Upstream,
    /// Which.
    pub resource: Resource,
    /// What of it.
    pub service: Service,
}

/// Why a request is for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    /// No repository.
    #[error("`{0}` is no repository here; write /git/UPSTREAM/OWNER/NAME.git")]
    Place(String),
    /// A client that reads files of a repository one by one.
    #[error("only the smart protocol passes; use a git of this century")]
    Dumb,
    /// Locks of large files.
    #[error("files can't be locked through the gateway; set lfs.locksverify to false")]
    Locks,
    /// No upstream's name.
    #[error("{0}")]
    Upstream(String),
}

impl Request {
    /// Reads the request's line.
    ///
    /// # Errors
    /// When it is for nothing.
    pub fn parse(method: &str, path: &str, query: Option<&str>) -> Result<Self, NoRequest> {
        let shape = || NoRequest::Place(quote(path));
        let rest = path.strip_prefix("/git/").ok_or_else(shape)?;
        let (upstream, rest) = rest.split_once('/').ok_or_else(shape)?;
        // Why the first: a name that holds `.git/` itself would be cut elsewhere by the upstream.
        let (resource, service) = rest.split_once(".git/").ok_or_else(shape)?;
        let large = service.strip_prefix(LARGE).and_then(LargeFile::at);
        let service = match (method, service, query) {
            ("GET", "info/refs", Some("service=git-upload-pack")) => Service::ReadAdvert,
            ("GET", "info/refs", Some("service=git-receive-pack")) => Service::PushAdvert,
            ("POST", "git-upload-pack", None) => Service::Read,
            ("POST", "git-receive-pack", None) => Service::Push,
            ("POST", "info/lfs/objects/batch", None) => Service::Batch,
            ("GET", "info/refs", _) => return Err(NoRequest::Dumb),
            (_, lfs, _) if lfs.starts_with("info/lfs/locks") => return Err(NoRequest::Locks),
            (method, _, None) => match (method, large) {
                ("GET", Some(file)) => Service::Download(file),
                ("PUT", Some(file)) => Service::Upload(file),
                _ => return Err(shape()),
            },
            _ => return Err(shape()),
        };
        let upstream =
            Upstream::parse(upstream).map_err(|error| NoRequest::Upstream(error.to_string()))?;
        let plain = |segment: &str| !segment.starts_with('.') && !segment.ends_with('.');
        let resource = Resource::parse(resource)
            .ok()
            .filter(|resource| resource.as_str().split('/').all(plain))
            .ok_or_else(shape)?;
        Ok(Self { upstream, resource, service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, path: &str, query: Option<&str>) -> Option<String> {
        let found = Request::parse(method, path, query).ok()?;
        Some(format!("{}:{} {:?}", found.upstream, found.resource, found.service))
    }

    fn wanted(path: &str) -> Option<String> {
        let found = Request::parse("POST", path, None).ok()?;
        Some(format!("{}:{}", found.upstream, found.resource))
    }

    #[test]
    fn a_repository_is_a_name_and_nothing_that_leads_elsewhere() {
        let ok = |name: &str| wanted(&format!("/git/{name}.git/git-upload-pack"));
        assert_eq!(ok("git/acme/web").as_deref(), Some("git:acme/web"));
        assert_eq!(ok("git/Acme/Web").as_deref(), Some("git:Acme/Web"));
        for bad in [
            "git/acme/../web",
            "git/acme/..",
            "git/./web",
            "git//web",
            "git/acme%2fweb",
            "git/acme/web.git/x",
            "git/acme/.git/web",
            "git/acme/.github",
            "git/acme\\web",
            "GIT/acme/web",
            "git/acme/w\u{435}b",
            "git/acme/*",
            "git",
        ] {
            assert_eq!(ok(bad), None, "{bad}");
        }
        for bad in [
            "/git/git/acme/web.git/git-upload-pack/",
            "/git/git/acme/web.git/git-upload-archive",
            "/git/git/acme/web.git/objects/info/packs",
            "/git/git/acme/web/git-upload-pack",
            "//git/git/acme/web.git/git-upload-pack",
            "/git/git/acme/web.git//git-upload-pack",
        ] {
            assert_eq!(wanted(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_service_is_named_in_one_way_only() {
        let of = |method: &str, tail: &str, query| {
            Request::parse(method, &format!("/git/git/a/b.git/{tail}"), query)
                .ok()
                .map(|r| r.service)
        };
        let read = Some("service=git-upload-pack");
        assert_eq!(of("GET", "info/refs", read), Some(Service::ReadAdvert));
        let push = Some("service=git-receive-pack");
        assert_eq!(of("GET", "info/refs", push), Some(Service::PushAdvert));
        for query in [None, Some(""), Some("service=git-receive-pack&service=git-upload-pack")] {
            assert_eq!(of("GET", "info/refs", query), None, "{query:?}");
        }
        assert_eq!(of("GET", "git-receive-pack", None), None);
        assert_eq!(of("POST", "git-receive-pack", Some("x")), None);
    }

    #[test]
    fn a_large_file_has_one_address_and_locks_are_told_apart() {
        let id = "ab".repeat(32);
        let of = |method: &str, tail: &str| {
            Request::parse(method, &format!("/git/git/a/b.git/{tail}"), None).map(|r| r.service)
        };
        let file = LargeFile::parse(&id, 5).unwrap();
        let path = format!("info/lfs/objects/{id}/5");
        assert_eq!(file.path(), path);
        assert_eq!(of("GET", &path), Ok(Service::Download(file)));
        assert_eq!(of("PUT", &path), Ok(Service::Upload(file)));
        assert_eq!(of("POST", "info/lfs/objects/batch"), Ok(Service::Batch));
        for odd in [
            format!("info/lfs/objects/{id}/+5"),
            format!("info/lfs/objects/{id}/05"),
            format!("info/lfs/objects/{id}/"),
            format!("info/lfs/objects/{id}"),
            format!("info/lfs/objects/{id}/5/"),
            format!("info/lfs/objects/{}/5", id.to_uppercase()),
            format!("info/lfs/objects/{}/5", &id[2..]),
            "info/lfs/objects/batch/".to_owned(),
        ] {
            assert!(of("GET", &odd).is_err() && of("PUT", &odd).is_err(), "{odd}");
        }
        assert!(of("POST", &path).is_err() && of("GET", "info/lfs/objects/batch").is_err());
        assert_eq!(of("POST", "info/lfs/locks/verify"), Err(NoRequest::Locks));
        assert_eq!(read("GET", &format!("/git/git/a/b.git/{path}"), Some("x")), None);
    }
}
