//! How the batches of a decided value are made of what the ledger holds: runs of the block's transactions, and in full only what the
//! order dropped (ADR 007). With it a node serves the batches of any committed height to one that comes late, without a second copy of
//! every transaction.

use bixi_types::batch::Batch;
use bixi_types::limits::{BATCH_TRANSACTIONS_MAX, TRANSACTION_BYTES_MAX, VALUE_BATCHES_MAX};
use bixi_types::transaction::Verified;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::batches::VerifiedBatch;

/// A piece of a batch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Part {
    /// Transactions of the block, by index.
    Run { first: u32, count: u32 },
    /// One that is not in the block with these bytes.
    Dropped(Vec<u8>),
}

/// The batches of a value, in its order.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Recipe(Vec<Vec<Part>>);

impl Recipe {
    /// Of batches in the order of the value, and the block that was made of them by leaving some transactions out.
    pub(crate) fn new(batches: &[VerifiedBatch], block: &[Verified]) -> Self {
        let mut next = 0;
        let mut parts_of = |batch: &VerifiedBatch| {
            let mut parts = Vec::new();
            for transaction in batch.transactions.iter() {
                if block.get(next).is_none_or(|stands| stands.bytes != transaction.bytes) {
                    parts.push(Part::Dropped(transaction.bytes.to_vec()));
                    continue;
                }
                match parts.last_mut() {
                    Some(Part::Run { first, count }) if (*first + *count) as usize == next => *count += 1,
                    _ => parts.push(Part::Run { first: next as u32, count: 1 }),
                }
                next += 1;
            }
            parts
        };
        Self(batches.iter().map(&mut parts_of).collect())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("borsh into memory cannot fail")
    }

    /// Reads a recipe back.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let recipe = Self::try_from_slice(bytes).map_err(|error| format!("the batches of a block: {error}"))?;
        if recipe.0.len() > VALUE_BATCHES_MAX {
            return Err(format!("{} batches of a block; a value names at most {VALUE_BATCHES_MAX}", recipe.0.len()));
        }
        Ok(recipe)
    }

    /// How many batches there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One batch, given how a transaction of the block is read; `None` when it does not exist or the block is another one.
    pub(crate) fn batch<E>(
        &self,
        place: usize,
        mut read: impl FnMut(u32) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Batch>, E> {
        let Some(parts) = self.0.get(place).filter(|parts| are_bounded(parts)) else { return Ok(None) };
        let mut transactions = Vec::new();
        for part in parts {
            match part {
                Part::Run { first, count } => {
                    for index in *first..first.saturating_add(*count) {
                        let Some(bytes) = read(index)? else { return Ok(None) };
                        transactions.push(bytes);
                    }
                }
                Part::Dropped(bytes) => transactions.push(bytes.clone()),
            }
        }
        Ok(Some(Batch { transactions }))
    }
}

/// Whether a batch may be made of this.
fn are_bounded(parts: &[Part]) -> bool {
    let count_of = |part: &Part| match part {
        Part::Run { count, .. } => *count as usize,
        Part::Dropped(bytes) if bytes.len() <= TRANSACTION_BYTES_MAX => 1,
        Part::Dropped(_) => usize::MAX,
    };
    parts.iter().map(count_of).fold(0, usize::saturating_add) <= BATCH_TRANSACTIONS_MAX
}
