//! What an accelerator did, by operation, read when the page is asked for.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::family::{counters, gauges};
use crate::accelerator::Bulk;

#[derive(Debug)]
pub(super) struct AcceleratorMetrics(pub Arc<Bulk>);

impl Collector for AcceleratorMetrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let label = |operation: bixi_hsm_openssl::Operation| [("operation", operation.name())];
        let rows = |value: fn(&bixi_hsm_openssl::bulk::Count) -> u64| {
            self.0.counts().map(move |count| (label(count.operation), value(&count)))
        };
        let served = "Calls that the accelerator answered";
        counters(&mut out, "bixi_accelerator_served_calls", served, rows(|count| count.served))?;
        let failed = "Calls that the accelerator failed, computed without it";
        counters(&mut out, "bixi_accelerator_failed_calls", failed, rows(|count| count.failed))?;
        let used = rows(|count| u64::from(count.is_given_up)).map(|(label, value)| (label, value as f64));
        gauges(&mut out, "bixi_accelerator_given_up", "1 after too many failures in a row", used)
    }
}
