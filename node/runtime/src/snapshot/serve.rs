//! Gives snapshots to peers. A thread of its own, away from consensus and commits: it reads the whole state, and what it sends is
//! capped in bytes a second, shared out to the askers by bytes.
//!
//! One height is held at a time, whoever asks: the engine keeps its rows for as long. So it is let go when nobody has asked for a piece
//! of it for a while, exchanged for a newer one when somebody comes anew and it has become old, and let go in the end whoever still
//! asks: nobody can have a node hold an old state by asking for it slowly.

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
/// A snapshot of which nobody asked for a piece in so long is let go.
const UNUSED_MAX: Duration = Duration::from_secs(120);
/// And one so old, whoever asks: the rows it holds cost disk.
pub(super) const HELD_MAX: Duration = Duration::from_secs(6 * 3_600);
/// After an attempt that failed, reading the whole state is not tried again for so long.
const FAILED_PAUSE: Duration = Duration::from_secs(600);

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

/// For how long a height is held.
#[derive(Debug, Clone, Copy)]
struct Term {
    made: Instant,
    /// When a piece was last asked for.
    used: Instant,
}

impl Term {
    fn end(&self) -> Instant {
        (self.used + UNUSED_MAX).min(self.made + HELD_MAX)
    }
}

/// The height that is held.
struct Held<'a> {
    export: Export<'a>,
    id: H256,
    term: Term,
}

/// What is kept between two answers.
#[derive(Default)]
struct Holding<'a> {
    held: Option<Held<'a>>,
    /// None is made before then.
    failed_until: Option<Instant>,
    /// A block on its way, encoded once for all its parts.
    encoded: Option<(u64, Vec<u8>)>,
}

impl Holding<'_> {
    /// When the height is to be let go.
    fn end(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.term.end())
    }
}

impl SnapshotServer {
    /// Runs until told to stop.
    pub(crate) fn run(&self, jobs: &Receiver<SnapshotJob>) {
        let mut turns = Turns::new();
        let mut holding = Holding::default();
        let mut free_from = Instant::now();
        loop {
            let now = Instant::now();
            if holding.end().is_some_and(|end| end <= now) {
                holding.held = None;
            }
            let wake = if turns.is_empty() { holding.end().unwrap_or(now + UNUSED_MAX) } else { free_from };
            match jobs.recv_deadline(wake) {
                Ok(SnapshotJob::Answer { to, wanted, _ticket }) => {
                    turns.push(to, (wanted, _ticket));
                    continue;
                }
                Ok(SnapshotJob::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let Some((to, (wanted, _ticket))) = turns.next() else {
                holding.encoded = None;
                continue;
            };
            let answer = self.answer(wanted, &mut holding, Instant::now()).unwrap_or_else(|error| {
                tracing::error!(%error, peer = %to, "a snapshot could not be read");
                Message::NotHeld(wanted)
            });
            let payload = Exchange::Snapshot(answer).encode();
            turns.given(to, payload.len());
            free_from = Instant::now() + Duration::from_secs_f64(payload.len() as f64 / BYTES_PER_SECOND_MAX);
            self.links.send_on(Channel::Bulk, Destination::Node(to), payload);
        }
    }

    fn answer<'a>(&'a self, wanted: Wanted, holding: &mut Holding<'a>, now: Instant) -> Result<Message, LedgerError> {
        let answer = match wanted {
            Wanted::Manifest => {
                self.hold(holding, now)?;
                holding.held.as_ref().map(|held| Message::Manifest(Box::new(held.export.manifest().clone())))
            }
            Wanted::Chunk { snapshot, index } => {
                let held = holding.held.as_mut().filter(|held| held.id == snapshot);
                let bytes = held.map(|held| {
                    held.term.used = now;
                    held.export.chunk(index)
                });
                bytes.transpose()?.flatten().map(|bytes| Message::Chunk { snapshot, index, bytes })
            }
            Wanted::Block { height, offset } => {
                self.encode_block(height, &mut holding.encoded)?;
                holding.encoded.as_ref().and_then(|(_, whole)| part(height, offset, whole))
            }
        };
        Ok(answer.unwrap_or(Message::NotHeld(wanted)))
    }

    /// Makes a snapshot, unless one is held or could not be made a moment ago. One that somebody fetches is not taken from him for who
    /// comes anew: he is offered the same.
    fn hold<'a>(&'a self, holding: &mut Holding<'a>, now: Instant) -> Result<(), LedgerError> {
        let will_do = holding.end().is_some_and(|end| now < end);
        // Let go before another is made: the engine holds one at most.
        if !will_do {
            holding.held = None;
        }
        if will_do || holding.failed_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        let made = self.make(now);
        holding.failed_until = made.is_err().then(|| now + FAILED_PAUSE);
        holding.held = made?;
        Ok(())
    }

