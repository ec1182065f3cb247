//! Every bound of the process, with its reason.

use std::time::Duration;

pub use jeton_domain::limits::{DPOP_AGE_SECONDS, JWT_BYTES, LEEWAY_SECONDS};

/// Largest request message, in bytes. Why: an envelope of 64 scopes is under 32 KiB.
pub const REQUEST_BYTES: usize = 64 * 1024;
/// Bytes before a message of gRPC (its length, and whether it is compressed).
pub const GRPC_PREFIX_BYTES: usize = 5;
/// Largest answer, in bytes. Why: a page of 500 grants is under 1 MiB.
pub const RESPONSE_BYTES: usize = 4 * 1024 * 1024;
/// Largest header list of a request, in bytes. Why: a JWT of 8 KiB, a DPoP proof and the handle fit.
pub const HEADER_BYTES: u32 = 16 * 1024;
/// Streams open at once on one connection. Why: a client library needs far fewer; 256 for load tools.
pub const STREAMS_PER_CONNECTION: u32 = 256;
/// Requests in work at once in the process. Why: each costs at most a page of memory; beyond it shed.
pub const REQUESTS_AT_ONCE: usize = 2048;
/// Threads that revocations run on. Why one: a revocation is short, and a place among [`REVOKES_AT_ONCE`] bounds how
/// many there are.
pub const RESERVED_THREADS: usize = 1;
/// How often the scheduler lag is measured.
pub const LAG_INTERVAL: Duration = Duration::from_millis(10);
/// Scheduler lag, or age of the oldest waiting write, beyond which new requests are shed. Why: a revocation takes about
/// five steps, each as late as that, and must be acknowledged within a second.
pub const LAG: Duration = Duration::from_millis(100);
/// Requests in progress below which no lag sheds anything. Why: with so few, the lag comes from elsewhere on the machine
/// and shedding would not help.
pub const REQUESTS_DESPITE_LAG: usize = 64;
/// Calls in work at once that need no identity, beside the others. Why: health checks are few.
pub const PROBES_AT_ONCE: usize = 256;
/// Requests in work at once that prove who sends them in their body. Why: until it is read they are
/// strangers, and must not hold the places of callers that are known.
pub const EXCHANGES_AT_ONCE: usize = 256;
/// Incoming revocation signals in work at once. Why of their own: they revoke, and are few.
pub const SIGNALS_AT_ONCE: usize = 128;
/// Longest time for the body of a call to arrive. Why: 64 KiB take less on any line, and until then
/// nothing is done.
pub const BODY: Duration = Duration::from_secs(5);
/// Connections open at once to each port of plain HTTP.
pub const HTTP_CONNECTIONS: usize = 1024;
/// Largest head of an HTTP/1.1 request, in bytes, as hyper buffers it: a little over
/// [`HEADER_BYTES`], for the first line.
pub const HTTP1_HEAD_BYTES: usize = 32 * 1024;
/// Bytes that an HTTP/1.1 connection may send without having been answered: a head and a body.
pub const HTTP1_UNANSWERED: usize = HTTP1_HEAD_BYTES + REQUEST_BYTES;
/// Connections at once of peers that proved an identity. Why: each costs about 60 KiB.
pub const PROVED_CONNECTIONS: usize = 3072;
/// Connections at once of all others, half of it from one address. Why so few: they are handshakes,
/// readers of public keys and callers whose token comes with the first request.
pub const UNPROVED_CONNECTIONS: usize = 1024;
/// Time until the first request of a connection without an identity. Why: no client connects for later.
pub const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Time between two requests of such a connection.
pub const UNPROVED_IDLE: Duration = Duration::from_secs(60);
/// Time for a TLS handshake. Why: slow handshakes are attacks.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest work on one request. Why: the slowest honest upstream answers in 10 s.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// Age at which a connection is asked to go. Why: certificates and limits take effect on new ones.
pub const CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);
/// Time that an aged connection has to finish.
pub const CONNECTION_GRACE: Duration = Duration::from_secs(60);
/// How often an idle connection is asked whether it lives.
pub const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long it may take to answer that.
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Reset streams that may wait to be accepted. Why: rapid reset (CVE-2023-44487).
pub const PENDING_RESETS: usize = 20;

