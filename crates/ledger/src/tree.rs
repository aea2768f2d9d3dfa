//! The tree head over leaves in order (RFC 9162, 2.1.1), kept as the roots of its perfect subtrees:
//! a leaf is added, and the root known, without the leaves before.

use counterfoil_types::Digest;
use serde::{Deserialize, Serialize};

/// A Merkle tree that only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    size: u64,
    /// Roots of its perfect subtrees, the largest first: one for each bit of `size` that is set.
    edge: Vec<Digest>,
}

impl Tree {
    /// Adds a leaf hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut node = leaf;
        let mut rest = self.size;
        while rest & 1 == 1 {
            let Some(left) = self.edge.pop() else { break };
            node = Digest::node(&left, &node);
            rest >>= 1;
        }
        self.edge.push(node);
        self.size += 1;
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree head.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut right = self.edge.iter().rev();
        let Some(mut root) = right.next().copied() else { return Digest::of(b"") };
        for left in right {
            root = Digest::node(left, &root);
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the RFC defines it: split at the largest power of two below the size.
    fn naive(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => *leaf,
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                Digest::node(&naive(&leaves[..half]), &naive(&leaves[half..]))
            }
        }
    }

    #[test]
    fn a_growing_tree_has_the_head_of_the_definition() {
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        for number in 0..300u32 {
            assert_eq!(tree.root(), naive(&leaves), "{number} leaves");
            assert_eq!(tree.size(), u64::from(number));
            let leaf = Digest::leaf(&number.to_be_bytes());
            leaves.push(leaf);
            tree.push(leaf);
        }
    }

    /// The inputs that certificate transparency logs test themselves with.
    #[test]
    fn known_tree_heads() {
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let heads = [
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
        for (input, head) in inputs.iter().zip(heads) {
            let bytes: Vec<u8> = (0..input.len() / 2)
                .map(|at| u8::from_str_radix(&input[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            tree.push(Digest::leaf(&bytes));
            assert_eq!(tree.root().to_string(), head);
        }
    }
}
