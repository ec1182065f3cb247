//! The run's CA, where tools look for the certificates that they trust.
//!
//! A tool trusts what it trusted before, and the CA beside it: what it reaches directly, such as a host of
//! `NO_PROXY`, goes on as before. Files hold certificates alone, whatever else stood in what was taken over.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use jeton_client::inherited;

use super::limits::TRUST_BYTES;
use crate::cli::failure::Failure;

/// Variables whose file stands in place of what a tool trusts by itself.
const INSTEAD: [&str; 13] = [
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "HTTPLIB2_CA_CERTS",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "BUNDLE_SSL_CA_CERT",
    "HEX_CACERTS_PATH",
];

/// Variables whose file stands beside it.
const BESIDE: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Where systems keep what they trust.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Writes the files into a folder and gives the variables that name them.
pub(super) fn put(folder: &Path, ca: &str) -> Result<Vec<(String, String)>, Failure> {
    let system = SYSTEM.iter().map(PathBuf::from).find(|path| path.is_file());
    put_beside(folder, ca, &inherited, system)
}

fn put_beside(
    folder: &Path,
    ca: &str,
    inherited: &dyn Fn(&str) -> Option<String>,
    system: Option<PathBuf>,
) -> Result<Vec<(String, String)>, Failure> {
    let general = inherited("SSL_CERT_FILE").map(PathBuf::from).or(system);
    let mut bundles = Bundles { folder, ca, made: HashMap::new() };
    let mut found = Vec::new();
    for name in INSTEAD {
        let before = inherited(name).map(PathBuf::from).or_else(|| general.clone());
        found.push((name.to_owned(), bundles.with(name, before)?));
    }
    for name in BESIDE {
        let before = inherited(name).map(PathBuf::from);
        found.push((name.to_owned(), bundles.with(name, before)?));
    }
    Ok(found)
}

struct Bundles<'a> {
    folder: &'a Path,
    ca: &'a str,
    made: HashMap<Option<PathBuf>, String>,
}

impl Bundles<'_> {
    /// The file that holds the CA and what stood in another file before.
    fn with(&mut self, name: &str, before: Option<PathBuf>) -> Result<String, Failure> {
        if let Some(made) = self.made.get(&before) {
            return Ok(made.clone());
        }
        let mut text = match &before {
            None => String::new(),
            Some(file) => certificates(file).map_err(|error| {
                Failure::config(format!(
                    "the certificates in `{}` ({name}) can't be taken over: {error}; name a file of certificates in PEM, or use --no-intercept",
                    file.display()
                ))
            })?,
        };
        text.push_str(self.ca);
        let file = match (&before, self.made.len()) {
            (None, _) => self.folder.join("ca.pem"),
            (Some(_), number) => self.folder.join(format!("trusted-{number}.pem")),
        };
        let odd = || Failure::config(format!("`{}` is not UTF-8", file.display()));
        let path = file.to_str().ok_or_else(odd)?.to_owned();
        fs::write(&file, text).map_err(|error| {
            Failure::Broken(format!("`{}` can't be written: {error}", file.display()))
        })?;
        self.made.insert(before, path.clone());
        Ok(path)
    }
}

/// The certificates of a file, and nothing else of it. Why: some keep a key in the same file.
fn certificates(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(file)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let limit = TRUST_BYTES.saturating_add(1);
    let read = file.take(limit).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > TRUST_BYTES) {
        return Err(io::Error::other("it is too large"));
    }
    let (mut kept, mut inside) = (String::new(), false);
    for line in text.lines() {
        let line = line.trim();
        inside |= BEGIN.contains(&line);
        if inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= !END.contains(&line);
    }
    Ok(kept)
}

const BEGIN: [&str; 2] = ["-----BEGIN CERTIFICATE-----", "-----BEGIN TRUSTED CERTIFICATE-----"];
const END: [&str; 2] = ["-----END CERTIFICATE-----", "-----END TRUSTED CERTIFICATE-----"];

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(text: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn tools_trust_what_they_trusted_and_the_ca_and_no_key_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let key = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";
        let corp = file("corp.pem", &format!("# ours\n{}{key}", pem("corp")));
        let system = file("system.pem", &pem("web"));
        let before = move |name: &str| {
            (name == "REQUESTS_CA_BUNDLE").then(|| corp.to_str().unwrap().to_owned())
        };
        let out = tempfile::tempdir().unwrap();
        let found = put_beside(out.path(), &pem("run"), &before, Some(system)).ok().unwrap();
        let holds = |name: &str| {
            let (_, path) = found.iter().find(|(known, _)| known == name).unwrap();
            fs::read_to_string(path).unwrap()
        };
        assert_eq!(holds("SSL_CERT_FILE"), pem("web") + &pem("run"));
        assert_eq!(holds("GIT_SSL_CAINFO"), pem("web") + &pem("run"));
        assert_eq!(holds("REQUESTS_CA_BUNDLE"), pem("corp") + &pem("run"));
        assert_eq!(holds("NODE_EXTRA_CA_CERTS"), pem("run"));
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_bundle_that_can_not_be_taken_over_is_told_and_not_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().to_str().unwrap().to_owned();
        let before = move |name: &str| (name == "CURL_CA_BUNDLE").then(|| named.clone());
        let failure = put_beside(folder.path(), "", &before, None).err().unwrap();
        let text = failure.text();
        assert!(text.contains("CURL_CA_BUNDLE") && text.contains("--no-intercept"), "{text}");
    }
}
