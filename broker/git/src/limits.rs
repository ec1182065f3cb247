//! Every bound of what is read of git's wire, with its reason.

/// Refs that one push moves at most. Why: each is decided, and all stand in one entry of the log.
pub const PUSH_REFS: usize = 100;
/// Bytes of a push before its pack. Why: a hundred refs and as many shallow lines have room.
pub const PUSH_HEAD_BYTES: usize = 64 * 1024;
/// Commits that one push brings at most. Why: each is read, and decided where rules are about what a push brings.
pub const PUSH_COMMITS: usize = 10_000;
/// Parents of a commit that a push brings, at most. Why: each is a state of the upstream that has to be compared;
/// the merges of real projects have a handful.
pub const PUSH_PARENTS: usize = 64;
/// Different commits of the upstream that a push rests on, at most. Why: how they are related is kept as bits.
pub const PUSH_EDGES: usize = 256;
/// Merge bases of two commits that a merge is compared with, at most. Why: two branches that nobody crossed
/// have one.
pub const MERGE_BASES: usize = 8;
/// Requests to the upstream that one push may cause, beside one for each commit of the upstream that it rests on.
/// Why: branches, foreign commits, a retry without filters, where a ref stood, folders in two rounds; the push
/// itself and the advertisement before it come on top.
pub const PUSH_CALLS: u32 = 6;
/// Bytes of the upstream's answers that one push may cause, as they come or as they are kept, whichever is more.
pub const PUSH_ANSWER_BYTES: u64 = 128 * 1024 * 1024;
/// Seconds that the broker works for one push or waits for the upstream's answers about it.
pub const PUSH_SECONDS: u64 = 60;
/// Files that it changes at most then: each is decided.
pub const PUSH_FILES: usize = 10_000;
/// How deep folders, and tags of tags, are followed.
pub const TREE_DEPTH: usize = 64;
/// Bytes of folders that are read to decide about one push.
pub const FOLDERS_READ: u64 = 256 * 1024 * 1024;
/// Objects of a pack. Why: where each begins is kept.
pub const PACK_OBJECTS: u32 = 2_000_000;
/// Bytes of commits, trees and tags that are kept of one push.
pub const PACK_KEPT_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that a pack may inflate to. Why: a small one may inflate to anything.
pub const PACK_INFLATED_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// Branches that an upstream may name. Why: each stands in the question what is new.
pub const TIPS: usize = 20_000;
/// Bytes in which it names them.
pub const TIPS_BYTES: usize = 4 * 1024 * 1024;
/// Large files in one batch. Why: git's own client asks for a hundred at once.
pub const LARGE_FILES: usize = 1_000;
/// Headers that an upstream may want beside a large file.
pub const LARGE_HEADERS: usize = 32;