/// Validated identity tokens kept. Why: one for each running workload.
pub const JWT_CACHE: u64 = 10_000;
/// Largest key set of an issuer, in bytes. Why: a hundred RSA keys.
pub const JWKS_BYTES: usize = 256 * 1024;
/// Keys of one issuer.
pub const JWKS_KEYS: usize = 100;
/// Shortest time between two fetches of an issuer's keys. Why: an unknown `kid` must not flood it.
pub const JWKS_REFETCH: Duration = Duration::from_secs(30);
/// How long fetched keys are used without asking again.
pub const JWKS_LIFE: Duration = Duration::from_secs(300);
/// Principals whose roles are remembered. Why: one for each running workload.
pub const PRINCIPALS_KNOWN: u64 = 10_000;
/// Proof ids remembered against replay. Why: a minute of 5,000 calls a second.
pub const DPOP_REPLAYS: u64 = 300_000;

/// Largest answer of an upstream, in bytes. Why: a token answer is under 64 KiB.
pub const UPSTREAM_BYTES: usize = 256 * 1024;
/// Time for one call to an upstream.
pub const UPSTREAM_CALL: Duration = Duration::from_secs(10);
/// Time to connect to an upstream.
pub const UPSTREAM_CONNECT: Duration = Duration::from_secs(5);
/// Time for all calls of one mint. Why: under [`MINT_DEADLINE`], so that the sweep never takes a
/// living mint for one that a crash left open.
pub const UPSTREAM_MINT: Duration = Duration::from_secs(13);
/// Longest wait that an upstream may ask for. Why: beyond it a broken header would stop revocations.
pub const UPSTREAM_RETRY: Duration = Duration::from_secs(3600);
/// Installations of an app kept. Why: one for each repository in use.
pub const INSTALLATIONS: u64 = 10_000;
/// How long an installation is used without asking again.
pub const INSTALLATION_LIFE: Duration = Duration::from_secs(600);
/// Parsed private keys kept for jsonwebtoken. Why: a broker has a handful.
pub const PARSED_KEYS: u64 = 64;
/// Largest file of a private key, in bytes. Why: RSA of 8192 bits takes 6.4 KiB.
pub const KEY_FILE_BYTES: u64 = 16 * 1024;

