//! What the local helper takes at most, each with its reason.

use std::time::Duration;

/// Connections at once. More than a build with many jobs opens; the next one waits until one ends.
pub(super) const CONNECTIONS_AT_ONCE: usize = 256;

/// Longest head of a request, in bytes: what the gateway takes, with some room for cookies that stay here.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

/// Headers of one request.
pub(super) const HEADERS: usize = 128;

/// Time for the head of a request, and so the longest that a connection waits for the next one. Why not short:
/// tools keep connections for later, and each costs only its place.
pub(super) const HEAD: Duration = Duration::from_secs(60);

/// Time from the beginning of a tunnel to the end of its TLS handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Pause after the system gave no connection, such as for want of descriptors.
pub(super) const BREATH: Duration = Duration::from_millis(100);

/// How long a certificate for a host is good, in seconds.
pub(super) const LEAF_GOOD: u64 = 24 * 3600;

/// After so many seconds the next connection gets a new one. Why half: a connection that has just begun ends
/// before its certificate does.
pub(super) const LEAF_FRESH: u64 = LEAF_GOOD / 2;

/// How long the run's CA is good, in seconds. Its key ends with the run; this only bounds a run.
pub(super) const CA_GOOD: u64 = 366 * 24 * 3600;

/// How much earlier certificates begin, in seconds: clocks of one machine agree, those of tools in emulators
/// less so.
pub(super) const BEFORE: u64 = 300;

/// Largest file of certificates that is taken over, in bytes.
pub(super) const TRUST_BYTES: u64 = 8 * 1024 * 1024;

/// Hosts that a refusal names.
pub(super) const HOSTS_TOLD: usize = 20;
