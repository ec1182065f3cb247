//! Every bound of the rules, with its reason.

/// Characters of a pattern. Why: matching costs pattern × text; no real ref or path is longer.
pub const PATTERN_CHARS: usize = 256;
/// Characters of a resource name. Why: GitHub allows 39 + 1 + 100; APIs with longer paths fit too.
pub const RESOURCE_CHARS: usize = 200;
/// Segments of a resource name. Why: bounds the work of `**`.
pub const RESOURCE_SEGMENTS: usize = 12;
/// Actions of one scope. Why: each costs a policy evaluation; GitHub has 55 permissions.
pub const ACTIONS: usize = 32;
/// Scopes of one envelope. Why: each request is compared with all of them.
pub const ENVELOPE_SCOPES: usize = 64;
/// Grants of one session. Why: their idempotency keys are kept in memory while they live.
pub const SESSION_GRANTS: u32 = 1_000_000;
/// Longest life of a grant, in seconds. Why: "short-lived" ends at half a day.
pub const GRANT_TTL_SECONDS: u32 = 12 * 3600;
/// Longest life of a session, in seconds. Why: a run of an agent, not an employment.
pub const SESSION_TTL_SECONDS: u32 = 7 * 24 * 3600;
/// Sessions above a session. Why: each is told in every entry and token; people lose sight earlier.
pub const DELEGATION_DEPTH: usize = 8;
/// Longest JWT that is looked at, in bytes. Why: real ones are under 4 KiB.
pub const JWT_BYTES: usize = 8 * 1024;
/// Clock difference to others that is forgiven, in seconds. Why: more would be a longer life.
pub const LEEWAY_SECONDS: u64 = 5;
/// Oldest DPoP proof, in seconds (RFC 9449 §11.1).
pub const DPOP_AGE_SECONDS: i64 = 60;
/// Characters of a principal's name. Why: SPIFFE allows 2,048 bytes, no deployment needs them.
pub const PRINCIPAL_CHARS: usize = 256;
/// Characters of a task, a reason or a close reason. Why: shown to people, stored in the log.
pub const WORDS_CHARS: usize = 500;
/// Characters of an idempotency key. Why: a UUID is 36.
pub const REQUEST_ID_CHARS: usize = 64;
/// Approvals of one request. Why: no quorum is larger.
pub const APPROVALS_OF_GRANT: usize = 16;
/// Seconds that a pending grant waits for an approval before it lapses.
/// Why: a question that nobody answered in an hour is asked again by someone who still cares.
pub const PENDING_SECONDS: u32 = 3600;
/// Places in which the time of a budget's rate is counted. Why: memory for each holder, and a rate is
/// kept to within one part of so many.
pub const BUDGET_STEPS: u32 = 60;
/// Longest time of a budget's rate, in seconds. Why: what began in it is read at the start.
pub const BUDGET_SECONDS: u32 = 24 * 3600;
/// Budgets of one catalogue. Why: each request is held against all of them.
pub const BUDGETS: usize = 64;
/// Longest emergency, in seconds. Why: after an hour others can be asked.
pub const EMERGENCY_SECONDS: u32 = 3600;
/// Grants of one emergency. Why: one that needs more is a way of working.
pub const EMERGENCY_GRANTS: u32 = 100;
/// Time in which the denials of one subject are counted together, in milliseconds.
pub const DENIAL_WINDOW_MILLIS: i64 = 60_000;
/// Denials of one subject in that time that are written whole. Why: more of one caller in a minute
/// is a loop or an attack, and both are described by their counts.
pub const DENIAL_ENTRIES_OF_SUBJECT: u32 = 60;
/// Bytes of them. Why: the longest chain, scope and reason make an entry of about 10 KB.
pub const DENIAL_BYTES_OF_SUBJECT: u64 = 640 * 1024;
/// Of those entries, how many a subject may write out of the half that is left to them when
/// others write much. Why: the first denials of a caller say what it tries.
pub const DENIAL_ENTRIES_RESERVED: u32 = 10;
/// Such entries of all authenticated subjects together. Why: 100 a second, whoever joins in.
pub const DENIAL_ENTRIES_AUTHENTICATED: u32 = 6_000;
/// Bytes of them.
pub const DENIAL_BYTES_AUTHENTICATED: u64 = 12 * 1024 * 1024;
/// Such entries of all unauthenticated subjects together. Why fewer: addresses cost nothing.
pub const DENIAL_ENTRIES_UNAUTHENTICATED: u32 = 600;
/// Bytes of them. Why: such an entry has about 200 bytes.
pub const DENIAL_BYTES_UNAUTHENTICATED: u64 = 256 * 1024;
/// Subjects of one kind that are counted apart. Why: each may need 30 KiB of memory, and an entry a
/// minute.
pub const DENIAL_SUBJECTS: usize = 1024;
/// Reasons of one summary that are told apart. Why: with [`SUMMARY_REASON_CHARS`] they fit an entry.
pub const SUMMARY_REASONS: usize = 32;
/// Characters of such a reason.
pub const SUMMARY_REASON_CHARS: usize = 200;
/// Different resources that one summary counts. Why: 8 bytes of memory for each.
pub const SUMMARY_RESOURCES: usize = 1024;
/// Segments of an API's path that is looked at.
pub const ROUTE_SEGMENTS: usize = 32;
/// Longest such path, in bytes.
pub const ROUTE_TEXT: usize = 2048;
/// Values of a JSON body that is looked at. Why: each takes some fifty bytes while it is; a megabyte of honest
/// JSON holds a third of them.
pub const BODY_VALUES: usize = 100_000;
/// Keys of a place in a body.
pub const DOTTED: usize = 8;
/// Places and values that one route wants of a body, of each kind.
pub const ROUTE_TERMS: usize = 100;
/// Characters of a header's name that a route lists. Why: the longest registered name has 45.
pub const ROUTE_HEADER_CHARS: usize = 64;
/// Tokens of a GraphQL document, blanks and comments among them. Why: the largest that forges take have fewer,
/// and reading costs time for each.
pub const GRAPHQL_TOKENS: usize = 20_000;
/// Brackets open at once in it. Why: its parser recurses.
pub const GRAPHQL_DEPTH: usize = 64;
/// Operations of it. Why: each is looked through by itself.
pub const GRAPHQL_OPERATIONS: usize = 16;
/// Root fields that it asks for in all. Why: each is held against each route.
pub const GRAPHQL_ROOTS: usize = 200;
/// Characters of a root field's name. Why: it stands in the log and in what policies see.
pub const GRAPHQL_NAME: usize = 100;
/// Bytes that the spelling of a credential may take for each of its symbols, and beside that. Why: what may be one is
/// held back; `&amp;#x0065;` is 12.
pub const MASK_BYTES_PER_SYMBOL: usize = 16;
/// Bytes beside those. Why: a short credential may be wrapped and indented.
pub const MASK_BYTES_MORE: usize = 1024;
/// Bytes of frame headers and control frames that wait for the text before them. Why: a server may send any number of
/// empty frames.
pub const SOCKET_BYTES_WAITING: usize = 64 * 1024;
