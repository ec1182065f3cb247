//! The one place that reads the environment.

use std::{env, path::PathBuf};

use jeton_domain::secret::Secret;

use crate::connect::Settings;

/// The variables that say where the broker is, who calls, and whose log is believed.
pub const ENVIRONMENT: [&str; 9] = [
    "JETON_ENDPOINT",
    "JETON_CA",
    "JETON_CERT",
    "JETON_KEY",
    "JETON_IDENTITY_TOKEN_FILE",
    "JETON_SESSION_FILE",
    "JETON_SESSION",
    "JETON_LOG_KEY",
    "JETON_GATEWAY",
];

/// The public key of the broker's log, NAME+ID+BASE64, or the path of a file that holds it.
#[must_use]
pub fn log_key() -> Option<String> {
    read("JETON_LOG_KEY")
}

impl Settings {
    /// Reads the variables of [`ENVIRONMENT`]; an empty one counts as absent.
    #[must_use]
    pub fn from_env() -> Self {
        let path = |name| read(name).map(PathBuf::from);
        Self {
            endpoint: read("JETON_ENDPOINT"),
            ca: path("JETON_CA"),
            certificate: path("JETON_CERT"),
            key: path("JETON_KEY"),
            identity_token_file: path("JETON_IDENTITY_TOKEN_FILE"),
            session_file: path("JETON_SESSION_FILE"),
            handle: read("JETON_SESSION").map(Secret::new),
            gateway: read("JETON_GATEWAY"),
        }
    }
}

/// The program that proves policies, if it is another than `cvc5` on the PATH.
#[must_use]
pub fn solver() -> Option<PathBuf> {
    read("CVC5").map(PathBuf::from)
}

/// Whether colours are not wanted (no-color.org).
#[must_use]
pub fn no_color() -> bool {
    read("NO_COLOR").is_some()
}

/// What a variable that other programs read holds, such as `SSL_CERT_FILE`; an empty one counts as absent.
#[must_use]
pub fn inherited(name: &str) -> Option<String> {
    read(name)
}

#[allow(clippy::disallowed_methods, reason = "the one reader of the environment")]
fn read(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
