//! Holds back what may only leave the node after the log is durable.

use std::collections::VecDeque;

use crate::effect::Effect;
use crate::log::LogEntry;

/// Effects waiting for the log, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Entries appended so far; the id of a flush is this count.
    appended: u64,
    /// Count covered by the last flush asked for.
    requested: u64,
    /// Count known to be durable.
    flushed: u64,
    flush_wanted: bool,
    waiting: VecDeque<(u64, Effect)>,
    #[cfg(test)]
    pub(super) skip_flush: bool,
}

impl Outbox {
    /// Appends to the log.
    pub(super) fn append(&mut self, entry: LogEntry, out: &mut Vec<Effect>) {
        self.appended += 1;
        out.push(Effect::Append(entry));
    }

    /// Releases `effect` once everything appended before it is durable.
    pub(super) fn after_flush(&mut self, effect: Effect) {
        self.waiting.push_back((self.appended, effect));
    }

    /// Asks for a flush at the end of this step even if nothing waits for it.
    pub(super) fn want_flush(&mut self) {
        self.flush_wanted = true;
    }

    /// Everything up to `id` is durable.
    pub(super) fn flushed(&mut self, id: u64) {
        self.flushed = self.flushed.max(id.min(self.requested));
    }

    /// Releases what may go and asks for the flush the rest needs.
    pub(super) fn settle(&mut self, out: &mut Vec<Effect>) {
        while self.waiting.front().is_some_and(|(after, _)| self.may_go(*after)) {
            out.extend(self.waiting.pop_front().map(|(_, effect)| effect));
        }
        let needed = self.waiting.back().map_or(0, |(after, _)| *after);
        let wanted = std::mem::take(&mut self.flush_wanted) && self.appended > self.requested;
        if needed > self.requested || wanted {
            self.requested = self.appended;
            out.push(Effect::Flush { id: self.requested });
        }
    }

    fn may_go(&self, after: u64) -> bool {
        #[cfg(test)]
        if self.skip_flush {
            return true;
        }
        after <= self.flushed
    }
}
