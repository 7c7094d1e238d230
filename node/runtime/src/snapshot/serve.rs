//! Gives snapshots to peers. A thread of its own, away from consensus and commits: it reads the whole state, and what it sends is
//! capped in bytes a second, shared out to the askers by bytes.
//!
//! One height is held at a time, whoever asks: the engine keeps its rows for as long, so it is let go when nobody has asked for a
//! while, and exchanged for a newer one when it has become old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bixi_ledger::snapshot::{Export, ReceivedBlock};
use bixi_ledger::{Ledger, LedgerError};
use bixi_types::limits::SNAPSHOT_BLOCK_PART_BYTES_MAX;
use bixi_types::ports::Destination;
use bixi_types::{CryptoSuite, H256, NodeId};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Message, Wanted};
use crate::exchange::{Exchange, Ticket, Turns};
use crate::links::{Channel, Links};

/// Bytes sent a second, all peers together: a fraction of what a link of 1 Gbit/s carries.
const BYTES_PER_SECOND_MAX: f64 = 48.0 * 1024.0 * 1024.0;
/// Heights at which snapshots are made when blocks come fast, so that all who are asked at one time offer the same.
const ALIGNMENT: u64 = 16;
/// How long such a height is waited for.
const ALIGNMENT_PATIENCE: Duration = Duration::from_millis(500);
/// A snapshot that nobody asked for in so long is let go.
const UNUSED_MAX: Duration = Duration::from_secs(120);
/// One that is in use is exchanged after so long: the rows it holds cost disk.
const AGE_MAX: Duration = Duration::from_secs(3_600);
/// A manifest asked for anew is of a height at most so far below the head, or somebody else is using it.
const HEIGHTS_BEHIND_MAX: u64 = 256;

/// What the thread is told.
pub(crate) enum SnapshotJob {
    Answer { to: NodeId, wanted: Wanted, _ticket: Ticket },
    Stop,
}

/// What answers are made of.
pub(crate) struct SnapshotServer {
    pub suite: CryptoSuite,
    pub ledger: Arc<Ledger>,
    pub links: Arc<dyn Links>,
    /// Set when the node stops: a state that is being read is left.
    pub stopping: Arc<AtomicBool>,
}

/// The height that is held.
struct Held<'a> {
    export: Export<'a>,
    id: H256,
    made: Instant,
    used: Instant,
}

/// A block on its way, encoded once for all its parts.
type Encoded = (u64, Vec<u8>);

impl SnapshotServer {
    /// Runs until told to stop.
    pub(crate) fn run(&self, jobs: &Receiver<SnapshotJob>) {
        let mut turns = Turns::new();
        let mut held = None;
        let mut encoded = None;
        let mut free_from = Instant::now();
        loop {
            let pause = if turns.is_empty() { UNUSED_MAX } else { free_from.saturating_duration_since(Instant::now()) };
            match jobs.recv_timeout(pause) {
                Ok(SnapshotJob::Answer { to, wanted, _ticket }) => {
                    turns.push(to, (wanted, _ticket));
                    continue;
                }
                Ok(SnapshotJob::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let Some((to, (wanted, _ticket))) = turns.next() else {
                held = None;
                encoded = None;
                continue;
            };
            let answer = self.answer(wanted, &mut held, &mut encoded).unwrap_or_else(|error| {
                tracing::error!(%error, peer = %to, "a snapshot could not be read");
                Message::NotHeld(wanted)
            });
            let payload = Exchange::Snapshot(answer).encode();
            turns.given(to, payload.len());
            free_from = Instant::now() + Duration::from_secs_f64(payload.len() as f64 / BYTES_PER_SECOND_MAX);
            self.links.send_on(Channel::Bulk, Destination::Node(to), payload);
        }
    }

    fn answer<'a>(
        &'a self,
        wanted: Wanted,
        held: &mut Option<Held<'a>>,
        encoded: &mut Option<Encoded>,
    ) -> Result<Message, LedgerError> {
        let answer = match wanted {
            Wanted::Manifest => {
                self.hold(held)?;
                held.as_ref().map(|held| Message::Manifest(Box::new(held.export.manifest().clone())))
            }
            Wanted::Chunk { snapshot, index } => {
                let held = held.as_mut().filter(|held| held.id == snapshot);
                let bytes = held.map(|held| {
                    held.used = Instant::now();
                    held.export.chunk(index)
                });
                bytes.transpose()?.flatten().map(|bytes| Message::Chunk { snapshot, index, bytes })
            }
            Wanted::Block { height, offset } => {
                self.encode_block(height, encoded)?;
                encoded.as_ref().and_then(|(_, whole)| part(height, offset, whole))
            }
        };
        Ok(answer.unwrap_or(Message::NotHeld(wanted)))
    }

    /// Makes a snapshot, unless the one that is held will do.
    fn hold<'a>(&'a self, held: &mut Option<Held<'a>>) -> Result<(), LedgerError> {
        let head = self.ledger.height();
        let will_do = held.as_ref().is_some_and(|held| {
            let is_recent = held.export.manifest().height + HEIGHTS_BEHIND_MAX >= head;
            held.made.elapsed() < AGE_MAX && (is_recent || held.used.elapsed() < UNUSED_MAX)
        });
        if will_do {
            return Ok(());
        }
        // Let go before another is made: the engine holds one at most.
        *held = None;
        let began = Instant::now();
        let frozen = self.ledger.freeze(ALIGNMENT, ALIGNMENT_PATIENCE)?;
        let Some(export) = frozen.describe(&|| !self.stopping.load(Ordering::Relaxed))? else { return Ok(()) };
        let manifest = export.manifest();
        tracing::info!(
            height = manifest.height,
            rows = manifest.rows,
            bytes = manifest.bytes,
            elapsed_ms = began.elapsed().as_millis() as u64,
            "made a snapshot for peers"
        );
        let id = manifest.id(self.suite);
        *held = Some(Held { export, id, made: Instant::now(), used: Instant::now() });
        Ok(())
    }

    /// Leaves the block in `encoded`, or nothing when it is not here.
    fn encode_block(&self, height: u64, encoded: &mut Option<Encoded>) -> Result<(), LedgerError> {
        if encoded.as_ref().is_some_and(|(known, _)| *known == height) {
            return Ok(());
        }
        *encoded = None;
        let block = match self.ledger.block(height) {
            Ok(Some(block)) if height > 0 => block,
            Ok(_) | Err(LedgerError::NoHistory { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Blocks of releases that had no network cannot be served by whoever would receive them.
        let Some(batches) = block.batches else { return Ok(()) };
        let (transactions, value, certificate) = (block.transactions, block.value, block.certificate);
        let block = ReceivedBlock { transactions, value, certificate, batches };
        *encoded = Some((height, borsh::to_vec(&block).expect("borsh into memory cannot fail")));
        Ok(())
    }
}

fn part(height: u64, offset: u32, whole: &[u8]) -> Option<Message> {
    let rest = whole.get(offset as usize..).filter(|rest| !rest.is_empty())?;
    let bytes = rest[..rest.len().min(SNAPSHOT_BLOCK_PART_BYTES_MAX)].to_vec();
    Some(Message::Block { height, offset, total: u32::try_from(whole.len()).ok()?, bytes })
}
