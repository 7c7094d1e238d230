//! Time of the wall, or of processors.

use rustix::time::{ClockId, clock_gettime};

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Clock {
    /// Time as it passes.
    Wall,
    /// What this thread computed.
    Thread,
    /// What all threads of the process computed.
    Process,
}

/// Runs from its start.
pub(crate) struct Stopwatch {
    clock: ClockId,
    began: f64,
}

impl Stopwatch {
    pub(crate) fn start(clock: Clock) -> Self {
        let clock = match clock {
            Clock::Wall => ClockId::Monotonic,
            Clock::Thread => ClockId::ThreadCPUTime,
            Clock::Process => ClockId::ProcessCPUTime,
        };
        Self { clock, began: now(clock) }
    }

    pub(crate) fn seconds(&self) -> f64 {
        now(self.clock) - self.began
    }
}

fn now(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
