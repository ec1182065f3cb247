//! Every bound of the policy room, with its reason.

/// Largest policy file or catalogue, in bytes. Why: 100,000 listed resources with tier and owner take 11 MiB.
pub const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Largest single policy, in bytes. Why: a rule that fits no screen is read by nobody.
pub const POLICY_BYTES: usize = 16 * 1024;
/// Brackets open at once in a policy. Why: Cedar's parser recurses, 16 KB a level at worst.
pub const NESTED: usize = 50;
/// Parts that one policy joins. Why: as above; they become a chain that is walked by recursion.
pub const JOINED: usize = 400;
/// Stack of the thread that loads policies, in bytes. Why: twice what both bounds can use at once.
pub const LOADING_STACK: usize = 64 * 1024 * 1024;
/// Files of a policy folder. Why: one for each team of a large company.
pub const FILES: usize = 1_000;
/// Policies of a set. Why: at 3 KB each they take 30 MB, and parsing them a second.
pub const POLICIES: usize = 10_000;
/// Scopes that one reviewer may approve within. Why: as many as an envelope has.
pub const REVIEWER_SCOPES: usize = 64;
/// Routes of APIs. Why: each call is held against those of its upstream, one by one.
pub const ROUTES: usize = 2_000;
/// Characters of an `@id`. Why: each decision writes the ids that made it into the log.
pub const POLICY_ID_CHARS: usize = 64;
/// Problems that one load tells. Why: after so many, the first ones are what to fix.
pub const PROBLEMS: usize = 100;
/// Sets that are kept after they were in force. Why: those of some months; each is small.
pub const KEPT: usize = 100;
/// Slices kept. Why: one for each kind of agent at each kind of resource; each is a few policies.
pub const SLICES: u64 = 4_096;
/// Prepared questions kept. Why: who, what and on what of the running agents; each is about 3 KB.
pub const PREPARED: u64 = 20_000;
/// Answers kept with each prepared question. Why: a job asks for a few lives and branches.
pub const REMEMBERED: usize = 32;
/// Named agents, people and resources whose facts a proof knows. Why: each is compared with each, and
/// a solver that knows less of them finds more counter-examples, but proves nothing that is wrong.
#[cfg(feature = "prove")]
pub const FACTS_OF_PROOF: usize = 200;
