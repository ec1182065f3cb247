//! Large files: what a client asks for in one batch, and what its upstream says of it.
//!
//! An upstream answers with addresses that open by themselves, signed or with a token beside them. Those never
//! go on: the client hears of addresses of the gateway.
//!
//! Spec: Git LFS, `docs/api/batch.md`.

use jeton_domain::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::{
    limits::{LARGE_FILES, LARGE_HEADERS},
    request::LargeFile,
};

/// What batches and their answers are sent as.
pub const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Whether it brings them.
    pub upload: bool,
    /// Which.
    pub files: Vec<LargeFile>,
}

/// Why a batch is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBatch {
    /// Its form.
    #[error("the batch can't be read: {0}")]
    Odd(String),
    /// Its hash.
    #[error("large files are named by `{0}`, which the gateway can't check; use sha256")]
    Hash(String),
    /// Its length.
    #[error("the batch names more than {LARGE_FILES} files; set lfs.concurrenttransfers lower")]
    TooMany,
    /// How it would be sent.
    #[error("large files pass by the transfer `basic` only; do not turn it off")]
    Transfer,
}

#[derive(Deserialize)]
struct RawBatch {
    operation: Operation,
    transfers: Option<Vec<String>>,
    hash_algo: Option<String>,
    objects: Vec<RawFile>,
}

#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Download,
    Upload,
}

#[derive(Deserialize)]
struct RawFile {
    oid: String,
    size: u64,
}

impl Batch {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoBatch> {
        let odd = |error: serde_json::Error| NoBatch::Odd(error.to_string());
        let raw: RawBatch = serde_json::from_slice(bytes).map_err(odd)?;
        if let Some(hash) = raw.hash_algo.filter(|hash| hash != "sha256") {
            return Err(NoBatch::Hash(jeton_domain::id::quote(&hash)));
        }
        // Spec: a client that names none means `basic`.
        if raw.transfers.is_some_and(|all| !all.is_empty() && !all.iter().any(|t| t == "basic")) {
            return Err(NoBatch::Transfer);
        }
        if raw.objects.len() > LARGE_FILES {
            return Err(NoBatch::TooMany);
        }
        let file = |raw: &RawFile| {
            let odd = || NoBatch::Odd("an object's oid is no SHA-256 in lower case".to_owned());
            LargeFile::parse(&raw.oid, raw.size).ok_or_else(odd)
        };
        let files = raw.objects.iter().map(file).collect::<Result<_, _>>()?;
        Ok(Self { upload: raw.operation == Operation::Upload, files })
    }