    /// Reads the whole state; `None` when the node stops meanwhile.
    fn make(&self, now: Instant) -> Result<Option<Held<'_>>, LedgerError> {
        let frozen = self.ledger.freeze(ALIGNMENT, ALIGNMENT_PATIENCE)?;
        let Some(export) = frozen.describe(&|| !self.stopping.load(Ordering::Relaxed))? else { return Ok(None) };
        let manifest = export.manifest();
        tracing::info!(
            height = manifest.height,
            rows = manifest.rows,
            bytes = manifest.bytes,
            elapsed_ms = now.elapsed().as_millis() as u64,
            "made a snapshot for peers"
        );
        let (id, made) = (manifest.id(self.suite), Instant::now());
        Ok(Some(Held { export, id, term: Term { made, used: made } }))
    }

    /// Leaves the block in `encoded`, or nothing when it is not here.
    fn encode_block(&self, height: u64, encoded: &mut Option<(u64, Vec<u8>)>) -> Result<(), LedgerError> {
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

#[cfg(test)]
mod tests {
    use bixi_network::solitary::Solitary;
    use bixi_types::genesis::Genesis;
    use bixi_types::header::BlockHeader;

    use super::*;

    #[test]
    fn a_height_is_held_while_its_pieces_are_asked_for_and_no_longer_than_a_bound() {
        let made = Instant::now();
        let after = |duration| made + duration;
        let fresh = Term { made, used: made };
        assert_eq!(fresh.end(), after(UNUSED_MAX));
        let later = Duration::from_secs(3_000);
        let used = Term { made, used: after(later) };
        assert_eq!(used.end(), after(later + UNUSED_MAX));
        let always = Term { made, used: after(HELD_MAX) };
        assert_eq!(always.end(), after(HELD_MAX), "whoever still asks");
    }

    fn server(ledger: Ledger) -> SnapshotServer {
        let (ledger, links) = (Arc::new(ledger), Arc::new(Solitary));
        SnapshotServer { suite: CryptoSuite::Sm, ledger, links, stopping: Arc::default() }
    }

    /// A ledger at genesis.
    fn ledger() -> Ledger {
        let genesis = Genesis { block_limit: 20, ..Genesis::fixture(&[NodeId([1; 64])]) };
        let (ledger, writes) = (Ledger::in_memory(CryptoSuite::Sm), bixi_execution::genesis_writes(&genesis));
        let header = BlockHeader { state_root: ledger.genesis_state_root(&writes), ..BlockHeader::default() };
        ledger.initialise(&genesis, &writes, &header).expect("a genesis");
        ledger
    }

    #[test]
    fn only_pieces_count_as_use() {
        let server = server(ledger());
        let mut holding = Holding::default();
        let Ok(Message::Manifest(manifest)) = server.answer(Wanted::Manifest, &mut holding, Instant::now()) else {
            panic!("no manifest")
        };
        let (snapshot, end) = (manifest.id(CryptoSuite::Sm), holding.end().expect("held"));
        let later = Instant::now() + Duration::from_secs(100);
        for wanted in [
            Wanted::Manifest,
            Wanted::Block { height: 1, offset: 0 },
            Wanted::Chunk { snapshot: H256([9; 32]), index: 0 },
        ] {
            server.answer(wanted, &mut holding, later).expect("an answer");
            assert_eq!(holding.end(), Some(end), "{wanted:?}");
        }
        let piece = server.answer(Wanted::Chunk { snapshot, index: 0 }, &mut holding, later);
        assert!(matches!(piece, Ok(Message::Chunk { .. })), "{piece:?}");
        assert_eq!(holding.end(), Some(later + UNUSED_MAX));
    }

    #[test]
    fn what_somebody_fetches_is_not_taken_from_him_before_its_time() {
        let server = server(ledger());
        let (mut holding, start) = (Holding::default(), Instant::now());
        let Ok(Message::Manifest(manifest)) = server.answer(Wanted::Manifest, &mut holding, start) else {
            panic!("no manifest")
        };
        let snapshot = manifest.id(CryptoSuite::Sm);
        let made = |holding: &Holding<'_>| holding.held.as_ref().expect("held").term.made;
        let first = made(&holding);
        let (mut now, last) = (first, first + HELD_MAX - Duration::from_secs(1));
        while now < last {
            now = last.min(now + Duration::from_secs(100));
            server.answer(Wanted::Chunk { snapshot, index: 0 }, &mut holding, now).expect("a piece");
            server.answer(Wanted::Manifest, &mut holding, now).expect("an offer");
            assert_eq!(made(&holding), first);
        }
        server.answer(Wanted::Manifest, &mut holding, first + HELD_MAX).expect("another offer");
        assert_ne!(made(&holding), first, "no longer than that");
    }

    #[test]
    fn a_state_that_could_not_be_read_is_not_read_again_at_once() {
        // Nothing is in it: it cannot be read as a state.
        let server = server(Ledger::in_memory(CryptoSuite::Sm));
        let (mut holding, start) = (Holding::default(), Instant::now());
        let mut ask = |after| server.answer(Wanted::Manifest, &mut holding, start + after).ok();
        assert_eq!(ask(Duration::ZERO), None, "an error");
        let not_held = Some(Message::NotHeld(Wanted::Manifest));
        assert_eq!(ask(Duration::from_secs(1)), not_held);
        assert_eq!(ask(FAILED_PAUSE - Duration::from_millis(1)), not_held);
        assert_eq!(ask(FAILED_PAUSE), None, "tried once more");
    }
}
