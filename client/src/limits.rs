//! Every bound of the client, with its reason.

use std::time::Duration;

/// Longest wait for a connection. Why: an agent that waits longer looks hung to whoever runs it.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for one answer unless the builder says otherwise. Why: an upstream that is asked
/// for a credential answers within ten seconds or not at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two pings of an idle connection. Why: a dead broker is noticed before a call hangs.
pub(crate) const PING: Duration = Duration::from_secs(30);
/// Longest wait for the answer to a ping.
pub(crate) const PONG: Duration = Duration::from_secs(10);
/// Times that a call is sent which may be sent again. Why: more would turn an outage into a storm.
pub(crate) const TRIES: u32 = 3;
/// First pause between two tries; each next one is twice as long.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
/// Longest pause that the broker may ask for. Why: a caller that must wait longer should decide so.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Shortest time between two renewals. Why: a broker that grants a second must not be hammered.
pub(crate) const SHORTEST_RENEWAL: Duration = Duration::from_millis(500);
/// Bytes of a session file. Why: it holds a handle and a key.
pub(crate) const SESSION_FILE_BYTES: u64 = 16 * 1024;
/// Bytes of a file with an identity token, a certificate or a key. Why: none is larger, and a
/// wrong path must not fill the memory.
pub(crate) const IDENTITY_FILE_BYTES: u64 = 256 * 1024;
