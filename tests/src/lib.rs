//! The harness of Jeton: the upstreams, hosts and clients that the whole-system tests play with.

pub mod abuse;
pub mod any_rpc;
pub mod broker;
pub mod canary;
pub mod emulate;
pub mod eventually;
pub mod frames;
pub mod gateway;
pub mod gateway_bench;
pub mod generate;
pub mod git_host;
pub mod github;
pub mod github_front;
pub mod golden;
pub mod issuer;
pub mod large_files;
pub mod load;
pub mod log_bench;
pub mod loopback;
pub mod openapi;
pub mod policy_bench;
pub mod raw;
pub mod records;
pub mod reference;
pub mod reviewer;
pub mod revoke_bench;
pub mod run;
pub mod spoil;
pub mod tls_front;
pub mod two_upstreams;

use std::sync::Once;

use jiff::Timestamp;

/// Installs the crypto provider that every TLS user of the process needs, once.
pub fn crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Somebody else in the process may have been faster, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The time of the machine, by which the processes that the tests start go too.
#[allow(clippy::disallowed_methods, reason = "the clock room of the tests")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
