//! When a signal ends this process on the spot: while that is wanted, and never between the sending of a PIN and the device's verdict. The
//! attempt would count as one without a verdict, and a right PIN be held back after the second. A signal that comes meanwhile has its
//! action when the verdict is noted; a device that never judges takes SIGKILL.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bixi_runtime::process;
use signal_hook::flag::{register_conditional_default, register_usize};
use signal_hook::low_level::emulate_default_handler;

static ENDING: Ending = Ending {
    at_once: AtomicBool::new(false),
    held: AtomicUsize::new(0),
    state: Mutex::new(State { is_wanted: false, is_judging: false, numbers: BTreeSet::new() }),
};

struct Ending {
    /// What the handlers look at.
    at_once: AtomicBool,
    /// The last signal that came since a PIN was sent.
    held: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    is_wanted: bool,
    is_judging: bool,
    /// Signals that are handled.
    numbers: BTreeSet<i32>,
}

/// Has the signals `numbers` end this process on the spot, while [that is wanted](want).
///
/// # Errors
/// When the system takes no handler.
pub(super) fn handle(numbers: &[i32]) -> io::Result<()> {
    process::on_pin_judged(|is_judging| ENDING.judging(is_judging));
    let mut state = ENDING.state();
    for &number in numbers {
        if state.numbers.insert(number) {
            process::put_back_at(number)?;
            // In this order: a signal that the second of them does not end the process by is noted by then.
            register_usize(number, &ENDING.held, usize::try_from(number).expect("signals are small numbers"))?;
            register_conditional_default(number, &ENDING.at_once)?;
        }
    }
    Ok(())
}

/// Whether a signal kills this process from now on.
pub(super) fn want(is_wanted: bool) {
    ENDING.want(is_wanted);
}

impl Ending {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, is_wanted: bool) {
        let mut state = self.state();
        if is_wanted {
            // What came before was answered otherwise.
            self.held.store(0, Ordering::SeqCst);
        }
        state.is_wanted = is_wanted;
        self.at_once.store(is_wanted && !state.is_judging, Ordering::SeqCst);
    }

    fn judging(&self, is_judging: bool) {
        if let Some(number) = self.due(is_judging) {
            let _ = emulate_default_handler(number);
        }
    }

    /// Takes down whether a device judges a PIN; the signal that has to have its action now.
    fn due(&self, is_judging: bool) -> Option<i32> {
        let mut state = self.state();
        state.is_judging = is_judging;
        if is_judging {
            self.held.store(0, Ordering::SeqCst);
        }
        self.at_once.store(state.is_wanted && !is_judging, Ordering::SeqCst);
        let held = if is_judging || !state.is_wanted { 0 } else { self.held.swap(0, Ordering::SeqCst) };
        i32::try_from(held).ok().filter(|number| *number != 0)
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::{SIGINT, SIGTERM};

    use super::*;

    fn ending() -> Ending {
        let state = State { is_wanted: false, is_judging: false, numbers: BTreeSet::new() };
        Ending { at_once: AtomicBool::new(false), held: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    /// As its handler does.
    fn comes(ending: &Ending, number: i32) -> bool {
        ending.held.store(number as usize, Ordering::SeqCst);
        ending.at_once.load(Ordering::SeqCst)
    }

    #[test]
    fn a_signal_that_comes_while_a_pin_is_judged_has_its_action_afterwards() {
        let ending = ending();
        ending.want(true);
        assert!(comes(&ending, SIGINT), "nothing is judged yet");
        assert_eq!(ending.due(true), None);
        assert!(!comes(&ending, SIGINT) && !comes(&ending, SIGTERM));
        assert_eq!(ending.due(false), Some(SIGTERM));
        assert_eq!((ending.due(true), ending.due(false)), (None, None), "once");
        assert!(comes(&ending, SIGINT));
    }

    #[test]
    fn a_signal_that_was_answered_in_order_is_none_that_comes_again() {
        let ending = ending();
        assert_eq!(ending.due(true), None);
        assert!(!comes(&ending, SIGTERM), "the first one is waited for");
        ending.want(true);
        assert_eq!(ending.due(false), None, "and was taken");
        assert_eq!(ending.due(true), None);
        assert!(!comes(&ending, SIGTERM));
        ending.want(false);
        assert_eq!(ending.due(false), None);
    }
}
