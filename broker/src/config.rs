//! The configuration: a TOML file, read whole and checked before any port opens.
//!
//! Every problem is told at once with its line and what to write. Knows no environment.

mod gateway;
mod identity;
mod reader;
mod reviewers;
mod ssf;
mod upstreams;
mod webhooks;

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use jeton_domain::{
    merkle::{KeyName, WitnessKey},
    secret::{hex, sha256},
    ttl::Ttl,
};
use reqwest::Url;
use toml::de::DeTable;

use self::reader::{Problems, Section};
pub use self::{
    gateway::{GatewayConfig, Reach},
    identity::IdentityConfig,
    reader::Problem,
    ssf::SsfConfig,
    upstreams::{UpstreamConfig, UpstreamKind},
    webhooks::ApprovalConfig,
};
use crate::{
    identity::tls::{ClientCa, TlsFiles},
    limits::{CONFIG_BYTES, WITNESSES},
    operation::{move_out::Retention, re_decide::Then},
    signer::SigningAlgorithm,
    telemetry::LogFormat,
};

/// What `jetond serve` runs with.
pub struct Config {
    /// The gRPC door.
    pub grpc: GrpcConfig,
    /// The gateway, if there is one.
    pub gateway: Option<GatewayConfig>,
    /// Where public keys are served.
    pub http: SocketAddr,
    /// Where this host reads liveness and metrics.
    pub admin: SocketAddr,
    /// The store's file.
    pub store: PathBuf,
    /// The broker's keys.
    pub keys: KeysConfig,
    /// The folder of policies.
    pub policies: PathBuf,
    /// Whether going back to a set takes a second operator.
    pub second_person: bool,
    /// What happens to live grants that new policies would not give; `None`: nobody looks.
    pub re_decide: Option<Then>,
    /// Whether a session handle may be bound to nothing.
    pub bearer_handles: bool,
    /// Systems that credentials open.
    pub upstreams: Vec<UpstreamConfig>,
    /// How callers prove who they are, and their roles.
    pub identity: IdentityConfig,
    /// Who is told of what is taken back, and whose word ends sessions.
    pub ssf: SsfConfig,
    /// Who is told of requests that wait for people, and who is asked before them.
    pub approval: ApprovalConfig,
    /// The audit log.
    pub audit: AuditConfig,
    /// Log lines.
    pub log: LogConfig,
    /// SHA-256 of the file, in hex: the log names the configuration that was in force.
    pub hash: String,
}

/// The audit log.
pub struct AuditConfig {
    /// What the log calls itself: the origin of its checkpoints.
    pub name: KeyName,
    /// The private key that signs checkpoints.
    pub key: PathBuf,
    /// A file that each checkpoint is copied to, best on another machine.
    pub copy: Option<PathBuf>,
    /// How long entries stay in the store; for ever if absent or on hold.
    pub retention: Option<Retention>,
    /// Where older entries are, also while none are moved.
    pub archive: Option<PathBuf>,
    /// Where each checkpoint is posted to.
    pub copy_url: Option<Url>,
    /// Who cosigns checkpoints.
    pub witnesses: Vec<WitnessConfig>,
    /// Whether everyone may read the log's hashes and checkpoints, which hold no names.
    pub public_tiles: bool,
}

/// A witness of the log (C2SP tlog-witness).
#[derive(Clone)]
pub struct WitnessConfig {
    /// Where it takes checkpoints.
    pub url: Url,
    /// The key that it cosigns with.
    pub key: WitnessKey,
}

/// The gRPC door.
pub struct GrpcConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Certificate, key and client CAs.
    pub tls: TlsFiles,
    /// A socket for processes on this host.
    pub unix_socket: Option<PathBuf>,
    /// What clients call it: the start of the URLs in DPoP proofs.
    pub external_urls: Vec<String>,
}

/// The broker's keys.
pub struct KeysConfig {
    /// 32 random bytes in hex: seals credentials at rest, names them in the log, makes handles.
    pub sealing: PathBuf,
    /// Folder of signing keys.
    pub signing: PathBuf,
    /// What the broker calls itself in what it signs.
    pub issuer: String,
    /// How it signs.
    pub algorithm: SigningAlgorithm,
    /// How old a key gets.
    pub rotate_every: Ttl,
}

/// Log lines.
pub struct LogConfig {
    /// How they look.
    pub format: LogFormat,
    /// Which are shown.
    pub filter: String,
}

