//! One simulated machine: what survives a crash, what does not, and what its clock says.

use std::collections::BTreeSet;

use bixi_types::consensus::{CommitCertificate, SignatureBytes, Value};
use bixi_types::{CryptoSuite, H256, NodeId};

use super::Random;
use super::guard::Lanes;
use crate::log::LogEntry;
use crate::message::CheckpointCertificate;
use crate::{Core, Now};

/// A signature of the simulation: whoever knows the message can recompute it.
pub(crate) fn signature(node: &NodeId, bytes: &[u8]) -> SignatureBytes {
    let half = CryptoSuite::Std.hash(&[&node.0, bytes]).0;
    let mut both = [0; 64];
    both[..32].copy_from_slice(&half);
    both[32..].copy_from_slice(&half);
    SignatureBytes(both)
}

/// A committed height.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) value: Value,
    pub(crate) certificate: CommitCertificate,
    pub(crate) header_hash: H256,
    pub(crate) certified: CheckpointCertificate,
}

/// One record of the ordering log.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    Entry(Box<LogEntry>),
    /// The batches of a value, named by its id: only which values are safe on which disk matters here.
    Batches {
        height: u64,
        value: H256,
    },
}

impl Record {
    fn height(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.height(),
            Self::Batches { height, .. } => *height,
        }
    }
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) log: Vec<Record>,
    pub(crate) ledger: Vec<Block>,
}

impl Disk {
    pub(crate) fn entries(&self) -> impl Iterator<Item = &LogEntry> {
        self.log.iter().filter_map(|record| match record {
            Record::Entry(entry) => Some(&**entry),
            Record::Batches { .. } => None,
        })
    }

    /// Whether the batches of a value are durable here.
    pub(crate) fn holds(&self, id: H256) -> bool {
        self.log.iter().any(|record| matches!(record, Record::Batches { value, .. } if *value == id))
            || self.ledger.iter().rev().any(|block| block.certificate.value == id)
    }

    pub(crate) fn forget(&mut self, height: u64) {
        self.log.retain(|record| record.height() > height);
    }
}

/// How a machine's clock differs from the true one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    pub(crate) offset_ms: i64,
    /// How much faster (slower) it runs, in a thousand.
    pub(crate) drift_permille: i64,
}

impl Clock {
    pub(crate) fn read(self, true_ms: u64, epoch_ms: u64) -> Now {
        let monotonic_ms = true_ms * self.pace() / 1_000;
        Now { monotonic_ms, unix_ms: (epoch_ms + monotonic_ms).saturating_add_signed(self.offset_ms) }
    }

    /// The true time at which the monotonic clock shows `monotonic_ms`.
    pub(crate) fn true_ms(self, monotonic_ms: u64) -> u64 {
        (monotonic_ms * 1_000).div_ceil(self.pace())
    }

    fn pace(self) -> u64 {
        1_000u64.saturating_add_signed(self.drift_permille).max(1)
    }
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    /// Which of the guards is its own; twins may share one.
    pub(crate) guard: usize,
    pub(crate) disk: Disk,
    /// An earlier copy of disk and guard, kept for the restore faults.
    pub(crate) copy: Option<(Disk, Lanes)>,
    pub(crate) clock: Clock,
    /// Nothing when the machine is down.
    pub(crate) core: Option<Core>,
    /// Counts starts, so that answers to an earlier life are dropped.
    pub(crate) life: u64,
    /// Records the operating system still holds, in order.
    pub(crate) unflushed: Vec<Record>,
    /// Count of records appended in this life, and of those that are durable.
    pub(crate) appended: u64,
    pub(crate) durable: u64,
    /// Batches it made in this life.
    pub(crate) pool: BTreeSet<H256>,
    /// Executed and not committed.
    pub(crate) executed: Vec<Block>,
    pub(crate) last_header: H256,
    pub(crate) tick_at_ms: Option<u64>,
    pub(crate) executor_free_ms: u64,
    pub(crate) signer_free_ms: u64,
    pub(crate) ledger_free_ms: u64,
    pub(crate) signer_down_until_ms: u64,
    /// Effects until the next crash.
    pub(crate) crash_in: Option<u64>,
    pub(crate) halted: bool,
    pub(crate) working: bool,
    /// Its disk once lost what was durable.
    pub(crate) restored: bool,
}

impl Machine {
    pub(crate) fn new(id: NodeId, guard: usize, clock: Clock) -> Self {
        Self {
            id,
            guard,
            disk: Disk::default(),
            copy: None,
            clock,
            core: None,
            life: 0,
            unflushed: Vec::new(),
            appended: 0,
            durable: 0,
            pool: BTreeSet::new(),
            executed: Vec::new(),
            last_header: H256::ZERO,
            tick_at_ms: None,
            executor_free_ms: 0,
            signer_free_ms: 0,
            ledger_free_ms: 0,
            signer_down_until_ms: 0,
            crash_in: None,
            halted: false,
            working: false,
            restored: false,
        }
    }

    pub(crate) fn append(&mut self, record: Record) {
        self.appended += 1;
        self.unflushed.push(record);
    }

    /// Everything appended up to `count` reaches the disk.
    pub(crate) fn flush(&mut self, count: u64) {
        let records = count.saturating_sub(self.durable) as usize;
        self.disk.log.extend(self.unflushed.drain(..records.min(self.unflushed.len())));
        self.durable = self.durable.max(count);
    }

    /// The power goes.
    pub(crate) fn stop(&mut self) {
        self.unflushed.clear();
        self.core = None;
        self.life += 1;
        self.executed.clear();
        self.pool.clear();
        self.tick_at_ms = None;
        self.crash_in = None;
        self.working = false;
    }

    /// Of what was not flushed, the first `kept` records happened to be written.
    pub(crate) fn keep_prefix(&mut self, kept: usize) {
        let kept = kept.min(self.unflushed.len());
        self.disk.log.extend(self.unflushed.drain(..kept));
    }

    /// Of what was not flushed, some was written, in any order. Sealed frames are a chain: a reader stops at the first that is
    /// missing or torn, so what comes after it is lost though it is on the disk. Returns how many such records there were.
    pub(crate) fn keep_some(&mut self, random: &mut Random) -> usize {
        let written: Vec<bool> = self.unflushed.iter().map(|_| random.chance(600)).collect();
        let whole = written.iter().take_while(|written| **written).count();
        self.keep_prefix(whole);
        written[whole..].iter().filter(|written| **written).count()
    }

    pub(crate) fn height(&self) -> u64 {
        self.disk.ledger.len() as u64
    }
}
