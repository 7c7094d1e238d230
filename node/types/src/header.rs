//! The block header: what checkpoint votes sign and clients keep.
//!
//! ```text
//! H( i32 version ‖ per parent: i64 number, hash ‖ txsRoot ‖ receiptRoot ‖ stateRoot ‖ i64 number ‖ gasUsed ‖ i64 timestamp
//!    ‖ i64 sealer ‖ sealer list (64 raw bytes each) ‖ extraData ‖ consensus weights (i64 each) )
//! ```
//!
//! `signatureList` is outside the hash: its members sign the hash.

mod quorum;

pub use quorum::QuorumError;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::limits::{HEADER_BYTES_MAX, VALIDATORS_MAX};
use crate::tars::{DecodeError, Head, Reader, Writer};
use crate::{CryptoSuite, H256, NodeId};

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
    /// Bixi's own commitments, a [`HeaderExtension`].
    pub extra_data: Vec<u8>,
    /// Weights, in the order of `sealer_list`.
    pub consensus_weights: Vec<i64>,
    /// Quorum of checkpoint signatures; not part of the hash.
    pub signature_list: Vec<HeaderSignature>,
}

impl BlockHeader {
    /// Hash of everything but `signature_list`.
    pub fn hash(&self, suite: CryptoSuite) -> H256 {
        let mut image = Vec::with_capacity(512 + self.sealer_list.len() * 72 + self.extra_data.len());
        image.extend(self.version.to_be_bytes());
        for parent in &self.parent_info {
            image.extend(parent.number.to_be_bytes());
            image.extend(parent.hash.0);
        }
        for root in [&self.txs_root, &self.receipts_root, &self.state_root] {
            image.extend(root.0);
        }
        image.extend(self.number.to_be_bytes());
        image.extend(self.gas_used.as_bytes());
        image.extend(self.timestamp.to_be_bytes());
        image.extend(self.sealer.to_be_bytes());
        for sealer in &self.sealer_list {
            image.extend(sealer.0);
        }
        image.extend(&self.extra_data);
        for weight in &self.consensus_weights {
            image.extend(weight.to_be_bytes());
        }
        suite.hash(&[&image])
    }

    /// Reads one whole tars message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > HEADER_BYTES_MAX {
            let found = bytes.len() as u64;
            return Err(DecodeError::TooLarge { what: "header", found, limit: HEADER_BYTES_MAX });
        }
        let mut header = Self::default();
        Reader::new(bytes).message(|reader, head| header.read_field(reader, head))?;
        Ok(header)
    }

    /// The canonical encoding, signatures included; `dataHash` can be recomputed and is left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(512 + self.sealer_list.len() * 160);
        self.write_fields(&mut writer);
        writer.finish()
    }

    pub(crate) fn read_field(&mut self, reader: &mut Reader<'_>, head: Head) -> Result<(), DecodeError> {
        match head.tag {
            1 => reader.structure(head, |reader, head| self.read_data_field(reader, head))?,
            3 => {
                self.signature_list = reader.list(head, "signatureList", VALIDATORS_MAX, HeaderSignature::read)?;
            }
            _ => reader.skip(head)?,
        }
        Ok(())
    }

    fn read_data_field(&mut self, reader: &mut Reader<'_>, head: Head) -> Result<(), DecodeError> {
        match head.tag {
            2 => self.version = reader.int_as(head, "version")?,
            3 => self.parent_info = reader.list(head, "parentInfo", PARENTS_MAX, ParentInfo::read)?,
            4 => self.txs_root = reader.fixed(head, "txsRoot").map(H256)?,
            5 => self.receipts_root = reader.fixed(head, "receiptRoot").map(H256)?,
            6 => self.state_root = reader.fixed(head, "stateRoot").map(H256)?,
            7 => self.number = reader.int(head, "blockNumber")?,
            8 => self.gas_used = reader.string(head, "gasUsed")?,
            9 => self.timestamp = reader.int(head, "timestamp")?,
            10 => self.sealer = reader.int(head, "sealer")?,
            11 => {
                self.sealer_list = reader.list(head, "sealerList", VALIDATORS_MAX, |reader, head| {
                    reader.fixed(head, "sealer").map(NodeId)
                })?;
            }
            12 => self.extra_data = reader.bytes(head, "extraData")?.to_vec(),
            13 => {
                self.consensus_weights = reader.list(head, "consensusWeights", VALIDATORS_MAX, |reader, head| {
                    reader.int(head, "consensusWeight")
                })?;
            }
            _ => reader.skip(head)?,
        }
        Ok(())
    }

    pub(crate) fn write_fields(&self, writer: &mut Writer) {
        writer.structure(1, |data| {
            data.int(2, i64::from(self.version));
            data.list(3, &self.parent_info, |list, parent| parent.write(list));
            data.bytes(4, &self.txs_root.0);
            data.bytes(5, &self.receipts_root.0);
            data.bytes(6, &self.state_root.0);
            data.int(7, self.number);
            data.string(8, &self.gas_used);
            data.int(9, self.timestamp);
            data.int(10, self.sealer);
            data.list(11, &self.sealer_list, |list, sealer| list.bytes_always(0, &sealer.0));
            data.bytes(12, &self.extra_data);
            data.list(13, &self.consensus_weights, |list, weight| list.int_always(0, *weight));
        });
        writer.list(3, &self.signature_list, |list, signature| signature.write(list));
    }
}

