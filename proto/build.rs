//! Compiles `jeton/v1/*.proto` without protoc, and keeps the descriptors for reflection.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells build scripts where to write by the environment"
)]

use std::{env, error::Error, fs, path::PathBuf};

/// Messages that carry a secret: their `Debug` is written by hand in `src/redact.rs`.
const SECRET_MESSAGES: [&str; 3] =
    ["jeton.v1.Credential", "jeton.v1.OpenSessionResponse", "jeton.v1.IntrospectRequest"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=jeton");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files([
        "jeton/v1/sessions.proto",
        "jeton/v1/grants.proto",
        "jeton/v1/approvals.proto",
        "jeton/v1/introspection.proto",
        "jeton/v1/revocations.proto",
        "jeton/v1/audit.proto",
        "jeton/v1/policies.proto",
    ])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("jeton_descriptor.bin");
    fs::write(out, compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .skip_debug(SECRET_MESSAGES)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
