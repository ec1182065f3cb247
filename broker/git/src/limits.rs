//! Every bound of what is read of git's wire, with its reason.

/// Refs that one push moves at most. Why: each is decided, and all stand in one entry of the log.
pub const PUSH_REFS: usize = 100;
/// Bytes of a push before its pack. Why: a hundred refs and as many shallow lines have room.
pub const PUSH_HEAD_BYTES: usize = 64 * 1024;
/// Commits that one push brings at most where their content is looked at.
pub const PUSH_COMMITS: usize = 5_000;
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
