//! What an operator is told about peers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bixi_types::NodeId;
use parking_lot::Mutex;

use crate::session::connection::Session;
use crate::session::{Channel, Direction, RefusalKind, SessionError};

/// Refusals remembered.
const REFUSALS_MAX: usize = 256;

/// One peer, or one address that was given and where nobody has answered yet.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Who; `None` until somebody has proven it.
    pub node: Option<NodeId>,
    /// The address that is called, or where the peer says it listens, or where it called from.
    pub address: String,
    /// Its sessions.
    pub sessions: Vec<SessionStatus>,
    /// Why the last call of this address failed, if it did.
    pub last_refusal: Option<String>,
}

/// One open session.
#[derive(Debug, Clone)]
pub struct SessionStatus {
    /// What it carries.
    pub channel: Channel,
    /// Who called.
    pub direction: Direction,
    /// The other end of the TCP connection.
    pub address: SocketAddr,
    /// Version of the protocol agreed on.
    pub protocol_version: u32,
    /// When it opened.
    pub since: SystemTime,
    /// Time of a ping and its pong.
    pub rtt: Option<Duration>,
    /// How far the peer's clock was ahead when the session opened, milliseconds; negative behind.
    pub skew_ms: i64,
    /// Bytes of frames written.
    pub sent_bytes: u64,
    /// Bytes of frames read.
    pub received_bytes: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Frames that were forgotten or refused because too many waited.
    pub dropped_frames: u64,
    /// The last second of the certificate it began with, since 1970.
    pub certificate_not_after_s: u64,
}

impl SessionStatus {
    pub(crate) fn of(session: &Session) -> Self {
        let remote = &session.remote;
        Self {
            channel: remote.channel,
            direction: remote.direction,
            address: remote.address,
            protocol_version: remote.protocol_version,
            since: session.since,
            rtt: session.rtt(),
            skew_ms: remote.skew_ms,
            sent_bytes: session.sent_bytes(),
            received_bytes: session.received_bytes(),
            queued_bytes: session.queue.bytes(),
            dropped_frames: session.queue.dropped(),
            certificate_not_after_s: remote.certificate_not_after_s,
        }
    }
}

/// A session that did not open, or that one side ended: as it stands in the log.
#[derive(Debug, Clone)]
pub struct RefusalRecord {
    /// When.
    pub at: SystemTime,
    /// The other end.
    pub address: String,
    /// Who it said it was, if it did.
    pub node: Option<NodeId>,
    /// What happened, and what to do.
    pub error: SessionError,
}

/// The newest refusals, and how many there were of each kind.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    newest: VecDeque<RefusalRecord>,
    counts: BTreeMap<RefusalKind, u64>,
}

impl Refusals {
    pub(crate) fn record(&self, address: String, error: &SessionError) {
        let mut noted = self.0.lock();
        *noted.counts.entry(error.kind()).or_default() += 1;
        if noted.newest.len() >= REFUSALS_MAX {
            noted.newest.pop_front();
        }
        let (at, node) = (SystemTime::now(), error.node());
        noted.newest.push_back(RefusalRecord { at, address, node, error: error.clone() });
    }

    pub(crate) fn all(&self) -> Vec<RefusalRecord> {
        self.0.lock().newest.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<RefusalKind, u64> {
        self.0.lock().counts.clone()
    }
}

/// What became of each address that is called.
#[derive(Default)]
pub(crate) struct Calls(Mutex<BTreeMap<String, Call>>);

#[derive(Default, Clone)]
struct Call {
    node: Option<NodeId>,
    last_refusal: Option<String>,
}

impl Calls {
    pub(crate) fn answered(&self, address: &str, node: NodeId) {
        let call = Call { node: Some(node), last_refusal: None };
        self.0.lock().insert(address.to_owned(), call);
    }

    /// Whether the words are others than the last time: what is repeated need not be logged as loudly.
    pub(crate) fn failed(&self, address: &str, error: &SessionError) -> bool {
        let mut calls = self.0.lock();
        let call = calls.entry(address.to_owned()).or_default();
        let words = Some(error.to_string());
        let new = call.last_refusal != words;
        call.last_refusal = words;
        new
    }

    /// An address that turned out to be our own.
    pub(crate) fn forget(&self, address: &str) {
        self.0.lock().remove(address);
    }

    /// Peers with sessions, then addresses that lead to none of them.
    pub(crate) fn join(&self, sessions: &[std::sync::Arc<Session>]) -> Vec<PeerStatus> {
        let calls = self.0.lock().clone();
        let mut peers: BTreeMap<NodeId, PeerStatus> = BTreeMap::new();
        for session in sessions {
            let remote = &session.remote;
            let named =
                calls.iter().find(|(_, call)| call.node == Some(remote.node)).map(|(address, _)| address.clone());
            let peer = peers.entry(remote.node).or_insert_with(|| PeerStatus {
                node: Some(remote.node),
                address: named.unwrap_or_else(|| remote.listen.unwrap_or(remote.address).to_string()),
                sessions: Vec::new(),
                last_refusal: None,
            });
            peer.sessions.push(SessionStatus::of(session));
        }
        let silent = calls.into_iter().filter(|(_, call)| call.node.is_none_or(|node| !peers.contains_key(&node)));
        let silent: Vec<PeerStatus> = silent
            .map(|(address, Call { node, last_refusal })| PeerStatus {
                node,
                address,
                sessions: Vec::new(),
                last_refusal,
            })
            .collect();
        peers.into_values().chain(silent).collect()
    }
}
