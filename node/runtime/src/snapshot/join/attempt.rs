//! One attempt: headers first, because they say what to believe; then state and blocks side by side; then the sum; then what the node
//! holds of its own.

mod headers;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bixi_accel::sm2::Registry;
use bixi_hsm::verify::SmVerifier;
use bixi_ledger::Ledger;
use bixi_ledger::snapshot::{Manifest, SnapshotError, Staging};
use bixi_types::limits::{HEIGHTS_BYTES_MAX, VALIDATORS_MAX};
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Ended, JoinEvent, Joiner, Known};
use crate::exchange::{Exchange, HeightRange, Heights};
use crate::links::Channel;
use crate::snapshot::blocks::BlockChecks;
use crate::snapshot::fetch::{Fetch, Task};
use crate::snapshot::progress::Missing;
use crate::snapshot::{Message, Wanted};
use headers::Early;

/// Bytes of headers that wait for those below them, and that are asked for.
const EARLY_BYTES_MAX: usize = 32 * 1024 * 1024;
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
    /// Parts of blocks that are not whole, by peer and height, and how long they will be.
    parts: BTreeMap<(NodeId, u64), (u32, Vec<u8>)>,
    /// Headers that came before those below them.
    early: BTreeMap<u64, Early>,
    early_bytes: usize,
    /// First header that is not here.
    front: u64,
    /// Answers taken: headers, pieces, blocks.
    taken: u32,
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
            early_bytes: 0,
            front: 0,
            taken: 0,
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
            Ok(()) => {
                let keep = |own: &Ledger, go_on: &dyn Fn() -> bool| self.staging.keep(own, go_on);
                self.joiner.keep_own(self.staging.manifest().height, self.inbox, keep)
            }
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

    /// A peer is not asked again, and charged when it gave a reason. What it was asked for waits for another.
    fn leave(&mut self, peer: NodeId, task: Task, lie: Option<&str>) {
        match lie {
            Some(reason) => self.joiner.charge(peer, reason, self.known),
            None => tracing::info!(%peer, ?task, "a peer does not hold what it offered; another one is asked"),
        }
        self.fetch.expel(&peer);
        self.parts.retain(|(of, _), _| *of != peer);
        self.fetch.again(task);
    }

    /// Asks for what can be asked for, then waits for one answer to one of the questions.
    fn next_answer(&mut self) -> Result<Option<Answer>, Ended> {
        let now = Instant::now();
        while let Some((peer, task)) = self.next_request(now) {
            self.ask(peer, task);
        }
        if self.fetch.sources().is_empty() {
            self.known.left.extend(&self.offered);
            return Err(Ended::Failed("none is left of the peers who offered the snapshot".into()));
        }
        if self.joiner.ledger.height() >= self.staging.manifest().height {
            return Err(Ended::CaughtUp);
        }
        if self.joiner.progress.is_too_slow(now) {
            self.known.left.extend(&self.offered);
            return Err(Ended::Failed("it comes too slowly from the peers who offered it".into()));
        }
        self.tell(now);
        let deadline = self.fetch.deadline(now).unwrap_or(now + TOLD).min(now + TOLD);
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

    /// Headers that would have to wait are not asked for beyond what may wait; those that the others wait for always are.
    fn next_request(&mut self, now: Instant) -> Option<(NodeId, Task)> {
        let bytes = self.early_bytes + (self.fetch.asked() + 1) * HEIGHTS_BYTES_MAX;
        let front = self.front;
        self.fetch.next(now, |task| match task {
            Task::Headers { first, .. } => *first == front || bytes <= EARLY_BYTES_MAX,
            _ => true,
        })
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
            Message::Manifest(manifest) => {
                self.join_sources(from, &manifest);
                return None;
            }
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

    /// Whoever offers the same snapshot late is one source more, once.
    fn join_sources(&mut self, from: NodeId, manifest: &Manifest) {
        let is_same = manifest == self.staging.manifest();
        if is_same && !self.known.refused.contains(&from) && self.offered.insert(from) {
            self.fetch.add_source(from);
        }
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