/// A file that is no configuration, with all that is wrong in it.
#[derive(Debug)]
pub struct BadConfig {
    /// The file.
    pub file: PathBuf,
    /// The problems, in the order of the lines.
    pub problems: Vec<Problem>,
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            match problem.line {
                0 => writeln!(f, "{}: {}", self.file.display(), problem.words)?,
                line => writeln!(f, "{}:{line}: {}", self.file.display(), problem.words)?,
            }
        }
        let count = self.problems.len();
        write!(
            f,
            "{count} problem{} in the configuration; nothing was started",
            if count == 1 { "" } else { "s" }
        )
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// With every problem in it.
    pub fn load(file: &Path) -> Result<Self, BadConfig> {
        let bad = |words: String| BadConfig {
            file: file.to_owned(),
            problems: vec![Problem { line: 0, words }],
        };
        let size =
            fs::metadata(file).map_err(|error| bad(format!("can't be read: {error}")))?.len();
        if size > CONFIG_BYTES {
            return Err(bad(format!("is larger than {CONFIG_BYTES} bytes")));
        }
        let text =
            fs::read_to_string(file).map_err(|error| bad(format!("can't be read: {error}")))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder).map_err(|problems| BadConfig { file: file.to_owned(), problems })
    }

    /// Reads a text; relative paths are meant from `folder`.
    ///
    /// # Errors
    /// With every problem in it.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let problems = Problems::of(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            problems.add_error(error);
        }
        let config = read(&Section::root(document.get_ref(), &problems), folder);
        match (config, problems.take()) {
            (Some(config), problems) if problems.is_empty() => {
                Ok(Self { hash: hex(&sha256(text.as_bytes())), ..config })
            }
            (_, problems) => Err(problems),
        }
    }
}

/// Reads all parts first and joins them last, so that each tells its problems.
fn read(root: &Section<'_>, folder: &Path) -> Option<Config> {
    let client_cas = identity::client_cas(root, folder);
    let grpc = read_grpc(&root.section("grpc"), folder, client_cas);
    let gateway = gateway::read(root, folder);
    let http = read_listen(&root.section("http"), "127.0.0.1:7080");
    let admin = read_admin(&root.section("admin"));
    let store = {
        let section = root.section("store");
        let path = section.file("path", folder);
        let path =
            section.require("path", path, "write where the store's file is, such as \"jeton.db\"");
        section.finish();
        path
    };
    let keys = read_keys(&root.section("keys"), folder);
    let policies = {
        let section = root.section("policy");
        let path = section.file("folder", folder);
        let path =
            section.require("folder", path, "write where the policies are, such as \"policies\"");
        let then = section.parse("live_grants", live_grants);
        let second_person = section.switch("second_person").unwrap_or(false);
        section.finish();
        path.map(|path| (path, then.unwrap_or(Some(Then::Report)), second_person))
    };
    let bearer_handles = {
        let section = root.section("sessions");
        let on = section.switch("bearer_handles").unwrap_or(false);
        section.finish();
        on
    };
    let upstreams = upstreams::read(root, folder);
    let identity = identity::read(root, folder);
    let ssf = ssf::read(&root.section("ssf"), folder);
    let approval = webhooks::read(&root.section("approval"), folder);
    let audit = read_audit(&root.section("audit"), folder);
    let log = read_log(&root.section("log"));
    root.finish();
    Some(Config {
        grpc: grpc?,
        gateway,
        http: http?,
        admin: admin?,
        store: store?,
        keys: keys?,
        policies: policies.as_ref()?.0.clone(),
        re_decide: policies.as_ref()?.1,
        second_person: policies?.2,
        bearer_handles,
        upstreams,
        identity,
        ssf,
        approval,
        audit: audit?,
        log: log?,
        hash: String::new(),
    })
}

fn read_grpc(
    section: &Section<'_>,
    folder: &Path,
    client_cas: Vec<ClientCa>,
) -> Option<GrpcConfig> {
    let listen = section.parse("listen", address);
    let listen =
        section.require("listen", listen, "write an address and port, such as \"0.0.0.0:7443\"");
    let certificate = section.file("certificate", folder);
    let certificate =
        section.require("certificate", certificate, "write the server's certificate file in PEM");
    let key = section.file("key", folder);
    let key = section.require("key", key, "write the file of the certificate's private key");
    let crl = section.file("crl", folder);
    let unix_socket = section.file("unix_socket", folder);
    let external_urls = section.parse_all("external_urls", external_url);
    let plain = |url: &String| url.starts_with("http:");
    if external_urls.first().is_some_and(plain) && !external_urls.iter().all(plain) {
        section.wrong(
            "external_urls",
            "the first is where others find keys, lists and endpoints; put one that begins with https:// there",
        );
    }
    section.finish();
    Some(GrpcConfig {
        listen: listen?,
        tls: TlsFiles { certificate: certificate?, key: key?, client_cas, crl },
        unix_socket,
        external_urls,
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is no address and port; write an IP address, such as \"127.0.0.1:7443\"")
    })
}

fn read_listen(section: &Section<'_>, example: &str) -> Option<SocketAddr> {
    let listen = section.parse("listen", address);
    let listen = section.require(
        "listen",
        listen,
        &format!("write an address and port, such as \"{example}\""),
    );
    section.finish();
    listen
}

