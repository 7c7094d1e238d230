//! Whether a value is worth its bytes: what of it the order would drop is at most what can stand, and one batch more (ADR 007).
//!
//! What the order drops costs no gas and stays in every ledger, so a proposer could fill its turns with transactions that are in the
//! chain already, have expired or repeat each other. The rule is the same on every node: it looks at the value's bytes, at genesis and
//! at the chain through the height that is certified before the value's own begins (`height - pipeline_depth - 1`), which every
//! validator of it has. So honest nodes never disagree about a value. One batch always passes: nothing waits for ever, and the clients
//! of what is dropped are told. What was decided is taken whatever it brings.

use std::sync::Arc;

use bixi_execution::order::{OrderLimits, Tally};
use bixi_ledger::Ledger;
use bixi_types::H256;
use bixi_types::consensus::Value;
use bixi_types::genesis::Genesis;
use bixi_types::limits::{BATCH_TRANSACTIONS_MAX, VALUE_DEAD_BYTES_MAX};
use bixi_types::state::StateError;

use super::Driver;
use crate::batches::{BatchStore, VerifiedBatch};
use crate::event::Fault;

impl Driver {
    /// Whether a value that is proposed may be voted for.
    pub(super) fn is_worth_a_vote(&self, id: H256, value: &Value) -> Result<bool, Fault> {
        let is_worth = self.worth.allows(value.height, &value.batches).map_err(unreadable(value.height))?;
        if !is_worth {
            let (height, builder) = (value.height, value.builder);
            tracing::warn!(height, value = %id, builder, "a proposal of what the order would drop; this node does not vote for it");
        }
        Ok(is_worth)
    }

    /// Of these batches those that a value of ours may have.
    pub(super) fn worthy(&self, height: u64, digests: Vec<H256>) -> Result<Vec<H256>, Fault> {
        self.worth.choose(height, digests).map_err(unreadable(height))
    }
}

fn unreadable(height: u64) -> impl Fn(StateError) -> Fault {
    move |error| Fault::Execution { height, detail: error.to_string() }
}

/// Judges values by the chain before them.
pub(crate) struct Worth {
    ledger: Arc<Ledger>,
    batches: Arc<BatchStore>,
    pipeline_depth: u64,
    limits: OrderLimits,
}

impl Worth {
    pub(crate) fn new(genesis: &Genesis, ledger: &Arc<Ledger>, batches: &Arc<BatchStore>) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            batches: Arc::clone(batches),
            pipeline_depth: genesis.pipeline_depth.into(),
            limits: OrderLimits::of_genesis(genesis),
        }
    }

    /// Whether a value of these batches may be voted for. One whose batches are not all here is judged when they are.
    pub(crate) fn allows(&self, height: u64, digests: &[H256]) -> Result<bool, StateError> {
        self.batches.of_value(digests).map_or(Ok(true), |batches| self.is_worth(height, &batches))
    }

    /// Of batches that may be proposed together those that a value may have, in their order; the others wait for another one.
    pub(crate) fn choose(&self, height: u64, digests: Vec<H256>) -> Result<Vec<H256>, StateError> {
        let Ok(batches) = self.batches.of_value(&digests) else { return Ok(digests) };
        if self.is_worth(height, &batches)? {
            return Ok(digests);
        }
        let history = self.ledger.history_at(self.base(height), height - 1);
        // A batch that is left out counts as seen: this is stricter than those who vote are.
        let mut tally = Tally::new(height, &history, &self.limits);
        let (mut chosen, mut live, mut dead) = (Vec::new(), 0, 0);
        for batch in &batches {
            let adds = tally.live_bytes(batch.transactions.iter())?;
            let drops = batch.transaction_bytes() - adds;
            if are_worth(live + adds, dead + drops) {
                chosen.push(batch.digest);
                (live, dead) = (live + adds, dead + drops);
            }
        }
        tracing::debug!(
            height,
            of = batches.len(),
            chosen = chosen.len(),
            "left out batches that the order would drop"
        );
        Ok(chosen)
    }

    /// A node that has not committed as far as all who vote leaves the judgement to them.
    fn is_worth(&self, height: u64, batches: &[VerifiedBatch]) -> Result<bool, StateError> {
        let count: usize = batches.iter().map(|batch| batch.transactions.len()).sum();
        // Honest proposers stay below: a block's transactions, or one batch.
        if count > (self.limits.transactions_max as usize).max(BATCH_TRANSACTIONS_MAX) {
            return Ok(false);
        }
        if self.ledger.height() < self.base(height) {
            return Ok(true);
        }
        let bytes: usize = batches.iter().map(VerifiedBatch::transaction_bytes).sum();
        let history = self.ledger.history_at(self.base(height), height - 1);
        let mut tally = Tally::new(height, &history, &self.limits);
        let (mut live, mut dead) = (0, 0);
        for batch in batches {
            // The rest cannot change it: half of a value, honest or not, is not looked up.
            if are_worth(live, bytes - live) || !are_worth(bytes - dead, dead) {
                break;
            }
            let adds = tally.live_bytes(batch.transactions.iter())?;
            (live, dead) = (live + adds, dead + batch.transaction_bytes() - adds);
        }
        Ok(are_worth(live, bytes - live))
    }

    /// The height through which every validator knows the chain when `height` begins.
    fn base(&self, height: u64) -> u64 {
        height.saturating_sub(self.pipeline_depth + 1)
    }
}

/// The rule, in bytes of what can stand and of what would be dropped.
fn are_worth(live: usize, dead: usize) -> bool {
    dead <= live + VALUE_DEAD_BYTES_MAX
}

#[cfg(test)]
mod tests;
