//! Verifies a whole log: every entry against its hash, every tile against the entries, the roots
//! against what was signed. Memory does not grow with the log.

use jeton_domain::merkle::{
    Anchor, BundleId, Fault, Hash, LogVerifier, SignedCheckpoint, TILE_WIDTH, TileBuilder, TileId,
    Tiles, Tree, TreeError, VerifierKey,
};

use super::{LogError, LogSource};

/// What a log that holds amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Entries of which only the hashes were there.
    pub by_hash_only: u64,
    /// Entries that a checkpoint vouches for; those behind wait for the next one.
    pub signed: u64,
    /// Checkpoints that it was held against.
    pub checkpoints: usize,
}

/// Verifies a log with the key of whoever signs it and checkpoints that were kept elsewhere.
/// `progress` is told how many entries are done, of how many.
///
/// # Errors
/// With the first thing that is wrong, and where.
pub fn verify(
    source: &dyn LogSource,
    key: &VerifierKey,
    kept: &[SignedCheckpoint],
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, LogError> {
    let own = source.checkpoint()?.map(|note| SignedCheckpoint::open(&note, key)).transpose()?;
    let anchors: Vec<Anchor> = own.iter().chain(kept).map(anchor).collect();
    forked(&anchors)?;
    let signed = anchors.iter().map(|anchor| anchor.size).max().ok_or(LogError::Unsigned)?;
    let size = source.size()?.unwrap_or_else(|| own.as_ref().map_or(signed, size_of));
    if size < signed {
        return Err(Fault::Truncated { found: size, signed }.into());
    }
    let first = source.first()?;
    let tiles = SourceTiles(source);
    let edge = TileBuilder::read(&tiles, first).map_err(cut)?;
    for early in anchors.iter().filter(|anchor| anchor.size < first) {
        // Why a proof and not the root of those tiles: it binds them to the edge that is gone on from.
        let proof = Tree::new(&tiles, first).consistency(early.size).map_err(cut)?;
        if proof.verify(&early.root, &edge.frontier().root()).is_err() {
            return Err(Fault::Root { size: early.size, held: 0 }.into());
        }
    }
    let checkpoints = anchors.len();
    let mut verifier = LogVerifier::resume(anchors, edge);
    while let Some(id) = BundleId::holding(verifier.size(), size) {
        check_bundle(source, &mut verifier, id, size)?;
        progress(verifier.size(), size);
    }
    let edge = verifier.finish()?;
    for (id, hashes) in edge.partial() {
        check_tile(source, id, hashes)?;
    }
    let root = edge.frontier().root();
    Ok(Report { size, root, by_hash_only: first, signed, checkpoints })
}

fn check_bundle(
    source: &dyn LogSource,
    verifier: &mut LogVerifier,
    id: BundleId,
    size: u64,
) -> Result<(), LogError> {
    let start = id.index.saturating_mul(TILE_WIDTH);
    // Why not at once: what is wrong with an entry says more than that its tile is missing.
    let kept = match TileId::holding(0, start, size).filter(|id| id.is_full()) {
        Some(tile) => source.tile(tile),
        None => Ok(None),
    };
    let hashes = kept.as_ref().ok().and_then(Option::as_deref).unwrap_or_default();
    let skip = usize::try_from(verifier.size().saturating_sub(start)).unwrap_or(0);
    let texts = source.bundle(id)?;
    let mut full = Vec::new();
    for (place, text) in texts.iter().enumerate().skip(skip) {
        full = verifier.feed(text, hashes.get(place).copied())?.full;
    }
    if texts.len() != usize::from(id.width) {
        return Err(LogError::Missing(format!("entry {}", verifier.size())));
    }
    kept?;
    full.iter().try_for_each(|tile| check_tile(source, tile.id, &tile.hashes))
}

fn check_tile(source: &dyn LogSource, id: TileId, hashes: &[Hash]) -> Result<(), LogError> {
    match source.tile(id)? {
        Some(found) if found != hashes => {
            let below = 8 * u32::from(id.level);
            let from = id.index.saturating_mul(TILE_WIDTH).checked_shl(below).unwrap_or(u64::MAX);
            Err(Fault::Tile { tile: id, from }.into())
        }
        Some(_) | None => Ok(()),
    }
}

/// Finds two checkpoints that can't both be true.
fn forked(anchors: &[Anchor]) -> Result<(), LogError> {
    let mut sorted = anchors.to_vec();
    sorted.sort_unstable();
    let two = sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .find(|(one, other)| one.size == other.size && one.root != other.root);
    two.map_or(Ok(()), |(one, _)| Err(Fault::Forked { size: one.size }.into()))
}

fn anchor(signed: &SignedCheckpoint) -> Anchor {
    Anchor { size: signed.checkpoint().size, root: signed.checkpoint().root }
}

fn size_of(signed: &SignedCheckpoint) -> u64 {
    signed.checkpoint().size
}

/// The source's tiles, for roots and edges.
struct SourceTiles<'a>(&'a dyn LogSource);

impl Tiles for SourceTiles<'_> {
    type Error = LogError;

    fn tile(&self, id: TileId) -> Result<Vec<Hash>, LogError> {
        self.0.tile(id)?.ok_or_else(|| LogError::Missing(id.to_string()))
    }
}

fn cut(error: TreeError<LogError>) -> LogError {
    match error {
        TreeError::Source(error) => error,
        TreeError::Cut(id) => LogError::Missing(id.to_string()),
        TreeError::Beyond { asked, size } => Fault::Truncated { found: size, signed: asked }.into(),
    }
}
