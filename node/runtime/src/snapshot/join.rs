//! Fetches a snapshot when the chain is far ahead. A thread of its own.
//!
//! Several peers are asked; parts come from all who offer the same manifest. Who sends what is not true is charged, named in the log
//! and not asked again; who does not answer is passed over. Nothing of an attempt touches the ledger.

mod attempt;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_ledger::snapshot::{Manifest, Places, Staging, bytes_in, discard, publish};
use bixi_ledger::{Ledger, LedgerError};
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::progress::{JoinProgress, Missing};
use super::{Message, Wanted};
use crate::event::{Arrived, Event};
use crate::exchange::{Exchange, Heights, Offences};
use crate::links::{Channel, Links};
use crate::view::View;
use attempt::Attempt;

/// What reaches the thread.
pub(crate) enum JoinEvent {
    Snapshot(Arrived<Message>),
    /// Headers, nothing in them checked.
    Heights(Arrived<Heights>),
    Stop,
}

/// How, and how patiently.
pub(crate) struct JoinParams {
    /// The database under construction.
    pub staging: bixi_ledger::Params,
    pub places: Places,
    /// What the disk has left for a snapshot.
    pub free_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    pub pace: Pace,
}

/// Waits, in the order in which they come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between two looks at how far the peers are.
    pub look: Duration,
    /// For more offers, once there is one.
    pub offers: Duration,
    /// For the first offer: a large state takes its time to read.
    pub first_offer: Duration,
    /// For one part.
    pub answer: Duration,
    /// After an attempt that failed.
    pub failed: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_millis(500),
            offers: Duration::from_secs(3),
            first_offer: Duration::from_secs(600),
            answer: Duration::from_secs(20),
            failed: Duration::from_secs(10),
        }
    }
}

/// Why an attempt ended without a snapshot.
enum Ended {
    /// The node stops.
    Stopped,
    /// The ledger came as far by itself.
    CaughtUp,
    /// The peers could not give one; another attempt may do better, and begins with what is here.
    Failed(String),
    /// The manifest was false, and with it all that is here.
    False(String),
    /// The disk has no room for it any more.
    NoRoom(String),
    /// Our own storage failed.
    Broken(LedgerError),
}

impl From<LedgerError> for Ended {
    fn from(error: LedgerError) -> Self {
        Self::Broken(error)
    }
}

/// The thread.
pub(crate) struct Joiner {
    pub params: JoinParams,
    pub ledger: Arc<Ledger>,
    pub links: Arc<dyn Links>,
    pub view: Arc<View>,
    pub offences: Arc<Offences>,
    pub progress: Arc<JoinProgress>,
    pub events: Sender<Event>,
}

/// How far ahead the peers are.
#[derive(Debug, PartialEq, Eq)]
enum Distance {
    /// Too few validators among them have told.
    Unknown,
    Near,
    Far,
}

/// How often the pause after a failed attempt doubles.
const DOUBLINGS_MAX: u32 = 5;

/// What is known of the peers since the start.
#[derive(Default)]
struct Known {
    /// Whoever lied: not asked again.
    refused: BTreeSet<NodeId>,
    /// Whoever offered a snapshot and did not give it.
    left: BTreeSet<NodeId>,
}

/// Who offers a manifest.
type Offers = BTreeMap<H256, (Manifest, BTreeSet<NodeId>)>;

impl Joiner {
    /// Runs until told to stop, or until a snapshot is there.
    pub(crate) fn run(self, inbox: &Receiver<JoinEvent>) {
        let mut known = Known::default();
        let mut failed = 0;
        let mut pause = self.params.pace.look;
        while self.rest(inbox, pause) {
            pause = self.params.pace.look;
            match self.distance(&known) {
                Distance::Unknown => continue,
                Distance::Near => {
                    self.tidy();
                    continue;
                }
                Distance::Far => {}
            }
            let outcome = self.attempt(inbox, &mut known);
            self.progress.end();
            match outcome {
                Ok(height) => {
                    tracing::info!(height, "a snapshot is complete and checked; the node starts again on it");
                    let _ = self.events.send(Event::Joined { height });
                    return;
                }
                Err(Ended::Stopped) => return,
                Err(Ended::CaughtUp) => tracing::info!("the ledger caught up by itself; the snapshot is left"),
                Err(Ended::Failed(reason) | Ended::False(reason) | Ended::NoRoom(reason)) => {
                    tracing::warn!(reason, "no snapshot yet; the node goes on block by block and tries again");
                    pause = self.params.pace.failed * 2_u32.pow(failed);
                    failed = (failed + 1).min(DOUBLINGS_MAX);
                }
                Err(Ended::Broken(error)) => {
                    tracing::error!(%error, "a snapshot could not be stored; the node goes on block by block");
                    return;
                }
            }
        }
    }

