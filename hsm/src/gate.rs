//! Who goes first where few can be answered at once: the calls of one service to its device, and the connections of one node
//! to its broker.
//!
//! Invariants:
//! - no more than `places` are inside;
//! - nobody enters while somebody more urgent waits;
//! - handshakes, which strangers cause, hold at most a quarter of the places, and one where a quarter is less.
//!
//! Among equals there is no order: each waits no longer than its own patience.

#[cfg(test)]
mod tests;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How urgent a request is; the first is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Proposals, votes and checkpoints: the chain waits for them.
    Statement,
    /// Vault keys, reports, what a node asks for itself.
    Keeping,
    /// TLS handshakes and openings of sessions.
    Handshake,
}

impl Priority {
    const COUNT: usize = 3;

    fn rank(self) -> usize {
        self as usize
    }
}

/// A bounded number of places.
#[derive(Debug)]
pub struct Gate {
    places: usize,
    handshakes_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    handshakes: usize,
    waiting: [usize; Priority::COUNT],
}

/// A place, free again when dropped.
#[derive(Debug)]
#[must_use = "the place is free again when this is dropped"]
pub struct Place<'a> {
    gate: &'a Gate,
    priority: Priority,
}

impl Gate {
    /// A gate to `places`, at least one.
    pub fn new(places: usize) -> Self {
        let places = places.max(1);
        Self { places, handshakes_max: (places / 4).max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// How many can be inside.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Waits for a place, for as long as `patience`; `None` when none came free.
    pub fn enter(&self, priority: Priority, patience: Duration) -> Option<Place<'_>> {
        let mut state = self.state();
        if !self.admits(&state, priority) {
            state = self.wait(state, priority, patience)?;
        }
        state.inside += 1;
        state.handshakes += usize::from(priority == Priority::Handshake);
        Some(Place { gate: self, priority })
    }

    /// The state when somebody as urgent as that is admitted; `None` where patience ends before.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        priority: Priority,
        patience: Duration,
    ) -> Option<MutexGuard<'a, State>> {
        let began = Instant::now();
        state.waiting[priority.rank()] += 1;
        let is_admitted = loop {
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                break false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            if self.admits(&state, priority) {
                break true;
            }
        };
        state.waiting[priority.rank()] -= 1;
        // Whoever is less urgent waited for this one, too.
        if state.is_waited_for() {
            self.changed.notify_all();
        }
        is_admitted.then_some(state)
    }

    fn admits(&self, state: &State, priority: Priority) -> bool {
        state.inside < self.places
            && (priority != Priority::Handshake || state.handshakes < self.handshakes_max)
            && state.waiting[..priority.rank()].iter().all(|waiting| *waiting == 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Nobody is woken where nobody waits: that is a system call each time.
    fn is_waited_for(&self) -> bool {
        self.waiting.iter().any(|waiting| *waiting > 0)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.inside -= 1;
        state.handshakes -= usize::from(self.priority == Priority::Handshake);
        let is_waited_for = state.is_waited_for();
        drop(state);
        if is_waited_for {
            self.gate.changed.notify_all();
        }
    }
}
