//! The only clock consensus ever sees.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bixi_consensus::Now;

/// Reads monotonic and wall time together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic_ms: millis(self.origin.elapsed()), unix_ms: millis(unix) }
    }

    /// The instant of a monotonic time given by [`Clock::now`].
    pub(crate) fn instant(&self, monotonic_ms: u64) -> Instant {
        self.origin + Duration::from_millis(monotonic_ms)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