/// Queries of the store at once. Why: each holds a connection and a thread.
pub const STORE_READERS: usize = 16;
/// Writes waiting for the store. Why: beyond it the disk is slower than the callers; shed.
pub const STORE_QUEUE: usize = 4096;
/// Writes that share one commit. Why: one fsync then costs each of them little.
pub const STORE_BATCH: usize = 256;
/// Commits whose entries may wait for the log's index. Why: those of a second; beyond it the index
/// reads them from the file.
pub const STORE_FEED: usize = 8192;
/// Open sessions right below one. Why: closing it ends all of them in one commit.
pub const SESSION_CHILDREN: usize = 256;
/// Open sessions of one creator, with all below them. Why: a large orchestrator runs some thousands.
pub const SESSIONS_OF_CREATOR: u64 = 20_000;
/// Bytes that they take in the store. Why: twice as much in memory, and an envelope of ten lines is
/// under 2 KB.
pub const SESSION_BYTES_OF_CREATOR: u64 = 64 * 1024 * 1024;
/// Bytes that the open sessions of all creators take.
pub const SESSION_BYTES: u64 = 512 * 1024 * 1024;
/// What each creator may still hold when those are used up. Why: others must not lock it out.
pub const SESSION_BYTES_RESERVED: u64 = 1024 * 1024;
/// Bytes of the open sessions whose envelopes are kept as they are read. Why: an envelope takes
/// up to eight times its text, and few sessions call at one moment.
pub const SESSION_BYTES_READ: u64 = 4 * 1024 * 1024;
/// Streams on which agents wait for people.
pub const WAITS_AT_ONCE: usize = 1024;
/// Of those, one caller's.
pub const WAITS_OF_ONE: usize = 64;
/// Requests of one session that wait for people at once. Why: an agent must not bury the questions of
/// others, nor wear people out.
pub const PENDING_OF_SESSION: usize = 20;
/// Requests that wait for people at once, half of them in sessions of one creator. Why: people answer
/// them one by one, and a list holds them all.
pub const PENDING_AT_ONCE: usize = 1000;
/// Of those, in sessions of one agent and all below them. Why: as for one session, over many.
pub const PENDING_OF_AGENT: usize = 100;
/// Bytes of requests in one message. Why: under [`RESPONSE_BYTES`] with one of the largest size more.
pub const PENDING_BYTES: usize = 2 * 1024 * 1024;
/// Open sessions below one, at any depth. Why: as for those right below it.
pub const SESSION_DESCENDANTS: usize = 1024;
/// Rows of a page when the caller names none.
pub const PAGE_DEFAULT: u32 = 50;
/// Most rows of a page.
pub const PAGE_MOST: u32 = 500;
/// Longest time until what was written to the log is under a signed checkpoint.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Entries after which a checkpoint is signed earlier. Why: a receipt then waits for little.
pub const CHECKPOINT_ENTRIES: u64 = 256;
/// How long the copy of the checkpoint may lag behind before nothing is granted any more.
pub const COPY_LAG: Duration = Duration::from_secs(15);
/// How often it is looked which summaries of denials are due.
pub const DENIALS_EVERY: Duration = Duration::from_secs(5);
/// Time in which repeated lines of one place in the code are counted together.
pub const LOG_WINDOW: Duration = Duration::from_secs(60);
/// Lines of one place about one subject in that time. Why: the next ones say nothing new.
pub const LOG_LINES_OF_SUBJECT: u32 = 10;
/// Lines of one place in that time, whoever they are about. Why: 60 lines of each of the ten places
/// that callers can reach are some 250 MB a day.
pub const LOG_LINES_OF_SITE: u32 = 60;
/// Subjects of one place that are told apart. Why: more would not get a line anyway.
pub const LOG_SUBJECTS_OF_SITE: usize = 256;
/// Tails of the log at once. Why: each may hold a page of entries and a reader.
pub const TAILS_AT_ONCE: usize = 128;
/// Of those, one caller's.
pub const TAILS_OF_ONE: usize = 8;
/// Status lists that are kept signed.
pub const STATUS_LISTS_KEPT: usize = 64;
/// Shortest time in milliseconds between two signatures of one status list. Why: everyone may ask,
/// and each looks at all that ended.
pub const STATUS_LIST_PAUSE_MILLIS: i64 = 100;
/// Longest time in milliseconds that one is shown where nothing ended.
pub const STATUS_LIST_AGE_MILLIS: i64 = 5_000;
/// Callers at once that wait for upstreams to confirm a revocation. Why a part of the places for
/// revocations: whoever waits holds one.
pub const REVOKE_WAITERS: usize = 64;
/// Searches in the log's index at once. Why: each takes a core while it runs.
pub const SEARCHES_AT_ONCE: usize = 8;
/// Calls at once that list or count entries.
pub const LOOKS_AT_ONCE: usize = 128;
/// Of those, one caller's. Why: nobody may keep the others from looking.
pub const LOOKS_OF_ONE: usize = 4;
/// Longest time that counting takes.
pub const COUNT_TIME: Duration = Duration::from_secs(10);
/// Streams of what ended at once. Why: one for each resource server, which costs a task and a timer.
pub const WATCHES_AT_ONCE: usize = 1024;
/// Of those, one caller's.
pub const WATCHES_OF_ONE: usize = 64;
/// How often a stream looks whether its caller still may have it.
pub const STREAM_LOOK: Duration = Duration::from_millis(500);
/// Time between two looks of a stream while the log grows. Why: it may grow with each grant.
pub const STREAM_PAUSE: Duration = Duration::from_millis(50);
/// How long one tail goes on before its caller must prove who it is again.
pub const TAIL_LIFE: Duration = Duration::from_secs(300);
/// Bytes of entries in one message of a tail or a list. Why: under [`RESPONSE_BYTES`] with one
/// entry of the largest size more.
pub const ENTRIES_BYTES: usize = 1024 * 1024;
/// Time between two looks at what the log's index lacks. Why: many entries at once cost less each.
pub const INDEX_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked which entries may leave the store.
pub const MOVE_EVERY: Duration = Duration::from_secs(15 * 60);
/// Longest answer of a witness, in bytes. Why: a few lines of signatures.
pub const WITNESS_BYTES: usize = 16 * 1024;
/// Seconds between two looks at what the credentials of an upstream open, if it is not configured.
pub const RECONCILE_SECONDS: u64 = 15 * 60;
/// Credentials that one look asks about. Why: each is a call of the thousands that an upstream allows
/// in an hour, and agents need them.
pub const RECONCILED_AT_ONCE: usize = 200;
/// Answer of a receiver of signals. Why so little: only an error has any, and a line of it is shown.
pub const SIGNAL_ANSWER_BYTES: usize = 4096;
/// How long a signal is remembered, in seconds. Why a week: transmitters send again for days, and an older one
/// is only about sessions that were opened before it was issued.
pub const SIGNAL_MEMORY_SECONDS: u32 = 7 * 24 * 3600;
/// Signals that are remembered. Why: a hundred bytes each; beyond, one is only about sessions that were opened
/// before it was issued.
pub const SIGNALS_REMEMBERED: i64 = 100_000;
/// Receivers of signals, and transmitters whose signals are taken.
pub const SIGNAL_PARTNERS: usize = 16;
/// Questions to one reviewer at once.
pub const REVIEWS_AT_ONCE: usize = 16;
/// Largest answer of a reviewer, in bytes. Why: a verdict with a scope and a reason is under 2 KiB.
pub const REVIEW_BYTES: usize = 16 * 1024;
/// Seconds that the time of an answer may differ, by the Standard Webhooks specification.
pub const REVIEW_AGE_SECONDS: u64 = 300;
/// Seconds that a reviewer may take, if it is not configured.
pub const REVIEW_SECONDS: u64 = 10;
/// The most of them. Why: people and the agent wait for it.
pub const REVIEW_SECONDS_MOST: u64 = 30;
/// Longest pause before a signal is sent again.
pub const SIGNAL_PAUSE: Duration = Duration::from_secs(60);
/// Witnesses. Why: a signed note has sixteen signatures at most, one of them the log's own.
pub const WITNESSES: usize = 15;
/// Tables of one kind in the configuration, such as upstreams or issuers.
pub const CONFIG_TABLES: usize = 10_000;
/// How often witnesses are asked.
pub const WITNESS_EVERY: Duration = Duration::from_secs(10);
/// How often it is recorded that somebody reads the log by tiles.
pub const READING_EVERY: Duration = Duration::from_secs(60);
/// How often the sweep looks for what is due.
pub const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Grants that one sweep ends. Why: it must not hold the writer from the callers.
pub const SWEEP_BATCH: usize = 256;
/// A mint that is older than this was left open by a crash.
pub const MINT_DEADLINE: Duration = Duration::from_secs(15);
/// Upstream revocations that run at once.
pub const REVOCATIONS_AT_ONCE: usize = 16;
/// Longest time that a revocation waits for what upstreams say.
pub const REVOKE_WAIT: Duration = Duration::from_secs(10);
/// Revocations in work at once, beside the other requests. Why: revoking wins under overload.
pub const REVOKES_AT_ONCE: usize = 256;
/// Calls at once whose token is still being checked. Why: they may wait for an issuer's keys, and
/// must not hold the places of callers that are known.
pub const UNKNOWN_AT_ONCE: usize = 1024;
/// Mints at once, also those whose caller went away. Why: each holds an upstream's connection.
pub const MINTS_AT_ONCE: usize = 512;
/// Seconds that a grant must still live, or a quarter of its life, for something to begin under it.
pub const PASS_LEFT_SECONDS: u32 = 10;
/// Sessions that ask for grants for the gateway at one moment, remembered so that calls share one.
pub const PASS_TURNS: u64 = 10_000;
/// How long they are. Why: longer than any mint.
pub const PASS_TURN_LIFE: Duration = Duration::from_secs(60);
/// Transfers through the gateway at once. Why: each holds two connections and some buffers.
pub const TRANSFERS_AT_ONCE: usize = 512;
/// Streams of HTTP/2 on one connection of the gateway.
pub const TRANSFERS_OF_ONE: usize = 64;
/// Pushes that are read at once. Why: each keeps its history in memory, up to [`jeton_git::limits::PACK_KEPT_BYTES`].
pub const PUSHES_AT_ONCE: usize = 16;
/// Longest time that a push waits for others. Why: git and its user hear of it in time.
pub const PUSH_WAIT: Duration = Duration::from_secs(5);
/// Bytes a second that a push which is read has to bring on average, beside [`PUSH_GRACE`]. Why: it holds
/// one of few slots; the slowest line in use brings ten times as much.
pub const PUSH_RATE: u64 = 1024;
/// Time in all that such a push may stand still.
pub const PUSH_GRACE: Duration = Duration::from_secs(15);
/// How long a transfer may stand still.
pub const TRANSFER_SILENCE: Duration = Duration::from_secs(60);
/// How long one side of a conversation may say nothing: of a WebSocket, or of a stream of events. Why longer: a
/// model that thinks is silent for minutes.
pub const TALK_SILENCE: Duration = Duration::from_secs(600);
/// Time for the front of a push, and for reading over what a refused client still sends.
pub const PUSH_FRONT: Duration = Duration::from_secs(30);
/// As that, for the rest.
pub const PUSH_REST: Duration = Duration::from_secs(300);
/// Cores for each thread that reads packs and history. Why: the other half stays for the async threads, also on
/// the smallest machine that has two.
pub const CORES_PER_READER: usize = 2;
/// How long such a thread works before another has its turn. Why: longer costs others their time, shorter costs
/// changes of threads.
pub const READER_SLICE: Duration = Duration::from_millis(10);
/// How long an async thread decides about a push before others have their turn.
pub const DECIDING_SLICE: Duration = Duration::from_millis(1);
/// Time for the next request on an open connection of the gateway.
pub const GATEWAY_HEAD: Duration = Duration::from_secs(30);
/// Bytes of a refused push that are read before the connection is given up. Why read at all: a client that
/// still writes may not see the answer.
pub const REFUSED_BYTES: usize = 1024 * 1024 * 1024;
/// Bytes of a batch of large files, asked or answered. Why: a thousand of them with signed addresses.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Largest push, in MiB, unless configured.
pub const PUSH_MIB: u64 = 2048;
/// Largest file of a push, in MiB, unless configured.
pub const FILE_MIB: u64 = 100;
/// Bytes of an upstream's answer that are read whole: reports of pushes, and what it has of a history.
pub const ANSWER_BYTES: usize = 1024 * 1024;
/// Bytes of a call's body that a route looks into. Why: it is kept in memory until it is sent, and the largest
/// documents and issues are a tenth of it; with every transfer such a call, half a gigabyte.
pub const CALL_BODY_BYTES: usize = 1024 * 1024;
/// Longest line that names a part of a form, as far as it is looked at. Why: clients write some hundred bytes there.
pub const FORM_LINE_BYTES: usize = 1024;
/// Time for such a body to arrive. Why: as long as it does, nothing is decided and a place is held.
pub const CALL_BODY: Duration = Duration::from_secs(30);
/// Longest time that a stop waits for calls in work.
pub const DRAIN: Duration = Duration::from_secs(20);
/// Longest time that a stop takes to sign and copy the log's last entries.
pub const VOUCH: Duration = Duration::from_secs(5);
/// How often the folder of policies is looked at. A change is loaded when it rested so long: whoever
/// copies files is done by then.
pub const POLICY_LOOK: Duration = Duration::from_secs(1);
/// How often certificates and signing keys are looked at.
pub const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// Largest configuration file, in bytes.
pub const CONFIG_BYTES: u64 = 1024 * 1024;
/// Seconds within which a second operator has to want the same. Why: later nobody remembers why.
pub const PROPOSED_SECONDS: u32 = 3600;
