//! Proofs, and how an outsider checks them with nothing but roots.

use super::hash::{Hash, node_hash};

/// Longest path of a proof. Why: a tree of 2^63 entries has no longer one.
const PATH_MOST: usize = 64;

/// That an entry is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Place of the entry.
    pub index: u64,
    /// Entries of the tree.
    pub size: u64,
    /// The hashes beside the way from leaf to root.
    pub path: Vec<Hash>,
}

/// That a tree begins with all that it held before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Entries before.
    pub old: u64,
    /// Entries now.
    pub new: u64,
    /// The hashes that both roots are made of.
    pub path: Vec<Hash>,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It speaks of an entry or a size that the tree has not.
    #[error("the proof speaks of entries beyond the tree")]
    Beyond,
    /// Too few or too many hashes for these sizes.
    #[error("the proof has {found} hashes; sizes like these need another number")]
    Length {
        /// How many it has.
        found: usize,
    },
    /// It leads to another root.
    #[error("the proof leads to another root: the log and the checkpoint do not belong together")]
    Root,
}

impl InclusionProof {
    /// Checks that `leaf` is in the tree with this root (RFC 9162 §2.1.3.2).
    ///
    /// # Errors
    /// When that is not proved.
    pub fn verify(&self, leaf: &Hash, root: &Hash) -> Result<(), ProofError> {
        if self.index >= self.size {
            return Err(ProofError::Beyond);
        }
        let length = || ProofError::Length { found: self.path.len() };
        if self.path.len() > PATH_MOST {
            return Err(length());
        }
        let (mut place, mut last) = (self.index, self.size - 1);
        let mut hash = *leaf;
        for beside in &self.path {
            if last == 0 {
                return Err(length());
            }
            if place & 1 == 1 || place == last {
                hash = node_hash(beside, &hash);
                while place & 1 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node_hash(&hash, beside);
            }
            place >>= 1;
            last >>= 1;
        }
        if last != 0 {
            return Err(length());
        }
        if hash == *root { Ok(()) } else { Err(ProofError::Root) }
    }
}

impl ConsistencyProof {
    /// Checks that the tree with `new_root` begins with the one with `old_root` (RFC 9162 §2.1.4.2).
    ///
    /// # Errors
    /// When that is not proved.
    pub fn verify(&self, old_root: &Hash, new_root: &Hash) -> Result<(), ProofError> {
        let length = ProofError::Length { found: self.path.len() };
        if self.old > self.new {
            return Err(ProofError::Beyond);
        }
        if self.path.len() > PATH_MOST {
            return Err(length);
        }
        if self.old == self.new {
            return match (self.path.is_empty(), old_root == new_root) {
                (true, true) => Ok(()),
                (true, false) => Err(ProofError::Root),
                (false, _) => Err(length),
            };
        }
        if self.old == 0 {
            // Every tree begins with the empty one.
            return if self.path.is_empty() { Ok(()) } else { Err(length) };
        }
        let mut path = self.path.iter();
        let (mut place, mut last) = (self.old - 1, self.new - 1);
        while place & 1 == 1 {
            place >>= 1;
            last >>= 1;
        }
        // Spec: a power of two is a subtree of its own, so its root begins the path unsaid.
        let first =
            if self.old.is_power_of_two() { old_root } else { path.next().ok_or(length)? };
        let (mut before, mut now) = (*first, *first);
        for beside in path {
            if last == 0 {
                return Err(length);
            }
            if place & 1 == 1 || place == last {
                before = node_hash(beside, &before);
                now = node_hash(beside, &now);
                while place & 1 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                now = node_hash(&now, beside);
            }
            place >>= 1;
            last >>= 1;
        }
        if last != 0 {
            return Err(length);
        }
        if before == *old_root && now == *new_root { Ok(()) } else { Err(ProofError::Root) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{EMPTY_ROOT, Frontier, TileId, Tiles, Tree, leaf_hash};

    /// The tree as the RFC defines it, by recursion over all leaves.
    fn plain(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_ROOT,
            [leaf] => *leaf,
            _ => {
                let middle = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(middle);
                node_hash(&plain(left), &plain(right))
            }
        }
    }

    struct Leaves(Vec<Hash>);

    impl Tiles for Leaves {
        type Error = ();
        fn tile(&self, id: TileId) -> Result<Vec<Hash>, ()> {
            let span = 256_usize.pow(id.level.into());
            let first = usize::try_from(id.index).unwrap() * 256;
            let hash = |place: usize| plain(&self.0[place * span..(place + 1) * span]);
            Ok((first..first + usize::from(id.width)).map(hash).collect())
        }
    }

    fn leaves(count: u64) -> Leaves {
        Leaves((0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect())
    }

    #[test]
    fn every_entry_of_every_small_tree_is_proved_to_be_in_it_and_nowhere_else() {
        let all = leaves(300);
        let mut grown = Frontier::new();
        for size in 1..=300_u64 {
            let end = usize::try_from(size).unwrap();
            grown.push(all.0[end - 1]);
            let tree = Tree::new(&all, size);
            let root = plain(&all.0[..end]);
            assert_eq!(tree.root(), Ok(root));
            assert_eq!(grown.root(), root);
            assert_eq!(tree.frontier(), Ok(grown.clone()));
            for index in (0..size).filter(|index| size < 40 || index % 17 == 0 || index + 3 > size)
            {
                let leaf = all.0[usize::try_from(index).unwrap()];
                let proof = tree.inclusion(index).unwrap();
                assert_eq!(proof.verify(&leaf, &root), Ok(()), "{index} of {size}");
                let other = leaf_hash(b"another");
                assert_eq!(proof.verify(&other, &root), Err(ProofError::Root));
                let moved = InclusionProof { index: (index + 1) % size, ..proof.clone() };
                assert!(size == 1 || moved.verify(&leaf, &root).is_err(), "{index} of {size}");
                let mut longer = proof.clone();
                longer.path.push(other);
                assert!(longer.verify(&leaf, &root).is_err());
                let mut shorter = proof.clone();
                assert!(shorter.path.pop().is_none() || shorter.verify(&leaf, &root).is_err());
            }
        }
    }

    #[test]
    fn every_small_tree_is_proved_to_begin_with_every_smaller_one() {
        let all = leaves(300);
        for new in (0..=300_u64).filter(|new| *new < 70 || *new > 250) {
            let tree = Tree::new(&all, new);
            let root = |size: u64| plain(&all.0[..usize::try_from(size).unwrap()]);
            for old in 0..=new {
                let proof = tree.consistency(old).unwrap();
                assert_eq!(proof.verify(&root(old), &root(new)), Ok(()), "{old} to {new}");
                let other = leaf_hash(b"another");
                if old > 0 {
                    assert!(proof.verify(&other, &root(new)).is_err(), "{old} to {new}");
                    if old < new {
                        assert!(proof.verify(&root(old), &other).is_err(), "{old} to {new}");
                    }
                }
                let mut longer = proof;
                longer.path.push(other);
                assert!(longer.verify(&root(old), &root(new)).is_err());
            }
        }
    }
}
