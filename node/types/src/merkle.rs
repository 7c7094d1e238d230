//! FISCO BCOS's binary Merkle tree over transaction and receipt hashes.
//!
//! Leaves are the hashes unchanged; a parent is H(left ‖ right); the last node of an odd level gives H(node) alone, neither
//! doubled nor promoted. One leaf is its own root; no leaves give 32 zero bytes.
//!
//! A proof lists, per level, a 4-byte big-endian count and that many sibling hashes, the node's own included; for one leaf it is
//! the root alone. A verifier that knows the leaf must look the leaf up inside each group, so a proof shows *membership*, never
//! a position.
//!
//! Leaves and nodes share one hash without domain separation (FISCO BCOS's format): an inner node can pose as a leaf of a
//! shorter tree. Callers prove a *transaction hash*, which is itself a hash of bytes they hold, so a pair of hashes would have to
//! parse as a transaction; never pass [`verify`] a leaf that was not computed from its pre-image.

use crate::{CryptoSuite, H256};

/// Root of the tree over `leaves`.
pub fn root(suite: CryptoSuite, leaves: &[H256]) -> H256 {
    let Some(first) = leaves.first() else { return H256::ZERO };
    if leaves.len() == 1 {
        return *first;
    }
    let mut level = parents(suite, leaves);
    while level.len() > 1 {
        level = parents(suite, &level);
    }
    level[0]
}

/// Proof of the leaf at `index`. Panics when there is no such leaf.
pub fn proof(suite: CryptoSuite, leaves: &[H256], index: usize) -> Vec<Vec<u8>> {
    assert!(index < leaves.len(), "leaf {index} of {}", leaves.len());
    if leaves.len() == 1 {
        return vec![leaves[0].0.to_vec()];
    }
    let mut elements = Vec::new();
    let mut level = leaves.to_vec();
    let mut index = index;
    while level.len() > 1 {
        let group = level.chunks(2).nth(index / 2).expect("the index is inside its level");
        elements.push((group.len() as u32).to_be_bytes().to_vec());
        elements.extend(group.iter().map(|hash| hash.0.to_vec()));
        level = parents(suite, &level);
        index /= 2;
    }
    elements
}

/// Whether `proof` shows that `leaf` is under `root`. Any malformed proof is `false`.
pub fn verify(suite: CryptoSuite, leaf: &H256, proof: &[Vec<u8>], root: &H256) -> bool {
    if let [only] = proof {
        return only.as_slice() == root.as_bytes() && leaf == root;
    }
    if proof.is_empty() {
        return false;
    }
    let mut node = *leaf;
    let mut rest = proof;
    while let Some((count, after)) = rest.split_first() {
        let group = match count.as_slice() {
            [0, 0, 0, 1] => after.get(..1),
            [0, 0, 0, 2] => after.get(..2),
            _ => None,
        };
        let Some(group) = group else { return false };
        if group.iter().any(|hash| hash.len() != H256::LEN)
            || !group.iter().any(|hash| hash.as_slice() == node.as_bytes())
        {
            return false;
        }
        let parts: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
        node = suite.hash(&parts);
        rest = &after[group.len()..];
    }
    node == *root
}

fn parents(suite: CryptoSuite, level: &[H256]) -> Vec<H256> {
    let nodes: Vec<[u8; H256::LEN]> = level.iter().map(|hash| hash.0).collect();
    let groups: Vec<[&[u8]; 1]> = nodes.as_flattened().chunks(2 * H256::LEN).map(|group| [group]).collect();
    suite.hash_many(&groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<H256> {
        (0..count).map(|index| CryptoSuite::Std.hash(&[&index.to_be_bytes()])).collect()
    }

    #[test]
    fn small_trees_follow_the_rules() {
        for suite in [CryptoSuite::Std, CryptoSuite::Sm] {
            let leaf = leaves(3);
            assert_eq!(root(suite, &[]), H256::ZERO);
            assert_eq!(root(suite, &leaf[..1]), leaf[0]);
            let left = suite.hash(&[&leaf[0].0, &leaf[1].0]);
            assert_eq!(root(suite, &leaf[..2]), left);
            let right = suite.hash(&[&leaf[2].0]);
            assert_eq!(root(suite, &leaf), suite.hash(&[&left.0, &right.0]));
        }
    }

    #[test]
    fn every_proof_verifies_and_no_other_leaf_does() {
        for count in 1..40 {
            let leaf = leaves(count);
            let top = root(CryptoSuite::Sm, &leaf);
            for index in 0..count {
                let path = proof(CryptoSuite::Sm, &leaf, index);
                assert!(verify(CryptoSuite::Sm, &leaf[index], &path, &top), "{index} of {count}");
                assert!(!verify(CryptoSuite::Sm, &H256([7; 32]), &path, &top));
                assert!(!verify(CryptoSuite::Std, &leaf[index], &path, &top) || count == 1);
            }
        }
    }

    #[test]
    fn damaged_proofs_are_refused_without_panic() {
        let leaf = leaves(5);
        let top = root(CryptoSuite::Std, &leaf);
        let path = proof(CryptoSuite::Std, &leaf, 4);
        assert_eq!(path[0], [0, 0, 0, 1]);
        assert!(!verify(CryptoSuite::Std, &leaf[4], &[], &top));
        for cut in 1..path.len() {
            assert!(!verify(CryptoSuite::Std, &leaf[4], &path[..cut], &top), "cut at {cut}");
        }
        for element in 0..path.len() {
            for byte in 0..path[element].len() {
                let mut damaged = path.clone();
                damaged[element][byte] ^= 1;
                assert!(!verify(CryptoSuite::Std, &leaf[4], &damaged, &top), "element {element} byte {byte}");
            }
            let mut shortened = path.clone();
            shortened[element].pop();
            assert!(!verify(CryptoSuite::Std, &leaf[4], &shortened, &top));
        }
    }
}
