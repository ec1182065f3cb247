//! Finds a credential in a stream of bytes, however it is spelled, and replaces it with `*`.
//!
//! A spelling is the credential itself, its base64 (either alphabet, at any alignment, wrapped anywhere), its hex, or
//! a list of its bytes; each with any of its characters escaped as JSON, JavaScript, Python, C, shells, URLs, HTML,
//! XML or quoted-printable do, up to three times over. The pattern is compared with each reading of the text, so a
//! `=` or `%` that only looks like an escape hides nothing.
//!
//! Pure: knows no transport and no time. What is replaced keeps its length; everything else stays byte for byte.
//! What cannot be found: an encoding that is not named here, and a credential that is cut into parts with other text
//! between them.

mod escape;
mod pattern;
mod search;
mod stream;
mod web_socket;

pub use self::{
    search::Patterns,
    stream::{Masked, Masker},
    web_socket::{FrameError, SocketMasker},
};

#[cfg(test)]
mod tests;
