//! Building a value: when, and of which batches.

use std::time::Instant;

use bixi_consensus::Input;
use bixi_execution::order::Tally;

use super::Driver;
use crate::event::Fault;

/// A value being collected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Building {
    height: u64,
    round: u32,
    pub(super) ready_ms: u64,
}

impl Driver {
    /// A block is worth waiting for a moment: more transactions share its signatures and fsyncs. Half of the time to propose
    /// is left for building and for the durable log.
    pub(super) fn begin_building(&mut self, height: u64, round: u32, deadline_ms: u64) {
        let now = self.clock.now().monotonic_ms;
        let latest_ms = now + deadline_ms.saturating_sub(now) / 2;
        let ready_ms = (self.last_decided_ms + self.block_interval_ms).clamp(now, latest_ms);
        self.building = Some(Building { height, round, ready_ms });
    }

    /// While the decision below is not durable, its batches still wait and would be proposed again.
    pub(super) fn may_build(&self, building: &Building) -> bool {
        building.height <= self.view.undecided()
    }

    pub(super) fn build_when_ready(&mut self) -> Result<(), Fault> {
        let Some(building) = self.building else { return Ok(()) };
        let core = self.core.status();
        if (core.height, core.round, core.resting) != (building.height, building.round, false) {
            // The round has passed: a value for it would be ignored, and its transactions would stay packed.
            self.building = None;
            return Ok(());
        }
        if !self.may_build(&building) {
            return Ok(());
        }
        let waiting = self.batches.waiting_transactions() + self.pool.waiting().0;
        let is_full = waiting >= self.batcher.block_transactions_max();
        if !is_full && self.clock.now().monotonic_ms < building.ready_ms {
            return Ok(());
        }
        self.building = None;
        self.build(building.height, building.round)
    }

    /// Proposes the batches that wait, whoever built them, but for those that would bring little that can stand. What is in the pool is batched now when it would go to nobody else before,
    /// or when nothing else waits.
    fn build(&mut self, height: u64, round: u32) -> Result<(), Fault> {
        let started = Instant::now();
        let transactions_max = self.batcher.block_transactions_max();
        let waiting = self.batches.waiting_transactions();
        if self.batcher.is_alone() || waiting == 0 {
            self.batcher.seal_waiting(transactions_max.saturating_sub(waiting));
        }
        let history = self.ledger.history_after(height - 1);
        let proposed = self.batches.propose(&mut Tally::new(height, &history, self.block_limit), transactions_max);
        let digests = proposed.map_err(|error| Fault::Execution { height, detail: error.to_string() })?;
        self.log_batches(&digests, height);
        tracing::trace!(height, round, batches = digests.len(), elapsed = ?started.elapsed(), "built a value");
        self.feed(Input::ValueBuilt { height, round, batches: digests })?;
        // Before anything is decided: the next height must not start for what this one holds.
        self.tell_work()
    }
}
