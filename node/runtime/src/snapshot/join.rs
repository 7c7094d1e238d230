//! Fetches a snapshot when the chain is far ahead. A thread of its own.
//!
//! Several peers are asked; parts come from all who offer the same manifest. Who sends what is not true is charged, named in the log
//! and not asked again; who does not answer is passed over. Nothing of an attempt touches the ledger.

mod attempt;
mod complete;
mod offers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_ledger::snapshot::{Manifest, PieceDigest, Places, bytes_in, discard};
use bixi_ledger::{Ledger, LedgerError};
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::progress::JoinProgress;
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
    /// Who looks at pieces first.
    pub digest: Option<PieceDigest>,
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
    /// After the disk was too full: what somebody else has to mend first.
    pub no_room: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_millis(500),
            offers: Duration::from_secs(3),
            first_offer: Duration::from_secs(600),
            answer: Duration::from_secs(20),
            failed: Duration::from_secs(10),
            no_room: Duration::from_secs(2 * 3_600),
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
    /// Height of what an earlier attempt left on the disk, once somebody looked.
    begun: Option<u64>,
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
                    self.tidy(&mut known);
                    continue;
                }
                Distance::Far => {}
            }
            let outcome = self.attempt(inbox, &mut known);
            known.begun = None;
            self.progress.end();
            match outcome {
                Ok(height) => {
                    tracing::info!(height, "a snapshot is complete and checked; the node starts again on it");
                    let _ = self.events.send(Event::Joined { height });
                    return;
                }
                Err(Ended::Stopped) => return,
                Err(Ended::CaughtUp) => tracing::info!("the ledger caught up by itself; the snapshot is left"),
                Err(Ended::NoRoom(reason)) => {
                    tracing::warn!(reason, "no snapshot; the node goes on block by block and tries again in hours");
                    pause = self.params.pace.no_room;
                }
                Err(Ended::Failed(reason) | Ended::False(reason)) => {
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

    /// The same for what `peers` offer, which is their word only: others may offer less.
    fn check_offer(&self, bytes: u64, peers: &BTreeSet<NodeId>, known: &mut Known) -> Result<(), Ended> {
        self.check_room(bytes).map_err(|ended| match ended {
            Ended::NoRoom(reason) => {
                known.left.extend(peers);
                Ended::Failed(reason)
            }
            other => other,
        })
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
        // What is here already must fit twice, whatever is offered.
        self.check_room(0)?;
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
}

/// What the system said of a directory.
fn stored(dir: &Path) -> impl Fn(std::io::Error) -> Ended {
    move |error| Ended::Failed(format!("{}: {error}", dir.display()))
}