    /// As the upstream is asked.
    #[must_use]
    pub fn asked(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Asked {
            operation: Operation,
            transfers: [&'static str; 1],
            hash_algo: &'static str,
            objects: Vec<Named>,
        }
        let operation = if self.upload { Operation::Upload } else { Operation::Download };
        let objects = self.files.iter().map(Named::of).collect();
        let asked = Asked { operation, transfers: ["basic"], hash_algo: "sha256", objects };
        serde_json::to_vec(&asked).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Named {
    oid: String,
    size: u64,
}

impl Named {
    fn of(file: &LargeFile) -> Self {
        Self { oid: file.to_string(), size: file.size }
    }
}

/// Where something is done with a file, and what stands beside the request. Both open by themselves.
pub struct Address {
    /// The URL.
    pub url: Secret,
    /// Headers to send.
    pub headers: Vec<(String, Secret)>,
}

/// What an upstream says of one file.
pub struct Said {
    /// Which.
    pub file: LargeFile,
    /// Where to get it or bring it; `None` if there is nothing to do.
    pub to: Option<Address>,
    /// Where to tell that it was brought.
    pub verify: Option<Address>,
    /// Why not, in the upstream's own words.
    pub error: Option<(u16, String)>,
}

#[derive(Deserialize)]
struct RawAnswer {
    transfer: Option<String>,
    objects: Vec<RawSaid>,
}

#[derive(Deserialize)]
struct RawSaid {
    oid: String,
    #[serde(default)]
    size: u64,
    actions: Option<RawActions>,
    error: Option<RawError>,
}

#[derive(Deserialize, Default)]
struct RawActions {
    download: Option<RawAddress>,
    upload: Option<RawAddress>,
    verify: Option<RawAddress>,
}

#[derive(Deserialize)]
struct RawAddress {
    href: String,
    header: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawError {
    code: u16,
    #[serde(default)]
    message: String,
}

impl RawAddress {
    fn read(self) -> Option<Address> {
        let header = self.header.unwrap_or_default();
        if header.len() > LARGE_HEADERS {
            return None;
        }
        let headers = header.into_iter().map(|(name, value)| (name, Secret::new(value)));
        Some(Address { url: Secret::new(self.href), headers: headers.collect() })
    }
}

/// Reads what an upstream says of a batch, of files that were asked for. `None` if it is not understood.
#[must_use]
pub fn said(bytes: &[u8], batch: &Batch) -> Option<Vec<Said>> {
    let raw: RawAnswer = serde_json::from_slice(bytes).ok()?;
    if raw.transfer.is_some_and(|transfer| transfer != "basic") || raw.objects.len() > LARGE_FILES {
        return None;
    }
    let mut found = Vec::new();
    for object in raw.objects {
        let file = LargeFile::parse(&object.oid, object.size)?;
        // Why: what was not asked for was not decided.
        if !batch.files.contains(&file) {
            return None;
        }
        let RawActions { download, upload, verify } = object.actions.unwrap_or_default();
        let to = if batch.upload { upload } else { download };
        let read = |address: Option<RawAddress>| address.map(RawAddress::read);
        let (to, verify) = (read(to), read(verify.filter(|_| batch.upload)));
        let error = object.error.map(|error| (error.code, error.message));
        let (to, verify) = (some(to)?, some(verify)?);
        found.push(Said { file, to: to.filter(|_| error.is_none()), verify, error });
    }
    Some(found)
}

/// Of what may not be there, but must be good if it is.
fn some<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// The answer to a client, in which errors stand in the words that they have by now; its files are at `base`, an address without a slash at its end.
#[must_use]
pub fn told(said: &[Said], upload: bool, base: &str) -> Vec<u8> {
    let object = |said: &Said| {
        let mut object = serde_json::json!({
            "oid": said.file.to_string(),
            "size": said.file.size,
        });
        if let Some(fields) = object.as_object_mut() {
            if said.to.is_some() {
                let way = if upload { "upload" } else { "download" };
                let href = format!("{base}/{}", said.file.path());
                fields.insert("actions".into(), serde_json::json!({ way: { "href": href } }));
            }
            if let Some((code, message)) = &said.error {
                let error = serde_json::json!({ "code": code, "message": message });
                fields.insert("error".into(), error);
            }
        }
        object
    };
    let objects: Vec<_> = said.iter().map(object).collect();
    let told =
        serde_json::json!({ "transfer": "basic", "hash_algo": "sha256", "objects": objects });
    serde_json::to_vec(&told).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asks(operation: &str) -> String {
        let oid = "ab".repeat(32);
        format!(r#"{{"operation":"{operation}","objects":[{{"oid":"{oid}","size":5}}]}}"#)
    }

    #[test]
    fn the_addresses_of_the_upstream_do_not_go_on() {
        let batch = Batch::parse(asks("upload").as_bytes()).unwrap();
        let again = Batch::parse(&batch.asked()).unwrap();
        assert_eq!(again, batch);
        let oid = "ab".repeat(32);
        let answer = format!(
            r#"{{"objects":[{{"oid":"{oid}","size":5,"actions":{{"upload":{{"href":"https://s3/x?sig=canary","header":{{"Authorization":"canary"}}}},"verify":{{"href":"https://s3/v"}}}}}}]}}"#
        );
        let said = said(answer.as_bytes(), &batch).unwrap();
        assert_eq!(said[0].to.as_ref().unwrap().url.expose(), "https://s3/x?sig=canary");
        assert_eq!(said[0].verify.as_ref().unwrap().url.expose(), "https://s3/v");
        let told = String::from_utf8(told(&said, true, "https://gate/git/a/b/c.git")).unwrap();
        assert!(!told.contains("canary") && !told.contains("s3"), "{told}");
        let href = format!(r#""href":"https://gate/git/a/b/c.git/info/lfs/objects/{oid}/5""#);
        assert!(told.contains(&href), "{told}");
    }

    #[test]
    fn what_was_not_asked_for_or_is_odd_is_no_answer() {
        let batch = Batch::parse(asks("download").as_bytes()).unwrap();
        let (oid, other) = ("ab".repeat(32), "cd".repeat(32));
        for answer in [
            format!(r#"{{"objects":[{{"oid":"{other}","size":5}}]}}"#),
            format!(r#"{{"objects":[{{"oid":"{oid}","size":6}}]}}"#),
            format!(r#"{{"transfer":"tus","objects":[{{"oid":"{oid}","size":5}}]}}"#),
            r#"{"objects":{}}"#.to_owned(),
            String::new(),
        ] {
            assert!(said(answer.as_bytes(), &batch).is_none(), "{answer}");
        }
        let refused = format!(
            r#"{{"objects":[{{"oid":"{oid}","size":5,"error":{{"code":404,"message":"gone"}},"actions":{{"download":{{"href":"x"}}}}}}]}}"#
        );
        let said = said(refused.as_bytes(), &batch).unwrap();
        assert!(said[0].to.is_none());
        assert!(String::from_utf8(told(&said, false, "b")).unwrap().contains("gone"));
    }

    #[test]
    fn a_batch_that_is_none_says_why() {
        let good = asks("download");
        let tus = good.replacen('{', r#"{"transfers":["tus"],"#, 1);
        let hash = good.replacen('{', r#"{"hash_algo":"md5","#, 1);
        for (text, words) in [
            ("{}", "operation"),
            (tus.as_str(), "`basic`"),
            (hash.as_str(), "use sha256"),
            (&good.replace("ab", "AB"), "no SHA-256"),
            (&good.replace("download", "delete"), "unknown variant"),
            (&good.replace("size\":5", "size\":-5"), "invalid value"),
        ] {
            let error = Batch::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Batch::parse(&bytes);
            let batch = Batch { upload: true, files: vec![] };
            let _ = said(&bytes, &batch);
        }
    }
}
