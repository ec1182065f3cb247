//! The pure rules of Jeton.
//!
//! Knows no transport, no database, no clock and no environment: time is an argument, and what the
//! outside says comes in as values. `decision::decide` is the one place where access is decided.

pub mod accountable;
pub mod approval;
pub mod audit;
pub mod budget;
pub mod decision;
pub mod deed;
pub mod delegation;
pub mod grant;
pub mod id;
pub mod jose;
pub mod known;
pub mod limits;
pub mod mask;
pub mod merkle;
pub mod pattern;
pub mod people;
pub mod permit;
pub mod principal;
pub mod review;
pub mod revocation;
pub mod route;
pub mod scope;
pub mod secret;
pub mod session;
pub mod signal;
pub mod spelling;
pub mod token;
pub mod ttl;
