//! Deadlines inside the room, so that the host keeps one timer only.

use std::collections::BTreeMap;

use crate::engine::TimeoutKind;

/// What is waited for; one deadline each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A wait of the running round.
    Round(u32, TimeoutKind),
    /// The pending signature takes too long.
    SignDeadline,
    /// Try the pending signature again.
    SignRetry,
    /// Try the signature of a checkpoint again.
    CheckpointRetry,
    /// Repeat uncertified checkpoint votes.
    Resend,
    /// Tell how far we are.
    Status,
    /// Repeat the mark request.
    Marks,
    /// A value from the future may have become acceptable.
    Values,
}

/// The deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeMap<Timer, u64>);

impl Timers {
    /// Sets or moves a deadline (monotonic milliseconds).
    pub(super) fn set(&mut self, timer: Timer, at_ms: u64) {
        self.0.insert(timer, at_ms);
    }

    /// Sets a deadline, or moves it forward; never later.
    pub(super) fn set_earlier(&mut self, timer: Timer, at_ms: u64) {
        let known = self.0.entry(timer).or_insert(at_ms);
        *known = at_ms.min(*known);
    }

    /// Forgets a deadline.
    pub(super) fn cancel(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    /// Forgets every wait of a round.
    pub(super) fn cancel_rounds(&mut self) {
        self.0.retain(|timer, _| !matches!(timer, Timer::Round(..)));
    }

    /// The next deadline.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.0.values().min().copied()
    }

    /// Removes and returns the earliest deadline that has passed.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<Timer> {
        let (&timer, &at_ms) = self.0.iter().min_by_key(|(timer, at_ms)| (**at_ms, **timer))?;
        (at_ms <= now_ms).then(|| {
            self.0.remove(&timer);
            timer
        })
    }
}
