//! The right edge of an RFC 6962 tree: enough to go on, to give the root, and to cut tiles.

use aws_lc_rs::digest::{Context, SHA256};

/// Leaves in a bundle, hashes in a tile (C2SP tlog-tiles).
pub(crate) const TILE_WIDTH: usize = 256;
/// Levels of the tree in one tile.
const TILE_HEIGHT: u32 = 8;

/// A SHA-256 hash in the tree.
pub type Hash = [u8; 32];

/// RFC 6962, section 2.1: the hash of a leaf.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    hash(&[&[0], leaf])
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[1], left, right])
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// A growing tree; keeps O(log n) hashes.
#[derive(Clone, Default)]
pub(crate) struct Tree {
    size: u64,
    /// Roots of the perfect subtrees that make up the tree, largest first, with their heights.
    peaks: Vec<(u32, Hash)>,
    /// For each level of tiles, the hashes of its incomplete tile: always fewer than 256.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Number of leaves.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the incomplete tile at a level, with the tile's number.
    pub(crate) fn partial(&self, level: usize) -> Option<(u64, &[Hash])> {
        let hashes = self.levels.get(level)?;
        let shift = TILE_HEIGHT.saturating_mul(u32::try_from(level).ok()?.saturating_add(1));
        Some((self.size.checked_shr(shift).unwrap_or(0), hashes))
    }

    /// Number of levels of tiles.
    pub(crate) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Adds a leaf. `full` is told each tile that is now complete: level, number, hashes.
    pub(crate) fn push(&mut self, leaf: Hash, mut full: impl FnMut(usize, u64, &[Hash])) {
        let (mut height, mut node) = (0, leaf);
        self.size += 1;
        loop {
            if height % TILE_HEIGHT == 0 {
                let level = (height / TILE_HEIGHT) as usize;
                if self.levels.len() == level {
                    self.levels.push(Vec::with_capacity(TILE_WIDTH));
                }
                self.levels[level].push(node);
                if self.levels[level].len() == TILE_WIDTH {
                    // After this leaf the tile's last hash is complete, so the count is exact.
                    let number = (self.size >> (height + TILE_HEIGHT)) - 1;
                    full(level, number, &self.levels[level]);
                    self.levels[level].clear();
                }
            }
            match self.peaks.last() {
                Some((h, left)) if *h == height => {
                    node = node_hash(left, &node);
                    height += 1;
                    self.peaks.pop();
                }
                _ => break,
            }
        }
        self.peaks.push((height, node));
    }

    /// RFC 6962, section 2.1: the Merkle tree hash of all leaves so far.
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some((_, last)) = peaks.next() else {
            return hash(&[]);
        };
        peaks.fold(*last, |right, (_, left)| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::canonical::hex;
    use tlog_tiles::tlog;

    /// certificate-transparency-go, `internal/witness` and RFC 6962 reference data: the eight
    /// inputs and the roots of the trees of their first n.
    #[test]
    fn roots_of_the_reference_tree() {
        let inputs: [&[u8]; 8] = [
            b"",
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[
                0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
                0x6e, 0x6f,
            ],
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        assert_eq!(hex(&tree.root()), roots[0]);
        for (input, root) in inputs.iter().zip(&roots[1..]) {
            tree.push(leaf_hash(input), |_, _, _| ());
            assert_eq!(hex(&tree.root()), *root);
        }
    }

    struct Stored(Vec<tlog::Hash>);

    impl tlog::HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
            Ok(indexes.iter().map(|at| self.0[*at as usize]).collect())
        }
    }

    /// Against `tlog_tiles`: roots at every size, and tiles at two levels.
    #[test]
    fn roots_and_tiles_agree_with_tlog_tiles() {
        let mut stored = Stored(Vec::new());
        let mut tree = Tree::default();
        let mut tiles = HashMap::new();
        for n in 0..66_000_u64 {
            let leaf = n.to_be_bytes();
            let hashes = tlog::stored_hashes(n, &leaf, &stored).unwrap();
            stored.0.extend(hashes);
            tree.push(leaf_hash(&leaf), |level, number, hashes| {
                assert!(tiles.insert((level, number), hashes.concat()).is_none());
            });
            if n < 600 || n % 997 == 0 || n > 65_500 && n < 65_600 {
                let root = tlog::tree_hash(n + 1, &stored).unwrap();
                assert_eq!(tree.root(), root.0, "size {}", n + 1);
            }
        }
        for (level, number) in [(0, 0), (0, 1), (0, 256), (1, 0)] {
            let tile = tlog_tiles::tile::Tile::new(8, level, number, 256, false);
            let data = tile.read_data(&stored).unwrap();
            assert_eq!(tiles[&(usize::from(level), number)], data, "tile {level}/{number}");
        }
        assert_eq!(tiles.len(), 257 + 1);
        let (number, hashes) = tree.partial(0).unwrap();
        let width = hashes.len() as u32;
        let tile = tlog_tiles::tile::Tile::new(8, 0, number, width, false);
        assert_eq!(hashes.concat(), tile.read_data(&stored).unwrap());
    }
}
