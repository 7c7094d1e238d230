//! One attempt: headers first, because they say what to believe; then state and blocks side by side; then the sum.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bixi_accel::sm2::Registry;
use bixi_hsm::verify::SmVerifier;
use bixi_ledger::snapshot::{ReceivedBlock, SnapshotError, Staging};
use bixi_types::header::BlockHeader;
use bixi_types::limits::{HEIGHTS_MAX, VALIDATORS_MAX};
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Ended, JoinEvent, Joiner, Known};
use crate::exchange::{Exchange, HeightRange, Heights};
use crate::links::Channel;
use crate::snapshot::blocks::BlockChecks;
use crate::snapshot::fetch::{Fetch, Task};
use crate::snapshot::progress::Missing;
use crate::snapshot::trust::Walk;
use crate::snapshot::{Message, Wanted};

/// Heights asked for ahead of the last header believed: what waits in memory for the one before.
const HEADERS_AHEAD: u64 = 16 * HEIGHTS_MAX as u64;
/// How often the log tells how far it is.
const TOLD: Duration = Duration::from_secs(5);

pub(super) struct Attempt<'a> {
    joiner: &'a Joiner,
    staging: &'a Staging,
    inbox: &'a Receiver<JoinEvent>,
    known: &'a mut Known,
    /// All who offered the manifest.
    offered: BTreeSet<NodeId>,
    fetch: Fetch,
    snapshot: H256,
    checks: BlockChecks,
    /// Parts of blocks that are not whole, and how long they will be.
    parts: BTreeMap<u64, (u32, Vec<u8>)>,
    /// Headers that came before those below them.
    early: BTreeMap<u64, (NodeId, Vec<BlockHeader>)>,
    told: Instant,
}

/// What a peer said, and what it was asked.
struct Answer {
    from: NodeId,
    task: Task,
    content: Content,
}

