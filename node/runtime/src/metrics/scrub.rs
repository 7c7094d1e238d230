//! What the reading of the node's own files came to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::family::{one_counter, one_gauge};
use crate::scrub::Scrubbing;

/// Of this node.
pub(super) struct ScrubMetrics(pub Arc<Scrubbing>);

impl fmt::Debug for ScrubMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScrubMetrics")
    }
}

impl Collector for ScrubMetrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let Scrubbing { bytes, passes, .. } = self.0.as_ref();
        let (bytes, passes) = (bytes.load(Ordering::Relaxed), passes.load(Ordering::Relaxed));
        one_counter(&mut out, "bixi_scrub_read_bytes", "Bytes of sealed files read through for damage", bytes)?;
        one_counter(&mut out, "bixi_scrub_done_passes", "Times every file was read through", passes)?;
        let damaged = self.0.damaged();
        one_gauge(&mut out, "bixi_scrub_damaged_places", "Damaged pages and frames that were found", damaged)
    }
}
