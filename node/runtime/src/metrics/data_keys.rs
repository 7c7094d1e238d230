//! Figures of an exchange of the data keys.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::family::{one_counter, one_gauge};
use crate::data_keys::Exchange;

/// What the figures are read from.
pub(super) struct DataKeyMetrics(pub(super) Arc<Exchange>);

impl fmt::Debug for DataKeyMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKeyMetrics")
    }
}

impl Collector for DataKeyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.0.figures();
        let out = &mut encoder;
        let under_way = u64::from(figures.is_under_way);
        one_gauge(out, "bixi_sealed_exchange_state", "1 while files are sealed anew under newer data keys", under_way)?;
        one_counter(out, "bixi_sealed_exchanged_bytes", "Bytes sealed anew since the start", figures.bytes)?;
        one_gauge(out, "bixi_sealed_remaining_bytes", "Bytes that the exchange has still to seal", figures.bytes_left)
    }
}