enum Content {
    Headers(Heights),
    Bytes(Vec<u8>),
    /// A part of a block and the length of the whole.
    Part(u32, Vec<u8>),
    NotHeld,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        joiner: &'a Joiner,
        staging: &'a Staging,
        inbox: &'a Receiver<JoinEvent>,
        offered: BTreeSet<NodeId>,
        known: &'a mut Known,
    ) -> Result<Self, Ended> {
        let (manifest, suite) = (staging.manifest(), joiner.params.staging.suite);
        let verifier = SmVerifier::new(std::sync::Arc::new(Registry::new(VALIDATORS_MAX)));
        let headers = manifest.height - staging.headers_through()?;
        let blocks = staging.missing_blocks()?.len() as u64;
        let missing = Missing { headers, chunks: staging.missing_chunks()?.len() as u64, blocks };
        let whole = Missing {
            headers: manifest.height,
            chunks: manifest.chunks.len() as u64,
            blocks: manifest.height + 1 - staging.first_block(),
        };
        joiner.progress.begin(manifest.height, whole, missing);
        tracing::info!(
            height = manifest.height,
            bytes = manifest.bytes,
            pieces = manifest.chunks.len(),
            missing_pieces = missing.chunks,
            missing_headers = missing.headers,
            peers = offered.len(),
            "fetching a snapshot"
        );
        Ok(Self {
            joiner,
            staging,
            inbox,
            known,
            fetch: Fetch::new(offered.iter().copied(), joiner.params.pace.answer),
            offered,
            snapshot: manifest.id(suite),
            checks: BlockChecks { suite, chain: manifest.chain, verifier },
            parts: BTreeMap::new(),
            early: BTreeMap::new(),
            told: Instant::now(),
        })
    }

    pub(super) fn run(&mut self) -> Result<(), Ended> {
        self.fetch_headers()?;
        self.joiner.progress.phase("state");
        for index in self.staging.missing_chunks()? {
            self.fetch.add(Task::Chunk { index });
        }
        for height in self.staging.missing_blocks()? {
            self.fetch.add(Task::Block { height, offset: 0 });
        }
        while !self.fetch.is_done() {
            if let Some(answer) = self.next_answer()? {
                self.take(answer)?;
            }
        }
        self.joiner.progress.phase("checking");
        match self.staging.finish() {
            Ok(()) => Ok(()),
            Err(SnapshotError::Ledger(error)) => Err(error.into()),
            // Every piece was what the manifest says, so the manifest itself is false.
            Err(lie) => self.false_manifest(&lie.to_string()),
        }
    }

    /// All who offered it are liars, and nothing of it is kept.
    fn false_manifest<T>(&mut self, reason: &str) -> Result<T, Ended> {
        for peer in std::mem::take(&mut self.offered) {
            self.joiner.charge(peer, reason, self.known);
        }
        Err(Ended::False(reason.to_owned()))
    }

    fn fetch_headers(&mut self) -> Result<(), Ended> {
        let target = self.staging.manifest().height;
        let mut through = self.staging.headers_through()?;
        let trusted = self.staging.header(through)?;
        let mut walk = Walk::from(&trusted, self.checks.suite).map_err(Ended::Failed)?;
        let mut queued = through;
        while through < target {
            while queued < target.min(through + HEADERS_AHEAD) {
                let count = (target - queued).min(HEIGHTS_MAX as u64) as u16;
                self.fetch.add(Task::Headers { first: queued + 1, count });
                queued += u64::from(count);
            }
            if let Some(answer) = self.next_answer()? {
                self.take_headers(answer)?;
            }
            while let Some((from, headers)) = self.early.remove(&(through + 1)) {
                through = self.believe(&mut walk, from, &headers, through)?;
            }
        }
        Ok(())
    }

    /// Keeps headers until those below are there. A short answer leaves the rest to be asked for again.
    fn take_headers(&mut self, Answer { from, task, content }: Answer) -> Result<(), Ended> {
        let (Task::Headers { first, count }, Content::Headers(heights)) = (task, content) else {
            self.leave(from, task, None);
            return Ok(());
        };
        let headers: Result<Vec<_>, _> =
            heights.proofs.iter().map(|proof| BlockHeader::decode(&proof.header)).collect();
        let refusal = match headers {
            Ok(headers) if !headers.is_empty() && headers.len() <= usize::from(count) => {
                let came = headers.len() as u16;
                if came < count {
                    self.fetch.add_first(Task::Headers { first: first + u64::from(came), count: count - came });
                }
                self.early.insert(first, (from, headers));
                return Ok(());
            }
            Ok(headers) if headers.is_empty() => None,
            Ok(headers) => Some(format!("{} headers instead of {count}", headers.len())),
            Err(error) => Some(format!("a header from {first} on: {error}")),
        };
        self.leave(from, task, refusal.as_deref());
        Ok(())
    }

    /// The walk takes them, or whoever sent them lied: what lies below is believed already.
    fn believe(&mut self, walk: &mut Walk, from: NodeId, headers: &[BlockHeader], through: u64) -> Result<u64, Ended> {
        let bytes = headers.iter().map(|header| header.encode().len()).sum();
        let outcome = match walk.extend(headers) {
            Ok(()) => self.staging.put_headers(headers),
            Err(reason) => Err(SnapshotError::Lie(reason)),
        };
        match outcome {
            Ok(()) => {
                self.joiner.progress.came(Missing { headers: headers.len() as u64, chunks: 0, blocks: 0 }, bytes);
                Ok(through + headers.len() as u64)
            }
            Err(SnapshotError::Ledger(error)) => Err(error.into()),
            Err(lie) => {
                // A header that is believed, and is not the manifest's: the manifest lies, not this peer's headers.
                if walk.number() > through {
                    return self.false_manifest(&lie.to_string());
                }
                let task = Task::Headers { first: through + 1, count: headers.len() as u16 };
                self.leave(from, task, Some(&lie.to_string()));
                Ok(through)
            }
        }
    }

    fn take(&mut self, answer: Answer) -> Result<(), Ended> {
        let Answer { from, task, content } = answer;
        let outcome = match (task, content) {
            (Task::Chunk { index }, Content::Bytes(bytes)) => {
                let outcome = self.staging.put_chunk(index, &bytes);
                (outcome, Missing { headers: 0, chunks: 1, blocks: 0 }, bytes.len())
            }
            (Task::Block { height, offset }, Content::Part(total, bytes)) => {
                let length = bytes.len();
                let Some(whole) = self.join_parts(from, height, offset, total, bytes) else { return Ok(()) };
                (self.put_block(height, &whole), Missing { headers: 0, chunks: 0, blocks: 1 }, length)
            }
            _ => {
                self.leave(from, task, None);
                return Ok(());
            }
        };
        match outcome {
            (Ok(()), parts, bytes) => self.joiner.progress.came(parts, bytes),
            (Err(SnapshotError::Ledger(error)), ..) => return Err(error.into()),
            (Err(lie), ..) => self.leave(from, task, Some(&lie.to_string())),
        }
        Ok(())
    }

    /// The block, once its last part is there.
    fn join_parts(&mut self, from: NodeId, height: u64, offset: u32, total: u32, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let length = bytes.len();
        let whole = if offset == 0 {
            self.parts.insert(height, (total, bytes));
            self.parts.get(&height)
        } else {
            let known =
                self.parts.get_mut(&height).filter(|(known, begun)| *known == total && begun.len() == offset as usize);
            known.map(|known| {
                known.1.extend_from_slice(&bytes);
                &*known
            })
        };
        let Some((_, begun)) = whole else {
            self.leave(from, Task::Block { height, offset: 0 }, Some("parts of a block that do not fit each other"));
            return None;
        };
        if begun.len() == total as usize {
            return self.parts.remove(&height).map(|(_, whole)| whole);
        }
        let offset = begun.len() as u32;
        self.joiner.progress.came(Missing { headers: 0, chunks: 0, blocks: 0 }, length);
        self.fetch.follow(from, Task::Block { height, offset }, Instant::now());
        self.joiner.want(from, Wanted::Block { height, offset });
        None
    }

    fn put_block(&self, height: u64, encoding: &[u8]) -> Result<(), SnapshotError> {
        let lie = |reason: String| SnapshotError::Lie(format!("block {height}: {reason}"));
        let block: ReceivedBlock = borsh::from_slice(encoding).map_err(|error| lie(error.to_string()))?;
        self.checks.check(&self.staging.header(height)?, &block).map_err(lie)?;
        self.staging.put_block(height, &block)
    }

    /// A peer is not asked again, and charged when it gave a reason. What it was asked for waits for another.
    fn leave(&mut self, peer: NodeId, task: Task, lie: Option<&str>) {
        match lie {
            Some(reason) => self.joiner.charge(peer, reason, self.known),
            None => tracing::info!(%peer, ?task, "a peer does not hold what it offered; another one is asked"),
        }
        self.fetch.expel(&peer);
        self.fetch.add_first(task.anew());
    }

    /// Asks for what can be asked for, then waits for one answer to one of the questions.
    fn next_answer(&mut self) -> Result<Option<Answer>, Ended> {
        let now = Instant::now();
        while let Some((peer, task)) = self.fetch.next(now) {
            self.ask(peer, task);
        }
        if self.fetch.sources().is_empty() {
            self.known.left.extend(&self.offered);
            return Err(Ended::Failed("none is left of the peers who offered the snapshot".into()));
        }
        if self.joiner.ledger.height() >= self.staging.manifest().height {
            return Err(Ended::CaughtUp);
        }
        self.tell(now);
        let deadline = self.fetch.deadline().unwrap_or(now + TOLD).min(now + TOLD);
        let answer = match self.inbox.recv_deadline(deadline) {
            Ok(JoinEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(Ended::Stopped),
            Ok(JoinEvent::Heights(arrived)) => self.expected(arrived.from, Content::Headers(arrived.what)),
            Ok(JoinEvent::Snapshot(arrived)) => self.answer(arrived.from, arrived.what),
            Err(RecvTimeoutError::Timeout) => None,
        };
        for peer in self.fetch.late(Instant::now()) {
            tracing::warn!(%peer, "a peer leaves a part of the snapshot unanswered; others are asked");
        }
        Ok(answer)
    }

    fn ask(&self, peer: NodeId, task: Task) {
        match task {
            Task::Headers { first, count } => {
                let range = HeightRange { first, count, with_decisions: false };
                let request = Exchange::WantHeights(range).encode();
                self.joiner.links.send_on(Channel::Bulk, Destination::Node(peer), request);
            }
            Task::Chunk { index } => self.joiner.want(peer, Wanted::Chunk { snapshot: self.snapshot, index }),
            Task::Block { height, offset } => self.joiner.want(peer, Wanted::Block { height, offset }),
        }
    }

    /// An answer that nobody waits for is dropped: it may be one that came late.
    fn expected(&mut self, from: NodeId, content: Content) -> Option<Answer> {
        let Content::Headers(heights) = &content else { return None };
        let first_sent = heights.first;
        let task =
            self.fetch.answered(&from, |task| matches!(task, Task::Headers { first, .. } if *first == first_sent))?;
        Some(Answer { from, task, content })
    }

    fn answer(&mut self, from: NodeId, message: Message) -> Option<Answer> {
        let snapshot = self.snapshot;
        let (task, content) = match message {
            Message::Chunk { snapshot: of, index, bytes } if of == snapshot => {
                (Task::Chunk { index }, Content::Bytes(bytes))
            }
            Message::Block { height, offset, total, bytes } => {
                (Task::Block { height, offset }, Content::Part(total, bytes))
            }
            Message::NotHeld(Wanted::Chunk { snapshot: of, index }) if of == snapshot => {
                (Task::Chunk { index }, Content::NotHeld)
            }
            Message::NotHeld(Wanted::Block { height, offset }) => (Task::Block { height, offset }, Content::NotHeld),
            _ => return None,
        };
        let task = self.fetch.answered(&from, |asked| *asked == task)?;
        Some(Answer { from, task, content })
    }

    fn tell(&mut self, now: Instant) {
        let Some(joining) = self.joiner.progress.now().filter(|_| now >= self.told + TOLD) else { return };
        self.told = now;
        tracing::info!(
            height = joining.height,
            phase = joining.phase,
            percent = joining.percent,
            received_bytes = joining.received_bytes,
            bytes_per_second = joining.bytes_per_second,
            left_s = joining.left.map(|left| left.as_secs()),
            "fetching a snapshot"
        );
    }
}
