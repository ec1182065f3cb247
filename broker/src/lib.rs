//! The broker of Jeton.
//!
//! Rooms from the door inwards: `api`, `http` and `gateway` parse and render, `operation` holds the verbs,
//! the crate `jeton_policy` decides with Cedar, the ports `clock`, `store`, `upstream` and `signer` say what the
//! outside provides, and the folders of the same names hold the adapters.

pub mod api;
pub mod app;
pub mod capacity;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod dev;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod limits;
pub mod operation;
pub mod outlet;
pub mod receiver;
pub mod reserved_runtime;
pub mod reviewer;
pub mod scheduler_lag;
pub mod signer;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod webhook;
pub mod witness;
