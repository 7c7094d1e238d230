//! What the consensus thread fetches: heights and batches ahead of consensus when it is far behind, and the batches it waits for.

use std::sync::Arc;

use bixi_consensus::{Input, Message, Unchecked};
use bixi_types::consensus::Value;
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};

use super::Driver;
use super::fetch::{Purpose, Settled};
use crate::event::Fault;
use crate::exchange::Exchange;
use crate::links::Channel;
use crate::log_thread::{Answer, Command};

/// Values whose batches are fetched before consensus comes to them.
const VALUES_AHEAD_MAX: usize = 32;
/// No more of them are begun while decided batches, here or on their way, take so much.
const BATCHES_AHEAD_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Driver {
    /// Fetches heights ahead of consensus when peers are far ahead, gives it those it is ready for, and fetches the batches of the next.
    pub(super) fn catch_up(&mut self) -> Result<(), Fault> {
        let now_ms = self.clock.now().monotonic_ms;
        if self.catch_up.deadline_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let links = Arc::clone(&self.lines.links);
            let head_of = |peer| self.view.head_of(&peer).map(|head| (peer, head.number));
            // A snapshot that comes soon brings more at once than heights in a row: nobody is far ahead for as long.
            let are_asked = !self.waits_for_snapshot();
            let peers: Vec<(NodeId, u64)> =
                links.peers().into_iter().filter(|_| are_asked).filter_map(head_of).collect();
            for (peer, range) in self.catch_up.look(now_ms, &peers) {
                let request = Exchange::WantHeights(range).encode();
                links.send_on(Channel::Bulk, Destination::Node(peer), request);
            }
            if let Some(height) = self.catch_up.nobody_holds(now_ms, &peers) {
                self.joining.nobody_holds(height);
            }
        }
        let ready = self.core.status().committed + self.pipeline_depth + 1;
        while let Some((from, messages)) = self.catch_up.feed_next(ready) {
            for message in messages {
                self.feed_proven(from, message)?;
            }
        }
        self.fetch_ahead(now_ms);
        Ok(())
    }

    /// Gives consensus a message whose signatures were checked ahead of its time; whether its signers are validators is seen now.
    fn feed_proven(&mut self, from: NodeId, message: Message) -> Result<(), Fault> {
        match self.core.checks(&message) {
            Ok(_) => self.feed(Input::Message { from, message }),
            Err(offence @ (Unchecked::NotMember | Unchecked::Malformed(_))) => {
                self.offences.charge(from, offence.to_string());
                self.catch_up.distrust(from, self.clock.now().monotonic_ms);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Begins to fetch the batches of values that consensus will come to, from all peers in turn.
    fn fetch_ahead(&mut self, now_ms: u64) {
        let decided = self.core.status().decided;
        let mut holders = None;
        loop {
            let (values, bytes) = self.fetches.ahead();
            if values >= VALUES_AHEAD_MAX || self.batches.decided_bytes() + bytes >= BATCHES_AHEAD_BYTES_MAX {
                break;
            }
            let Some(value) = self.catch_up.next_value(decided, &self.validators) else { break };
            let holders = holders.get_or_insert_with(|| self.lines.links.peers());
            if holders.is_empty() || value.batches.is_empty() {
                continue;
            }
            let holder = holders[(value.height % holders.len() as u64) as usize];
            self.fetches.begin(value.id(self.suite), value, holder, Purpose::Ahead, now_ms);
        }
        self.fetches.tell_wanted(&self.batches);
    }

    pub(super) fn ensure_batches(&mut self, id: H256, value: &Value, from: NodeId, purpose: Purpose) {
        if self.log_batches(&value.batches, value.height) {
            // Every batch was appended before: one flush makes them all durable.
            return self.tell_log(Command::Flush(Answer::BatchesDurable(id)));
        }
        self.fetches.begin(id, value, from, purpose, self.clock.now().monotonic_ms);
        self.fetches.tell_wanted(&self.batches);
    }

    pub(super) fn settle_fetches(&mut self) -> Result<(), Fault> {
        for Settled { id, value, purpose, is_complete } in
            self.fetches.settle(self.core.status().decided, &self.batches)
        {
            match (purpose, is_complete) {
                (Purpose::Ahead, _) => self.batches.decided(&value.batches, value.height),
                (_, true) => self.ensure_batches(id, &value, self.node, purpose),
                (_, false) => self.feed(Input::BatchesInvalid { value: id })?,
            }
        }
        Ok(())
    }
}
