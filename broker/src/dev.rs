//! `jetond dev`: everything that a broker needs, made in a folder, for development only.

mod certificates;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use jeton_domain::secret::hex;
use jeton_files::Access;

use crate::{
    app::{AppError, Running},
    crypto,
};

/// Said at each start.
pub const WARNING: &str = "\
************************************************************************
*  jetond dev: FOR DEVELOPMENT ONLY.                                    *
*  Its CA key, certificates and keys lie in the data folder; whoever    *
*  reads that folder can act as anyone.                                 *
************************************************************************";

/// The example policies, as deployed.
const POLICIES: [(&str, &str); 5] = [
    ("jeton.cedarschema", include_str!("../../deploy/policies/jeton.cedarschema")),
    ("catalogue.toml", include_str!("../../deploy/policies/catalogue.toml")),
    ("agents.cedar", include_str!("../../deploy/policies/agents.cedar")),
    ("limits.cedar", include_str!("../../deploy/policies/limits.cedar")),
    ("sessions.cedar", include_str!("../../deploy/policies/sessions.cedar")),
];

/// Makes what is missing in the folder and gives the path of the configuration.
///
/// # Errors
/// When the folder can't be written.
pub fn make(data: &Path, free_ports: bool) -> Result<PathBuf, AppError> {
    for folder in ["", "tls", "keys", "keys/signing", "policies", "run"] {
        jeton_files::private_folder(&data.join(folder)).map_err(failed(data))?;
    }
    certificates::make(&data.join("tls"))?;
    private(&data.join("keys/sealing.key"), || hex(&crypto::random::<32>()))?;
    for (name, text) in POLICIES {
        public(&data.join("policies").join(name), text)?;
    }
    let file = data.join("jetond.toml");
    public(&file, &configuration(free_ports))?;
    Ok(file)
}

/// Writes where the broker listens, for the shell: `source FOLDER/env`.
///
/// # Errors
/// When the file can't be written.
pub fn write_environment(data: &Path, running: &Running) -> Result<(), AppError> {
    let data = fs::canonicalize(data).map_err(failed(data))?;
    let text = format!(
        "export JETON_ENDPOINT=https://localhost:{}\n\
         export JETON_CA={}\n\
         export JETON_JWKS=http://{}/.well-known/jwks.json\n\
         export JETON_ADMIN=http://{}\n\
         export JETON_LOG_KEY={}\n{}",
        running.grpc.port(),
        data.join("tls/ca.pem").display(),
        running.http,
        running.admin,
        running.log_key(),
        running.gateway.map_or_else(String::new, |gateway| format!(
            "export JETON_GATEWAY=https://localhost:{}\n",
            gateway.port()
        )),
    );
    // Why by rename: whoever waits for the file finds it whole.
    jeton_files::replace(&data.join("env"), text.as_bytes(), Access::Shared).map_err(failed(&data))
}

fn configuration(free_ports: bool) -> String {
    let (grpc, gateway, http, admin) =
        if free_ports { (0, 0, 0, 0) } else { (7443, 7444, 7080, 7090) };
    format!(
        r#"# Made by `jetond dev`: for development only.
[grpc]
listen = "127.0.0.1:{grpc}"
certificate = "tls/server.pem"
key = "tls/server.key"
unix_socket = "run/jeton.sock"
external_urls = ["https://localhost:{grpc}", "http://localhost"]

[[client_ca]]
trust_domain = "dev.jeton.local"
file = "tls/ca.pem"

[gateway]
listen = "127.0.0.1:{gateway}"
external_urls = ["https://localhost:{gateway}"]

[http]
listen = "127.0.0.1:{http}"

[admin]
listen = "127.0.0.1:{admin}"

[store]
path = "jeton.db"

[keys]
issuer = "https://dev.jeton.local"
sealing = "keys/sealing.key"
signing = "keys/signing"

[audit]
name = "dev.jeton.local/log"
key = "keys/audit.pem"
copy = "run/checkpoint"

[policy]
folder = "policies"

[[upstream]]
name = "git"
kind = "signed"
audience = "https://git.dev.jeton.local"
verifiers = ["spiffe://dev.jeton.local/service/git-host"]
actions = ["contents:read", "contents:write"]

[[upstream]]
name = "orders"
kind = "signed"
audience = "https://orders.dev.jeton.local"
verifiers = ["spiffe://dev.jeton.local/service/orders"]
actions = ["orders:read", "orders:write"]

[[role]]
role = "operator"
principals = ["spiffe://dev.jeton.local/person/ana"]

[[role]]
role = "auditor"
principals = ["spiffe://dev.jeton.local/person/audrey"]

[[role]]
role = "verifier"
principals = ["spiffe://dev.jeton.local/service/**"]
"#
    )
}

/// Writes a file that only its owner may read, unless it is there.
pub(crate) fn private(path: &Path, text: impl FnOnce() -> String) -> Result<(), AppError> {
    if path.exists() {
        return Ok(());
    }
    let file = jeton_files::create_new(path, Access::Owner);
    file.and_then(|mut file| file.write_all(text().as_bytes())).map_err(failed(path))
}

/// Writes a file unless it is there.
pub(crate) fn public(path: &Path, text: &str) -> Result<(), AppError> {
    if path.exists() {
        return Ok(());
    }
    let file = jeton_files::create_new(path, Access::Shared);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> AppError {
    let path = path.display().to_string();
    move |error| AppError::Unusable(format!("`{path}` can't be written: {error}"))
}
