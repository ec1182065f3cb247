//! Jeton.
