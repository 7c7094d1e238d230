//! OpenMetrics: `bixi_<room>_<noun>_<unit>`.

mod accelerator;
mod chain;
mod counter;
mod data_keys;
mod family;
mod peers;
mod scrub;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bixi_ledger::Ledger;
use bixi_txpool::{Admission, TxPool};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::accelerator::Bulk;
use crate::batches::BatchStore;
use crate::data_keys::Exchange;
use crate::health::{Certificates, Device};
use crate::links::Links;
use crate::scrub::Scrubbing;
use crate::view::View;
use accelerator::AcceleratorMetrics;
use chain::ChainMetrics;
use counter::CounterMetrics;
use data_keys::DataKeyMetrics;
use peers::PeerMetrics;
use scrub::ScrubMetrics;

/// Where figures of the chain and of peers are read.
pub(crate) struct Sources {
    pub links: Arc<dyn Links>,
    pub certificates: Arc<Certificates>,
    pub batches: Arc<BatchStore>,
    pub view: Arc<View>,
    pub ledger: Arc<Ledger>,
    pub accelerator: Option<Arc<Bulk>>,
    pub exchange: Arc<Exchange>,
    pub scrubbing: Arc<Scrubbing>,
    pub device: Arc<Device>,
}

/// The node's registry. Gauges are read when asked for; nothing is updated on a hot path.
pub(crate) struct NodeMetrics {
    registry: Mutex<Registry>,
    height: Gauge,
    transactions: Counter,
    failed: Counter,
    held: Gauge,
    waiting_bytes: Gauge,
    unverified: Gauge,
    signer_tables: Gauge,
    submitted: Counter,
    refused: Counter,
    round: Gauge,
}

impl NodeMetrics {
    pub(crate) fn new(sources: Sources) -> Self {
        let Sources { links, certificates, batches, view, ledger, accelerator, exchange, scrubbing, device } = sources;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(PeerMetrics { links: Arc::clone(&links), certificates }));
        registry.register_collector(Box::new(ChainMetrics { links, batches, view, ledger }));
        registry.register_collector(Box::new(DataKeyMetrics(exchange)));
        registry.register_collector(Box::new(ScrubMetrics(scrubbing)));
        registry.register_collector(Box::new(CounterMetrics(device)));
        if let Some(bulk) = accelerator {
            registry.register_collector(Box::new(AcceleratorMetrics(bulk)));
        }
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let counter = |registry: &mut Registry, name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let height = gauge(&mut registry, "bixi_ledger_height_blocks", "Committed height");
        let transactions = counter(&mut registry, "bixi_ledger_transactions", "Transactions in committed blocks");
        let failed = counter(&mut registry, "bixi_ledger_failed_transactions", "Of these, with a non-zero status");
        let held = gauge(&mut registry, "bixi_txpool_held_transactions", "Transactions waiting for their block");
        let waiting_bytes =
            gauge(&mut registry, "bixi_txpool_waiting_bytes", "Bytes of transactions not in a batch yet");
        let unverified =
            gauge(&mut registry, "bixi_txpool_unverified_transactions", "Waiting for their signature check");
        let signer_tables = gauge(&mut registry, "bixi_txpool_signer_tables", "Tables of frequent signers");
        let submitted = counter(&mut registry, "bixi_txpool_submitted_transactions", "Transactions handed in");
        let refused = counter(&mut registry, "bixi_txpool_refused_transactions", "Refused before the pool");
        let round = gauge(&mut registry, "bixi_consensus_round_number", "Round of the height being decided");
        Self {
            registry: Mutex::new(registry),
            height,
            transactions,
            failed,
            held,
            waiting_bytes,
            unverified,
            signer_tables,
            submitted,
            refused,
            round,
        }
    }

    pub(crate) fn encode(&self, ledger: &Ledger, pool: &TxPool, admission: &Admission, view: &View) -> String {
        let registry = self.registry.lock();
        let counts = ledger.counts();
        self.height.set(ledger.height() as i64);
        raise(&self.transactions, counts.transactions);
        raise(&self.failed, counts.failed);
        self.held.set(pool.len() as i64);
        self.waiting_bytes.set(pool.waiting().1 as i64);
        self.unverified.set(admission.queued() as i64);
        self.signer_tables.set(pool.signer_tables().len() as i64);
        raise(&self.submitted, load(&admission.metrics().submitted));
        raise(&self.refused, load(&admission.metrics().refused));
        self.round.set(i64::from(view.consensus().round));
        let mut text = String::new();
        encode(&mut text, &registry).expect("encoding into a String cannot fail");
        text
    }
}

fn load(value: &AtomicU64) -> u64 {
    value.load(Ordering::Relaxed)
}

/// Counters only rise; the lock on the registry keeps two readers from adding twice.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
