//! Figures of the device's counter, by which an old copy of the disk is told.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::family::one_gauge;
use crate::health::Device;
use crate::lifecycle::now_ms;

/// What the figures are read from.
pub(super) struct CounterMetrics(pub(super) Arc<Device>);

impl fmt::Debug for CounterMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CounterMetrics")
    }
}

impl Collector for CounterMetrics {
    /// Nothing of a device without one.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(report) = self.0.counter() else { return Ok(()) };
        let out = &mut encoder;
        let uncounted = report.uncounted_ms.unwrap_or_default() / 1_000;
        one_gauge(
            out,
            "bixi_hsm_uncounted_seconds",
            "For how long something is signed that the device has not counted",
            uncounted,
        )?;
        one_gauge(out, "bixi_hsm_doubted_state", "1 while the guard may be an old copy", u64::from(report.doubted))?;
        if let Some(value) = report.value {
            one_gauge(out, "bixi_hsm_counter_counts", "How far the device has counted", value)?;
        }
        match report.at_ms {
            0 => Ok(()),
            at_ms => {
                let age = now_ms().saturating_sub(at_ms) / 1_000;
                one_gauge(out, "bixi_hsm_count_age_seconds", "Since the device was last to count", age)
            }
        }
    }
}
