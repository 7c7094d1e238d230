//! Records of the ledger's own: small structures in borsh, and the shape of a block.

use std::sync::Arc;

use bixi_types::H256;
use bixi_types::header::BlockHeader;
use bixi_types::receipt::Receipt;
use bixi_types::transaction::Verified;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::PreparedState;
use crate::error::{LedgerError, damaged};

/// How many transactions the chain holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Counts {
    /// All of them.
    pub transactions: u64,
    /// Those whose receipt has a status other than 0.
    pub failed: u64,
}

/// The last committed block, rewritten by every commit.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// Its height.
    pub number: u64,
    /// Its header hash.
    pub hash: H256,
    /// Commitment to its writes; with the accumulator it gives its state root.
    pub changes_root: H256,
    /// Totals up to and including it.
    pub counts: Counts,
}

/// What a ledger that began with a snapshot does not hold. Headers are there from genesis on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct History {
    /// Height of the snapshot: receipts begin above it.
    pub joined: u64,
    /// First block whose transactions, value and certificate are there; genesis is there, too.
    pub first_block: u64,
}

/// Heights, as rising ranges with both ends that neither touch nor overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Heights(Vec<(u64, u64)>);

impl Heights {
    /// Whether `number` is one of them.
    pub fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// Adds those from `first` to `last`; none when `last` is below.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        if last < first {
            return;
        }
        self.0.push((first, last));
        self.0.sort_unstable();
        let ranges = std::mem::take(&mut self.0);
        for (first, last) in ranges {
            match self.0.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => self.0.push((first, last)),
            }
        }
    }
}

/// What a ledger that began with a snapshot holds from before: of the ledger in whose place it came.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Past {
    /// Blocks with transactions, value and certificate.
    pub blocks: Heights,
    /// Blocks with receipts.
    pub receipts: Heights,
}

/// What a block holds beside its header, transactions and receipts.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Body {
    /// Number of transactions and of receipts.
    pub transaction_count: u32,
    /// The decided value, as consensus encodes it; empty at genesis.
    pub value: Vec<u8>,
    /// The commit certificate, as consensus encodes it; empty at genesis.
    pub certificate: Vec<u8>,
}

/// A block as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// With the quorum's signatures.
    pub header: BlockHeader,
    /// Canonical bytes, in order.
    pub transactions: Vec<Vec<u8>>,
    /// The decided value, as consensus encodes it.
    pub value: Vec<u8>,
    /// The commit certificate, as consensus encodes it.
    pub certificate: Vec<u8>,
    /// How its batches are made of its transactions, as the runtime encodes it; `None` in blocks of releases that had no network.
    pub batches: Option<Vec<u8>>,
}

/// What a block is made of, its transactions and receipts aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// With the quorum's signatures.
    pub header: BlockHeader,
    /// How many transactions it has.
    pub transaction_count: u32,
    /// The decided value, as consensus encodes it.
    pub value: Vec<u8>,
    /// The commit certificate, as consensus encodes it.
    pub certificate: Vec<u8>,
    /// As [`StoredBlock::batches`].
    pub batches: Option<Vec<u8>>,
}

/// A certified block, ready to be made durable.
#[derive(Debug, Clone)]
pub struct CommitBlock {
    /// The header with the quorum's signatures.
    pub header: BlockHeader,
    /// In execution order.
    pub transactions: Vec<Verified>,
    /// One for each transaction.
    pub receipts: Vec<Receipt>,
    /// From [`crate::Ledger::prepare`] of the same height.
    pub prepared: PreparedState,
    /// The decided value, as consensus encodes it.
    pub value: Vec<u8>,
    /// The commit certificate, as consensus encodes it.
    pub certificate: Vec<u8>,
    /// How its batches are made of its transactions, as the runtime encodes it.
    pub batches: Vec<u8>,
}

/// A stored transaction and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransaction {
    /// Canonical bytes.
    pub bytes: Vec<u8>,
    /// Height of its block.
    pub number: u64,
    /// Its place in the block.
    pub index: u32,
}

/// Encodes a record.
pub(crate) fn encode<T: BorshSerialize>(record: &T) -> Vec<u8> {
    borsh::to_vec(record).expect("borsh into memory cannot fail")
}

/// Decodes a record; trailing bytes are refused.
pub(crate) fn decode<T: BorshDeserialize>(what: &str, bytes: &[u8]) -> Result<T, LedgerError> {
    borsh::from_slice(bytes).map_err(|error| damaged(format_args!("{what}: {error}")))
}

/// Shares bytes without copying them again.
pub(crate) fn share(bytes: Option<Vec<u8>>) -> Option<Arc<[u8]>> {
    bytes.map(Into::into)
}
