//! What the gateway reads of git's wire: what a request is for, names, the commands of a push, packs and the
//! history in them.
//!
//! Pure and bounded: bytes go in, and what they say comes out, or why they say nothing. What is not understood
//! whole is refused, because what is not understood can't be decided. Nothing here asks anybody or keeps
//! anything.

pub mod advert;
pub mod answer;
pub mod commands;
pub mod fold;
pub mod history;
pub mod large;
pub mod limits;
pub mod line;
pub mod name;
pub mod pace;
pub mod pack;
pub mod report;
pub mod request;
