//! Of the batches that wait those for a new value: all that is worth its bytes, and never nothing while something waits.
//!
//! What the order drops costs no gas and stays in every ledger, so a proposer does not let its turns be filled with it, whoever made the
//! batches (ADR 007). It is its own choice and no rule for those who vote: it goes by what this node's ledger knows now. Of each origin in
//! turn the oldest batch is weighed behind those chosen before; one that would bring more that is dropped than what can stand is left out.
//! What is left out counts for nothing: neither as seen, nor towards the block. The first one left out comes last, if there is room: so its
//! clients are told, and progress needs nothing that can stand.
//!
//! Invariants: what is chosen brings at most as much that is dropped as what can stand, and one batch; it keeps the bounds of a block, but
//! for a first batch beyond them; of an origin at most [`LEFT_OUT_MAX`] batches are weighed for nothing.

use std::collections::VecDeque;

use bixi_execution::order::{self, Weight};
use bixi_types::H256;
use bixi_types::limits::{VALUE_BATCHES_MAX, VALUE_BYTES_MAX};
use bixi_types::state::StateError;

use super::VerifiedBatch;

/// Batches of one origin left out of a value; those behind them wait for the next one. Who fills its own queue so keeps nobody else waiting,
/// and nobody has more than this looked up in vain.
pub(super) const LEFT_OUT_MAX: usize = 4;
/// No queue is looked at further.
pub(super) const LOOKED_AT_MAX: usize = VALUE_BATCHES_MAX + LEFT_OUT_MAX;

/// A value being collected.
pub(super) struct Choice<'a, 'h> {
    tally: &'a mut order::Tally<'h>,
    transactions_max: usize,
    chosen: Vec<H256>,
    live_transactions: usize,
    bytes: usize,
    last: Option<VerifiedBatch>,
}

/// What waits of one origin, oldest first.
struct Queue {
    waiting: VecDeque<VerifiedBatch>,
    left_out: usize,
}

impl<'a, 'h> Choice<'a, 'h> {
    pub(super) fn new(tally: &'a mut order::Tally<'h>, transactions_max: usize) -> Self {
        Self { tally, transactions_max, chosen: Vec::new(), live_transactions: 0, bytes: 0, last: None }
    }

    /// Of each queue in turn its oldest.
    pub(super) fn among(mut self, queues: Vec<VecDeque<VerifiedBatch>>) -> Result<Vec<H256>, StateError> {
        let mut queues: Vec<Queue> = queues.into_iter().map(|waiting| Queue { waiting, left_out: 0 }).collect();
        while !queues.is_empty() {
            let mut open = Vec::new();
            for mut queue in queues {
                if self.look_at(&mut queue)? {
                    open.push(queue);
                }
            }
            queues = open;
        }
        self.end()
    }

    /// Whether more of this queue may be looked at.
    fn look_at(&mut self, queue: &mut Queue) -> Result<bool, StateError> {
        if self.is_full() {
            return Ok(false);
        }
        let Some(batch) = queue.waiting.pop_front() else { return Ok(false) };
        let weight = self.tally.add(&batch.transactions)?;
        if weight.dead_bytes > weight.live_bytes {
            self.tally.take_back();
            self.last.get_or_insert(batch);
            queue.left_out += 1;
            return Ok(queue.left_out < LEFT_OUT_MAX);
        }
        let fits = self.fits(&batch, weight);
        if fits {
            self.choose(&batch, weight);
        } else {
            self.tally.take_back();
        }
        Ok(fits)
    }

    fn end(mut self) -> Result<Vec<H256>, StateError> {
        if let Some(batch) = self.last.take().filter(|_| !self.is_full()) {
            let weight = self.tally.add(&batch.transactions)?;
            if self.fits(&batch, weight) {
                self.choose(&batch, weight);
            }
        }
        Ok(self.chosen)
    }

    fn is_full(&self) -> bool {
        self.chosen.len() >= VALUE_BATCHES_MAX
            || self.live_transactions >= self.transactions_max
            || self.bytes >= VALUE_BYTES_MAX
    }

    /// What is dropped takes no place in a block; but who receives a value holds its batches whole. The first may be of any size.
    fn fits(&self, batch: &VerifiedBatch, weight: Weight) -> bool {
        self.chosen.is_empty()
            || (self.live_transactions + weight.live_transactions <= self.transactions_max
                && self.bytes + batch.encoded_bytes() <= VALUE_BYTES_MAX)
    }

    fn choose(&mut self, batch: &VerifiedBatch, weight: Weight) {
        self.chosen.push(batch.digest);
        self.live_transactions += weight.live_transactions;
        self.bytes += batch.encoded_bytes();
    }
}

#[cfg(test)]
mod tests;