    /// Lets time pass; `false` when the node stops. What arrives meanwhile answers no question.
    fn rest(&self, inbox: &Receiver<JoinEvent>, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            match inbox.recv_deadline(until) {
                Ok(JoinEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    fn distance(&self, known: &Known) -> Distance {
        let mut peers = self.links.peers();
        peers.retain(|peer| !known.refused.contains(peer));
        match self.view.believed_head(&peers) {
            None => Distance::Unknown,
            Some(head) if self.progress.is_far(head, self.ledger.height()) => Distance::Far,
            Some(_) => Distance::Near,
        }
    }

    /// What an earlier attempt left is of no more use.
    fn tidy(&self) {
        if let Err(error) = discard(self.params.staging.storage.as_ref(), &self.params.places.joining) {
            tracing::warn!(%error, dir = %self.params.places.joining.display(), "a snapshot begun earlier could not be removed");
        }
    }

    /// Whether the disk has room for so much more beside what the node holds of its own, which comes along.
    fn check_room(&self, bytes_to_come: u64) -> Result<(), Ended> {
        let ledger = &self.params.places.ledger;
        let own_bytes = bytes_in(self.params.staging.storage.as_ref(), ledger)
            .map_err(|error| Ended::Failed(format!("{}: {error}", ledger.display())))?;
        let free_bytes = (self.params.free_bytes)();
        if bytes_to_come.saturating_add(own_bytes) < free_bytes {
            return Ok(());
        }
        Err(Ended::NoRoom(format!(
            "{bytes_to_come} bytes of a snapshot and {own_bytes} bytes of the node's own blocks do not fit the {free_bytes} \
             bytes that the disk has to spare"
        )))
    }

    fn want(&self, peer: NodeId, wanted: Wanted) {
        let request = Exchange::Snapshot(Message::Want(wanted)).encode();
        self.links.send_on(Channel::Bulk, Destination::Node(peer), request);
    }

    fn charge(&self, peer: NodeId, reason: &str, known: &mut Known) {
        self.offences.charge(peer, format!("snapshot: {reason}"));
        known.refused.insert(peer);
    }

    /// From the question who offers what to a finished snapshot; returns its height.
    fn attempt(&self, inbox: &Receiver<JoinEvent>, known: &mut Known) -> Result<u64, Ended> {
        if let Some(joined) = self.finished() {
            return self.complete(joined, inbox);
        }
        let offers = self.offers(inbox, known)?;
        let (staging, sources) = self.choose(offers, known)?;
        let height = staging.manifest().height;
        let mut attempt = Attempt::new(self, &staging, inbox, sources, known)?;
        let outcome = attempt.run();
        drop(staging);
        match outcome {
            Ok(()) => self.publish().map(|()| height),
            // What is there is good, whoever failed: the next attempt or the next start goes on with it.
            Err(error @ (Ended::Stopped | Ended::Failed(_))) => Err(error),
            Err(error) => {
                let joining = &self.params.places.joining;
                discard(self.params.staging.storage.as_ref(), joining).map_err(stored(joining)).and(Err(error))
            }
        }
    }

    /// A snapshot that was checked as a whole when a stop or a crash came before its publication, if the ledger is not as far.
    fn finished(&self) -> Option<Ledger> {
        let (staging, own) = (&self.params.staging, self.ledger.height());
        let is_there = staging.storage.exists(&self.params.places.joining).unwrap_or(false);
        // What cannot be read is met again, and told of, where it would be gone on with.
        is_there.then(|| Staging::finished(staging).ok().flatten()).flatten().filter(|joined| joined.height() > own)
    }

    /// Takes a checked snapshot up where it was left, which may have been before anything of the node's own was in it.
    fn complete(&self, joined: Ledger, inbox: &Receiver<JoinEvent>) -> Result<u64, Ended> {
        self.check_room(0)?;
        let (height, nothing) = (joined.height(), Missing { headers: 0, chunks: 0, blocks: 0 });
        self.progress.begin(height, nothing, nothing);
        self.keep_own(height, inbox, |own, go_on| joined.keep(own, go_on))?;
        drop(joined);
        self.publish().map(|()| height)
    }

    /// What the ledger holds goes into the database that will take its place, by `keep`. What is committed from now on is added when it
    /// does.
    fn keep_own(
        &self,
        height: u64,
        inbox: &Receiver<JoinEvent>,
        keep: impl FnOnce(&Ledger, &dyn Fn() -> bool) -> Result<bool, LedgerError>,
    ) -> Result<(), Ended> {
        self.progress.phase("keeping");
        let ended = OnceCell::new();
        let goes_on = || self.check_wanted(height, inbox).map_err(|reason| ended.set(reason)).is_ok();
        keep(&self.ledger, &goes_on)?;
        match ended.into_inner() {
            Some(reason) => Err(reason),
            None => self.check_wanted(height, inbox),
        }
    }

    /// Whether the node still runs, and not yet as far as the snapshot. What arrived meanwhile answers no question.
    fn check_wanted(&self, height: u64, inbox: &Receiver<JoinEvent>) -> Result<(), Ended> {
        loop {
            match inbox.try_recv() {
                Ok(JoinEvent::Stop) | Err(TryRecvError::Disconnected) => return Err(Ended::Stopped),
                Ok(_) => {}
                Err(TryRecvError::Empty) if self.ledger.height() >= height => return Err(Ended::CaughtUp),
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    fn publish(&self) -> Result<(), Ended> {
        publish(self.params.staging.storage.as_ref(), &self.params.places).map_err(stored(&self.params.places.joining))
    }

    /// Asks everybody, and waits for the first useful offer and a little longer for equal ones.
    fn offers(&self, inbox: &Receiver<JoinEvent>, known: &mut Known) -> Result<Offers, Ended> {
        let chain = self.ledger.genesis().ok_or(LedgerError::Uninitialised)?;
        let (chain, suite) = (chain.hash(), chain.suite);
        let mut asked: BTreeSet<NodeId> =
            self.links.peers().into_iter().filter(|peer| !known.refused.contains(peer)).collect();
        asked.iter().for_each(|peer| self.want(*peer, Wanted::Manifest));
        tracing::info!(height = self.ledger.height(), peers = asked.len(), "far behind: asking for a snapshot");
        let mut offers = Offers::new();
        let mut until = Instant::now() + self.params.pace.first_offer;
        let mut ask_again = Instant::now() + self.params.pace.answer;
        while !asked.is_empty() && Instant::now() < until {
            let arrived = match inbox.recv_deadline(until.min(ask_again)) {
                Ok(JoinEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(Ended::Stopped),
                Ok(JoinEvent::Heights(_)) => continue,
                Ok(JoinEvent::Snapshot(arrived)) => arrived,
                Err(RecvTimeoutError::Timeout) => {
                    // Whoever left is not waited for, and a question may have been lost.
                    ask_again = Instant::now() + self.params.pace.answer;
                    let here = self.links.peers();
                    asked.retain(|peer| here.contains(peer));
                    asked.iter().for_each(|peer| self.want(*peer, Wanted::Manifest));
                    continue;
                }
            };
            match arrived.what {
                Message::Manifest(manifest) if asked.remove(&arrived.from) => match manifest.check(&chain) {
                    _ if !manifest.is_readable() => {
                        let (peer, format) = (arrived.from, manifest.format);
                        tracing::info!(%peer, format, "a peer offers a snapshot of a format that this release cannot use");
                    }
                    Ok(()) => {
                        let offer = offers.entry(manifest.id(suite)).or_insert_with(|| (*manifest, BTreeSet::new()));
                        offer.1.insert(arrived.from);
                        until = until.min(Instant::now() + self.params.pace.offers);
                    }
                    Err(reason) => self.charge(arrived.from, &reason, known),
                },
                Message::NotHeld(Wanted::Manifest) => drop(asked.remove(&arrived.from)),
                _ => {}
            }
        }
        Ok(offers)
    }

    /// What an earlier attempt left; what cannot be read of it is begun anew.
    fn begun(&self) -> Option<Staging> {
        Staging::resume(&self.params.staging, &self.ledger).unwrap_or_else(|error| {
            tracing::warn!(%error, "a snapshot begun earlier cannot be gone on with");
            None
        })
    }

    /// The snapshot that was begun, if it is still offered; else the one that most offer, of those the highest. Peers who offered one
    /// and did not give it count for nothing while there are others.
    fn choose(&self, mut offers: Offers, known: &Known) -> Result<(Staging, BTreeSet<NodeId>), Ended> {
        let own = self.ledger.height();
        offers.retain(|_, (manifest, _)| manifest.height > own);
        let storage = self.params.staging.storage.as_ref();
        let joining = &self.params.places.joining;
        if storage.exists(joining).map_err(stored(joining))? {
            if let Some(staging) = self.begun() {
                let fresh = |peers: &BTreeSet<NodeId>| peers.difference(&known.left).next().is_some();
                let others_give = offers.values().any(|(_, peers)| fresh(peers));
                let begun = offers
                    .values()
                    .find(|(manifest, peers)| manifest == staging.manifest() && (fresh(peers) || !others_give));
                if let Some((_, peers)) = begun {
                    self.check_room(staging.bytes_to_come())?;
                    return Ok((staging, peers.clone()));
                }
            }
            discard(storage, joining).map_err(stored(joining))?;
        }
        offers.retain(|_, (manifest, _)| self.progress.is_far(manifest.height, own));
        let best = offers
            .into_values()
            .max_by_key(|(manifest, peers)| (peers.difference(&known.left).count(), peers.len(), manifest.height));
        let (manifest, peers) = best.ok_or_else(|| Ended::Failed("no peer offers a snapshot of use".into()))?;
        self.check_room(manifest.bytes)?;
        Ok((Staging::begin(&self.params.staging, &self.ledger, manifest)?, peers))
    }
}

/// What the system said of a directory.
fn stored(dir: &Path) -> impl Fn(std::io::Error) -> Ended {
    move |error| Ended::Failed(format!("{}: {error}", dir.display()))
}
