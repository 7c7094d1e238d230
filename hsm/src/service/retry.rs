//! Bounded retries of device calls.

use std::time::{Duration, Instant};

use crate::device::{DeviceError, ErrorKind};

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How often and how long a device call is tried. Only errors of kind `Retry` are tried again; a wrong PIN never is.
///
/// The deadline bounds when an attempt may *begin*: a call that hangs inside a vendor library can only be ended with its
/// process, which is the broker's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts, at least 1.
    pub attempts_max: u32,
    /// No attempt begins later than this after the first.
    pub deadline_ms: u64,
    /// Pause before the second attempt; doubled before each further one.
    pub pause_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 5, deadline_ms: 2_000, pause_ms: 10 }
    }
}

impl RetryPolicy {
    /// Calls until success, a final error, or the end of patience; the last error is the answer.
    pub fn run<T>(self, mut call: impl FnMut() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        let deadline = Instant::now() + Duration::from_millis(self.deadline_ms);
        let mut pause = Duration::from_millis(self.pause_ms);
        let mut attempt = 1;
        loop {
            let error = match call() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let over = attempt >= self.attempts_max || Instant::now() + pause > deadline;
            if over || error.kind() != ErrorKind::Retry {
                return Err(error);
            }
            tracing::warn!(attempt, error = %error, "device call failed, trying again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            attempt += 1;
        }
    }
}
