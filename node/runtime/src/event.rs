//! What reaches the consensus thread.

use bixi_consensus::{Input, Message};
use bixi_rpc::Head;
use bixi_types::NodeId;
use crossbeam_channel::Sender;

use crate::exchange::{Heights, Proven, Ticket};

/// One event for the consensus thread.
pub(crate) enum Event {
    /// An answer to an effect, or news from execution.
    Input(Box<Input>),
    /// A message from a peer; nothing in it is checked.
    Peer(Arrived<Box<Message>>),
    /// A message from a peer whose signatures hold.
    Checked(Arrived<Box<Message>>),
    /// How far a peer says its ledger reaches.
    Head(Arrived<Head>),
    /// Committed heights from a peer; nothing in them is checked.
    Heights(Arrived<Heights>),
    /// Committed heights from a peer whose signatures hold, in a row; none when the answer was good for nothing.
    Proven(Arrived<Vec<Proven>>),
    /// Transactions entered the pool, or batches the store.
    Work,
    /// A thread cannot go on; the node must stop.
    Fault(Fault),
    /// A snapshot of this height is complete: the node ends to start again on it.
    Joined { height: u64 },
    /// Stop in order.
    Stop,
}

/// Something a peer sent. It counts against the peer until it is dropped.
pub(crate) struct Arrived<T> {
    pub from: NodeId,
    pub what: T,
    pub _ticket: Ticket,
}

impl<T> Arrived<T> {
    /// The same, as something else.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Arrived<U> {
        Arrived { from: self.from, what: change(self.what), _ticket: self._ticket }
    }
}

/// Why the node cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A write that had to be durable failed.
    #[error("{what} could not be made durable: {detail}; free space or replace the disk, then start again")]
    Durability {
        /// What was written.
        what: &'static str,
        /// The error.
        detail: String,
    },
    /// Execution could not read the state or broke an invariant.
    #[error("block {height} could not be executed: {detail}")]
    Execution {
        /// The height.
        height: u64,
        /// The error.
        detail: String,
    },
    /// Consensus stopped itself; the log above has the evidence.
    #[error("consensus halted: {0}")]
    Consensus(String),
    /// No fault: a snapshot was fetched, and takes the ledger's place when the node starts again.
    #[error("a snapshot of height {height} is complete; start again to go on from it")]
    Joined {
        /// Its height.
        height: u64,
    },
    /// A thread of the node that was to start again did not end: two nodes on one disk must not be.
    #[error("the {0} did not end in time, so the node cannot start again beside it; end the process, then start it")]
    LeftBehind(String),
    /// A bug: a thread ended without a reason.
    #[error("the {0} thread panicked; report the message above it in the log, then start again")]
    Panicked(&'static str),
}

/// Held by a thread while it works: should it unwind, the node stops instead of standing still with one thread missing.
pub(crate) struct PanicWitness {
    thread: &'static str,
    events: Sender<Event>,
}

impl PanicWitness {
    pub(crate) fn new(thread: &'static str, events: Sender<Event>) -> Self {
        Self { thread, events }
    }
}

impl Drop for PanicWitness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.events.send(Event::Fault(Fault::Panicked(self.thread)));
        }
    }
}
