//! The wire of Jeton: what `jeton/v1/*.proto` declares, as Rust types.
//!
//! Knows nothing of the rules. Messages that carry a secret hide it in `Debug`.

mod redact;

/// Package `jeton.v1`.
#[allow(clippy::all, missing_docs, reason = "made by the code generator")]
pub mod v1 {
    tonic::include_proto!("jeton.v1");
}

/// The descriptors of every file, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/jeton_descriptor.bin"));

/// Metadata key of the session handle.
pub const SESSION_METADATA: &str = "jeton-session";

/// Metadata key of the DPoP proof (RFC 9449 §4).
pub const DPOP_METADATA: &str = "dpop";

/// The `domain` of every `google.rpc.ErrorInfo` that the broker sends.
pub const ERROR_DOMAIN: &str = "jeton.dev";