/// FISCO BCOS's format allows several; more than these are no header of any chain.
const PARENTS_MAX: usize = 16;

impl ParentInfo {
    fn read(reader: &mut Reader<'_>, head: Head) -> Result<Self, DecodeError> {
        let mut parent = Self::default();
        reader.structure(head, |reader, head| {
            match head.tag {
                1 => parent.number = reader.int(head, "parent number")?,
                2 => parent.hash = reader.fixed(head, "parent hash").map(H256)?,
                _ => reader.skip(head)?,
            }
            Ok(())
        })?;
        Ok(parent)
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(0, |parent| {
            parent.int(1, self.number);
            parent.bytes(2, &self.hash.0);
        });
    }
}

impl HeaderSignature {
    fn read(reader: &mut Reader<'_>, head: Head) -> Result<Self, DecodeError> {
        let mut signature = Self::default();
        reader.structure(head, |reader, head| {
            match head.tag {
                1 => signature.sealer_index = reader.int(head, "sealerIndex")?,
                2 => signature.signature = reader.bytes(head, "header signature")?.to_vec(),
                _ => reader.skip(head)?,
            }
            Ok(())
        })?;
        Ok(signature)
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(0, |signature| {
            signature.int(1, self.sealer_index);
            signature.bytes(2, &self.signature);
        });
    }
}

/// What Bixi commits to beyond FISCO BCOS's header; lives in [`BlockHeader::extra_data`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HeaderExtension {
    /// Format of what follows; [`Self::VERSION`].
    pub version: u8,
    /// Id of the decided value this block executes.
    pub value_id: H256,
    /// Merkle root over H(canonical bytes) of every transaction: unlike `txs_root` it covers signatures and `extraData`.
    pub transactions_bytes_root: H256,
}

impl HeaderExtension {
    /// The format this node writes.
    pub const VERSION: u8 = 1;

    /// The extension of a block of `transactions` (canonical bytes each).
    pub fn new<'a>(suite: CryptoSuite, value_id: H256, transactions: impl Iterator<Item = &'a [u8]>) -> Self {
        let leaves = suite.hash_many(&transactions.map(|bytes| [bytes]).collect::<Vec<_>>());
        Self { version: Self::VERSION, value_id, transactions_bytes_root: crate::merkle::root(suite, &leaves) }
    }

    /// The bytes of `extra_data`.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("borsh into memory cannot fail")
    }

    /// Reads exactly one extension of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const LENGTH: usize = 65;
        match bytes.first() {
            None => return Err(DecodeError::Missing("header extension")),
            Some(&Self::VERSION) => {}
            Some(&version) => return Err(DecodeError::Version { what: "header extension", version: version.into() }),
        }
        borsh::from_slice(bytes).map_err(|_| DecodeError::Length {
            what: "header extension",
            expected: LENGTH,
            found: bytes.len(),
        })
    }
}

#[cfg(test)]
mod tests;