fn read_admin(section: &Section<'_>) -> Option<SocketAddr> {
    let listen = read_listen(section, "127.0.0.1:7090")?;
    if !listen.ip().is_loopback() {
        section
            .wrong("listen", "metrics and liveness are for this host only; use 127.0.0.1 or [::1]");
    }
    Some(listen)
}

fn read_keys(section: &Section<'_>, folder: &Path) -> Option<KeysConfig> {
    let sealing = section.file("sealing", folder);
    let sealing = section.require(
        "sealing",
        sealing,
        "write a file of 32 random bytes in hex, mode 0600; `openssl rand -hex 32` makes one",
    );
    let signing = section.file("signing", folder);
    let signing = section.require(
        "signing",
        signing,
        "write the folder of the signing keys; the first key is made there",
    );
    let issuer = section.string("issuer");
    let issuer = section.require(
        "issuer",
        issuer,
        "write what the broker is called in what it signs, such as \"https://jeton.acme.dev\"",
    );
    let algorithm = section.parse("algorithm", |word| match word {
        "EdDSA" => Ok(SigningAlgorithm::EdDsa),
        "ES256" => Ok(SigningAlgorithm::Es256),
        other => Err(format!("`{other}` is not EdDSA or ES256")),
    });
    let days = section.number("rotate_days").unwrap_or(30);
    let rotate_every = u32::try_from(days.saturating_mul(86_400)).ok().and_then(Ttl::from_seconds);
    if rotate_every.is_none() {
        section.wrong("rotate_days", "1 to 49,000 days are allowed");
    }
    section.finish();
    Some(KeysConfig {
        sealing: sealing?,
        signing: signing?,
        issuer: issuer?,
        algorithm: algorithm.unwrap_or(SigningAlgorithm::EdDsa),
        rotate_every: rotate_every?,
    })
}

/// What happens to live grants after the policies changed.
fn live_grants(text: &str) -> Result<Option<Then>, String> {
    match text {
        "report" => Ok(Some(Then::Report)),
        "revoke" => Ok(Some(Then::Revoke)),
        "keep" => Ok(None),
        other => Err(format!("`{other}` is not known; write \"report\", \"revoke\" or \"keep\"")),
    }
}

fn read_audit(section: &Section<'_>, folder: &Path) -> Option<AuditConfig> {
    let name = section.parse("name", KeyName::parse);
    let name = section.require(
        "name",
        name,
        "write what the log calls itself for good, such as \"jeton.acme.dev/log\"",
    );
    let key = section.file("key", folder);
    let key = section.require(
        "key",
        key,
        "write the file of the key that signs checkpoints; it is made at the first start",
    );
    let copy = section.file("copy", folder);
    let archive = section.file("archive", folder);
    let retention = read_retention(section, archive.clone());
    let public_tiles = section.switch("public_tiles").unwrap_or(false);
    let copy_url = section.parse("copy_url", outside_url);
    let witnesses =
        section.sections("witness", WITNESSES).iter().filter_map(read_witness).collect();
    section.finish();
    Some(AuditConfig {
        name: name?,
        key: key?,
        copy,
        retention,
        archive,
        copy_url,
        witnesses,
        public_tiles,
    })
}

fn read_witness(section: &Section<'_>) -> Option<WitnessConfig> {
    let url = section.parse("url", outside_url);
    let url = section.require("url", url, "write where the witness takes checkpoints");
    let key = section.parse("key", WitnessKey::parse);
    let key = section.require("key", key, "write the witness's public key, `NAME+0123abcd+BASE64`");
    section.finish();
    Some(WitnessConfig { url: url?, key: key? })
}

/// How clients reach the door: scheme, host and port, as they spell it in proofs (RFC 9449 §4.2).
fn external_url(text: &str) -> Result<String, String> {
    let wrong =
        || format!("`{text}` is not like https://HOST or https://HOST:PORT, and nothing more");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let origin = url.origin().ascii_serialization();
    let plain = matches!(url.scheme(), "https" | "http") && url.path() == "/";
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if plain && bare && url.password().is_none() { Ok(origin) } else { Err(wrong()) }
}

/// An address outside. It is sent no secret, but what it says back must be its own word.
fn outside_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no address: {error}"))?;
    let own_hosts = ["localhost", "127.0.0.1", "[::1]"];
    let own_host = url.host_str().is_some_and(|host| own_hosts.contains(&host));
    match url.scheme() {
        "https" => Ok(url),
        "http" if own_host => Ok(url),
        _ => Err(format!("`{text}` must begin with https://")),
    }
}

