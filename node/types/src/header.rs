//! The block header: what checkpoint votes sign and clients keep.

use crate::{H256, NodeId};

/// A parent block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParentInfo {
    /// Its height.
    pub number: i64,
    /// Its header hash.
    pub hash: H256,
}

/// One validator's signature over the header hash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderSignature {
    /// Index in [`BlockHeader::sealer_list`].
    pub sealer_index: i64,
    /// r ‖ s.
    pub signature: Vec<u8>,
}

/// A block header in FISCO BCOS 3.x's shape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockHeader {
    /// Encoding version.
    pub version: i32,
    /// Parents; exactly one, none at genesis.
    pub parent_info: Vec<ParentInfo>,
    /// Merkle root of the transaction hashes.
    pub txs_root: H256,
    /// Merkle root of the receipt hashes.
    pub receipts_root: H256,
    /// State commitment.
    pub state_root: H256,
    /// Height.
    pub number: i64,
    /// Gas used, decimal.
    pub gas_used: String,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Index of the builder in `sealer_list`.
    pub sealer: i64,
    /// The validators of this height.
    pub sealer_list: Vec<NodeId>,
    /// Bixi's own commitments.
    pub extra_data: Vec<u8>,
    /// Weights, in the order of `sealer_list`.
    pub consensus_weights: Vec<i64>,
    /// Quorum of checkpoint signatures; not part of the hash.
    pub signature_list: Vec<HeaderSignature>,
}
