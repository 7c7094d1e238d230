//! Figures of ordering, catching up and batches, read when the page is asked for.

use std::fmt;
use std::sync::Arc;

use bixi_consensus::Mode;
use bixi_ledger::Ledger;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::family::{counters, gauges, one_counter, one_gauge};
use super::peers::short;
use crate::batches::{BatchStore, Tally};
use crate::links::Links;
use crate::view::View;

/// What the figures are read from.
pub(super) struct ChainMetrics {
    pub links: Arc<dyn Links>,
    pub batches: Arc<BatchStore>,
    pub view: Arc<View>,
    pub ledger: Arc<Ledger>,
}

impl fmt::Debug for ChainMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainMetrics")
    }
}

impl Collector for ChainMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.ordering(&mut encoder)?;
        if self.links.is_solitary() {
            return Ok(());
        }
        self.catching_up(&mut encoder)?;
        self.exchange(&mut encoder)
    }
}

impl ChainMetrics {
    fn ordering(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.view.consensus();
        let (started, failed) = self.view.rounds();
        one_counter(out, "bixi_consensus_started_rounds", "Rounds begun since the start", started)?;
        one_counter(
            out,
            "bixi_consensus_failed_rounds",
            "Of these, begun because the one before decided nothing",
            failed,
        )?;
        one_gauge(out, "bixi_consensus_decided_height_blocks", "Height whose order is final", status.decided)?;
        one_gauge(
            out,
            "bixi_consensus_certified_height_blocks",
            "Height whose header has its quorum",
            status.certified,
        )?;
        let votes = u64::from(matches!(status.mode, Mode::Voting));
        one_gauge(out, "bixi_consensus_voting_state", "1 unless this node abstains or only follows", votes)
    }

    fn catching_up(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let peers = self.links.peers();
        let known = self.view.known_head(&peers).unwrap_or(0);
        let heads: Vec<_> =
            peers.into_iter().filter_map(|peer| Some((peer, self.view.head_of(&peer)?.number))).collect();
        let rows = heads.iter().map(|(peer, height)| ([("peer", short(&peer.to_hex()))], *height as f64));
        gauges(out, "bixi_sync_peer_height_blocks", "Ledger of a connected peer, by its own word", rows)?;
        let behind = known.saturating_sub(self.ledger.height());
        one_gauge(
            out,
            "bixi_sync_behind_blocks",
            "Blocks that the chain has and this node has not, by the word of validators of more than a third of the weight",
            behind,
        )
    }

    fn exchange(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let traffic = self.batches.traffic();
        let rows = [
            ("received", &traffic.received),
            ("fetched", &traffic.fetched),
            ("served", &traffic.served),
            ("known", &traffic.known),
            ("over_quota", &traffic.over_quota),
            ("invalid", &traffic.invalid),
        ];
        let by = |value: fn(&Tally) -> u64| rows.map(|(what, tally)| ([("what", what)], value(tally)));
        counters(out, "bixi_exchange_batches", "Batches of peers and for peers", by(Tally::count))?;
        counters(out, "bixi_exchange_batch_bytes", "Their bytes", by(Tally::bytes))
    }
}