fn read_retention(section: &Section<'_>, archive: Option<PathBuf>) -> Option<Retention> {
    let hold = section.switch("legal_hold").unwrap_or(false);
    let days = section.number("keep_days")?;
    let keep = u32::try_from(days.saturating_mul(86_400)).ok().and_then(Ttl::from_seconds);
    if keep.is_none() {
        section.wrong("keep_days", "1 to 49,000 days are allowed");
    }
    let archive = section.require(
        "archive",
        archive,
        "write the folder that entries older than keep_days go to",
    );
    // Why read all the same: a hold must not hide a mistake until it is lifted.
    Some(Retention { keep: keep?, archive: archive? }).filter(|_| !hold)
}

fn read_log(section: &Section<'_>) -> Option<LogConfig> {
    let format = section.parse("format", |word| match word {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("`{other}` is not human or json")),
    });
    let filter = section.string("filter").unwrap_or_else(|| "info".to_owned());
    section.finish();
    Some(LogConfig { format: format.unwrap_or(LogFormat::Human), filter })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[grpc]
listen = "127.0.0.1:0"
certificate = "tls/server.pem"
key = "tls/server.key"
[http]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
path = "jeton.db"
[keys]
issuer = "https://jeton.acme.dev"
sealing = "sealing.key"
signing = "signing"
[audit]
name = "jeton.acme.dev/log"
key = "audit.pem"
[policy]
folder = "policies"
[[upstream]]
name = "git"
kind = "signed"
audience = "https://git.acme.dev"
actions = ["contents:read"]
[[client_ca]]
trust_domain = "acme.dev"
file = "tls/ca.pem"
"#;

    #[test]
    fn a_good_configuration_is_read_and_paths_are_meant_from_its_folder() {
        let config =
            Config::parse(GOOD, Path::new("/etc/jeton")).map_err(|p| format!("{p:?}")).unwrap();
        assert_eq!(config.store, Path::new("/etc/jeton/jeton.db"));
        assert_eq!(config.upstreams.len(), 1);
        assert!(!config.bearer_handles);
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_line_and_the_mend() {
        let text = GOOD
            .replace(
                "listen = \"127.0.0.1:0\"\ncertificate",
                "listen = 7443\nport = 1\ncertificate",
            )
            .replace("[admin]\nlisten = \"127.0.0.1:0\"", "[admin]\nlisten = \"0.0.0.0:7090\"")
            .replace("path = \"jeton.db\"", "")
            .replace("[\"contents:read\"]", "[\"contents\"]");
        let Err(problems) = Config::parse(&text, Path::new(".")) else { unreachable!("it is bad") };
        let told: Vec<String> =
            problems.iter().map(|p| format!("{}: {}", p.line, p.words)).collect();
        for (place, wanted) in [
            "3: `grpc.listen` must be a text in quotes",
            "4: `grpc.port` is unknown; known here are certificate",
            "10: `admin.listen`: metrics and liveness are for this host only",
            "11: `store.path` is missing; write where",
            "26: `upstream.actions`: the action `contents` is not a name",
        ]
        .iter()
        .enumerate()
        {
            assert!(
                told.iter().any(|line| line.starts_with(wanted)),
                "{place}: {wanted} in {told:#?}"
            );
        }
    }

    #[test]
    fn a_client_ca_is_bound_to_a_trust_domain() {
        let config = Config::parse(GOOD, Path::new("/etc")).map_err(|p| format!("{p:?}")).unwrap();
        let [ca] = config.grpc.tls.client_cas.as_slice() else { unreachable!("one") };
        assert_eq!(
            (ca.trust_domain.as_str(), ca.file.as_path()),
            ("acme.dev", Path::new("/etc/tls/ca.pem"))
        );
        for (from, to, words) in [
            ("trust_domain = \"acme.dev\"\n", "", "`client_ca.trust_domain` is missing"),
            ("\"acme.dev\"\nfile", "\"spiffe://acme.dev\"\nfile", "the trust domain of"),
            ("\"acme.dev\"\nfile", "\"*\"\nfile", "the trust domain of"),
            ("file = \"tls/ca.pem\"\n", "", "`client_ca.file` is missing"),
            (
                "[[client_ca]]\ntrust_domain = \"acme.dev\"\nfile = \"tls/ca.pem\"\n",
                "",
                "add `[[client_ca]]`",
            ),
            (
                "key = \"tls/server.key\"\n",
                "key = \"tls/server.key\"\nclient_ca = \"tls/ca.pem\"\n",
                "`grpc.client_ca` is unknown",
            ),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let Err(problems) = Config::parse(&text, Path::new(".")) else { unreachable!("{to}") };
            assert!(
                problems.iter().any(|problem| problem.words.contains(words)),
                "{words}: {problems:?}"
            );
        }
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        let Err(problems) = Config::parse("issuer = \"x\"\n[grpc\n", Path::new(".")) else {
            unreachable!()
        };
        assert!(problems.iter().any(|problem| problem.line == 2), "{problems:?}");
    }
}
