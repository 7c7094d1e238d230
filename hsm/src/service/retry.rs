//! Bounded retries of device calls.

use std::time::{Duration, Instant};

use crate::device::{DeviceError, ErrorKind};

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How often and how long a device call is tried. Only errors of kind `Retry` are tried again; a wrong PIN never is.
///
/// The deadline bounds when an attempt may *begin*: a call that hangs inside a vendor library can only be ended with its
/// process, as the broker's worker does.
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
        let (began, patience) = (Instant::now(), Duration::from_millis(self.deadline_ms));
        let mut pause = Duration::from_millis(self.pause_ms);
        let mut attempt = 1;
        loop {
            let error = match call() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let over = attempt >= self.attempts_max || began.elapsed().saturating_add(pause) > patience;
            if over || error.kind() != ErrorKind::Retry {
                return Err(error);
            }
            tracing::warn!(attempt, error = %error, "device call failed, trying again");
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cause;

    fn failures(policy: RetryPolicy, cause: Cause) -> u32 {
        let mut calls = 0;
        let failed = policy.run(|| {
            calls += 1;
            Err::<(), _>(DeviceError::new("call", cause, "fails"))
        });
        assert_eq!(failed.unwrap_err().cause, cause);
        calls
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_patience_may_be_endless() {
        let endless = RetryPolicy { attempts_max: 3, deadline_ms: u64::MAX, pause_ms: 0 };
        assert_eq!(failures(endless, Cause::Fault), 3);
        assert_eq!(failures(endless, Cause::WrongPin), 1);
        assert_eq!(failures(RetryPolicy { deadline_ms: 0, pause_ms: u64::MAX, ..endless }, Cause::Fault), 1);
    }
}
