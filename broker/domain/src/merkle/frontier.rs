//! The right edge of a growing tree: all that appending needs, a hash for each bit of the size.

use super::hash::{EMPTY_ROOT, Hash, node_hash};

/// The roots of the perfect subtrees that a tree is made of, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree of `size` leaves whose perfect subtrees have these roots; `None` if their number is
    /// not that of the size's bits.
    #[must_use]
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Self> {
        let bits = usize::try_from(size.count_ones()).ok()?;
        (roots.len() == bits).then_some(Self { size, roots })
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_, _| ());
    }

    /// Appends a leaf and hands on each perfect subtree that it completes, with its height, itself
    /// first.
    pub fn push_with(&mut self, leaf: Hash, mut each: impl FnMut(u32, Hash)) {
        let mut root = leaf;
        each(0, root);
        // Each trailing one of the size is a perfect subtree that the new leaf completes to a pair.
        for height in 1..=self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                root = node_hash(&left, &root);
                each(height, root);
            }
        }
        self.roots.push(root);
        self.size = self.size.saturating_add(1);
    }

    /// Root of the whole tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let whole = |right: Hash, left: &Hash| node_hash(left, &right);
        let mut roots = self.roots.iter().rev();
        roots.next().map_or(EMPTY_ROOT, |last| roots.fold(*last, whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;

    /// The vectors of RFC 6962's reference implementation.
    #[test]
    fn the_known_tree_has_the_known_roots() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut tree = Frontier::new();
        assert_eq!(tree.root(), EMPTY_ROOT);
        let mut roots = vec![];
        for leaf in leaves {
            tree.push(leaf_hash(leaf));
            roots.push(crate::secret::hex(&tree.root().0));
        }
        assert_eq!(roots[0], "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(roots[1], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(roots[7], "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }
}
