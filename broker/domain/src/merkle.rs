//! The Merkle tree over the log's entries, and everything that lets an outsider check it.
//!
//! Hashes by RFC 9162 §2.1, tiles by C2SP tlog-tiles, checkpoints by C2SP tlog-checkpoint inside
//! C2SP signed notes, so that verifiers and witnesses that others wrote work with this log. Knows
//! neither what an entry says nor where it is kept, and holds no private key.

mod builder;
mod checkpoint;
mod frontier;
mod hash;
mod note;
mod proof;
mod tile;
mod tree;
mod verify;

pub use self::{
    builder::{FullTile, TileBuilder},
    checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint},
    frontier::Frontier,
    hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash},
    note::{KeyName, Note, NoteError, VerifierKey, WitnessKey},
    proof::{ConsistencyProof, InclusionProof, ProofError},
    tile::{BundleId, TILE_WIDTH, TileError, TileId, bundle, unbundle},
    tree::{Tiles, Tree, TreeError},
    verify::{Anchor, Checked, Fault, LogVerifier},
};
