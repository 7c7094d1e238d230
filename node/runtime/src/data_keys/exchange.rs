//! What is asked of the data-keys thread, and how far it is: one exchange at a time, which everybody who asks is shown.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bixi_platform::random::OsRandom;

use super::{End, Progress, Wish};

/// Where the thread and those who ask meet.
pub(crate) struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    progress: Progress,
    /// Nobody has taken it up yet.
    is_waiting: bool,
    is_stopping: bool,
    /// Bytes sealed since the start.
    bytes: u64,
}

/// Figures for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) is_under_way: bool,
    /// Since the start.
    pub(crate) bytes: u64,
    /// Of the exchange that is under way.
    pub(crate) bytes_left: u64,
}

impl Default for Exchange {
    fn default() -> Self {
        let wish = Wish { new_epoch: false, drop_older: false, cipher: None, bytes_per_second: None };
        let progress = Progress {
            life: fresh(),
            number: 0,
            wish,
            epoch: 0,
            step: String::new(),
            bytes: 0,
            bytes_total: 0,
            end: None,
        };
        let state = State { progress, is_waiting: false, is_stopping: false, bytes: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl Exchange {
    /// Asks for an exchange. Where one is under way that one is shown instead, and goes on at the rate that is wished, if one is.
    pub(crate) fn ask(&self, wish: Wish) -> Progress {
        let mut state = self.lock();
        if state.progress.is_under_way() {
            if wish.bytes_per_second.is_some() {
                state.progress.wish.bytes_per_second = wish.bytes_per_second;
            }
            return state.progress.clone();
        }
        if state.is_stopping {
            let end = Some(End::Failed(
                "the node stops, or its thread for this has ended: ask again after its next start".to_owned(),
            ));
            return Progress { number: state.progress.number + 1, wish, end, ..state.progress.clone() };
        }
        let (life, number, step) = (state.progress.life, state.progress.number + 1, "begins".to_owned());
        state.progress = Progress { life, number, wish, epoch: 0, step, bytes: 0, bytes_total: 0, end: None };
        state.is_waiting = true;
        self.changed.notify_all();
        state.progress.clone()
    }

    /// How far the last one is.
    pub(crate) fn progress(&self) -> Progress {
        self.lock().progress.clone()
    }

    pub(crate) fn figures(&self) -> Figures {
        let State { progress, bytes, .. } = &*self.lock();
        let is_under_way = progress.is_under_way();
        let bytes_left = if is_under_way { progress.bytes_total.saturating_sub(progress.bytes) } else { 0 };
        Figures { is_under_way, bytes: *bytes, bytes_left }
    }

    /// Has the thread end, wherever it is.
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// Waits for somebody to ask; none when the node stops.
    pub(super) fn next(&self) -> Option<Wish> {
        let waiting = |state: &mut State| !state.is_waiting && !state.is_stopping;
        let waited = self.changed.wait_while(self.lock(), waiting);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_waiting = false;
        (!state.is_stopping).then_some(state.progress.wish)
    }

    /// The rate that is wished now.
    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        self.lock().progress.wish.bytes_per_second
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock().progress);
    }

    pub(super) fn did(&self, bytes: u64) {
        let mut state = self.lock();
        state.bytes += bytes;
        state.progress.bytes += bytes;
        state.progress.bytes_total = state.progress.bytes_total.max(state.progress.bytes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No two lives of a node have the same, whatever the clock does.
fn fresh() -> u64 {
    OsRandom.array().map_or_else(|_| u64::from(std::process::id()), u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use bixi_sealed::AtRest;

    use super::*;

    fn wish(new_epoch: bool, drop_older: bool) -> Wish {
        Wish { new_epoch, drop_older, cipher: None, bytes_per_second: None }
    }

    #[test]
    fn one_exchange_is_under_way_and_whoever_asks_is_shown_it() {
        let exchange = Exchange::default();
        assert!(!exchange.progress().is_under_way());
        assert_eq!(exchange.ask(wish(true, false)).number, 1);
        assert_eq!(exchange.next(), Some(wish(true, false)));
        exchange.tell(|progress| progress.bytes_total = 10);
        exchange.did(4);
        let shown = exchange.ask(Wish { bytes_per_second: Some(7), ..wish(false, true) });
        assert_eq!((shown.number, shown.bytes, shown.bytes_total), (1, 4, 10));
        assert!(!shown.wish.covers(&wish(false, true)) && shown.wish.covers(&wish(true, false)));
        let other = Wish { cipher: Some(AtRest::Aes256Gcm), ..wish(true, false) };
        assert!(!shown.wish.covers(&other) && other.covers(&wish(true, false)) && other.covers(&other));
        assert_eq!(exchange.bytes_per_second(), Some(7));
        assert_eq!(exchange.figures(), Figures { is_under_way: true, bytes: 4, bytes_left: 6 });
        exchange.tell(|progress| progress.end = Some(End::Failed("of a test".to_owned())));
        assert_eq!(exchange.figures(), Figures { is_under_way: false, bytes: 4, bytes_left: 0 });
        assert_eq!(exchange.ask(wish(false, true)).number, 2);
        exchange.stop();
        assert_eq!(exchange.next(), None);
        exchange.tell(|progress| progress.end = Some(End::Failed("of a test".to_owned())));
        assert!(!exchange.ask(wish(true, false)).is_under_way(), "nobody would take it up");
    }
}
