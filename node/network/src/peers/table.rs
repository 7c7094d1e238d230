//! Who is connected: at most one session for each peer and channel.
//!
//! When both sides call at once two connections come to stand; both sides keep the one that the smaller node id called. Between
//! two of the same direction the younger one counts, and so it does when the peer has started anew: what its last run left behind
//! may look alive for a while.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bixi_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::session::connection::Session;
use crate::session::{Channel, Direction, Reason, Refusal, Remote};

/// A peer has both sessions, or no longer. In the order in which it happened, for each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Connected(NodeId),
    Disconnected(NodeId),
}

pub(crate) struct Table {
    own: NodeId,
    sessions_max: usize,
    peers: Mutex<Peers>,
    /// Changes with every session that comes or goes.
    changes: watch::Sender<u64>,
    events: mpsc::UnboundedSender<Event>,
}

#[derive(Default)]
struct Peers {
    by_node: BTreeMap<NodeId, Peer>,
    /// Nobody is entered any more.
    closed: bool,
}

#[derive(Default)]
struct Peer {
    consensus: Option<Arc<Session>>,
    bulk: Option<Arc<Session>>,
    /// Whether the layers above know it as connected.
    announced: bool,
}

impl Peer {
    fn session(&mut self, channel: Channel) -> &mut Option<Arc<Session>> {
        match channel {
            Channel::Consensus => &mut self.consensus,
            Channel::Bulk => &mut self.bulk,
        }
    }

    fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.consensus.iter().chain(&self.bulk)
    }
}

impl Peers {
    fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.by_node.values().flat_map(Peer::sessions)
    }
}

impl Table {
    /// An empty table, and the end where its events come out.
    pub(crate) fn new(own: NodeId, sessions_max: usize) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, out) = mpsc::unbounded_channel();
        (Self { own, sessions_max, peers: Mutex::default(), changes: watch::channel(0).0, events }, out)
    }

    /// Whether such a session could be entered now.
    pub(crate) fn judge(&self, remote: &Remote) -> Result<(), Refusal> {
        self.judge_among(&mut self.peers.lock(), remote)
    }

    fn judge_among(&self, peers: &mut Peers, remote: &Remote) -> Result<(), Refusal> {
        if peers.closed {
            return Err(Refusal::new(Reason::Stopping, "the node stops"));
        }
        let standing = peers.by_node.get_mut(&remote.node).and_then(|peer| peer.session(remote.channel).clone());
        match standing.filter(|session| !session.has_ended()) {
            Some(standing) if !self.replaces(remote, &standing.remote) => {
                let detail = format!("{:?} to {:.16} stands already", remote.channel, remote.node.to_hex());
                Err(Refusal::new(Reason::Duplicate, detail))
            }
            Some(_) => Ok(()),
            None if peers.sessions().count() >= self.sessions_max => {
                Err(Refusal::new(Reason::Full, format!("{} sessions are open", self.sessions_max)))
            }
            None => Ok(()),
        }
    }

    fn replaces(&self, new: &Remote, standing: &Remote) -> bool {
        let of_the_smaller = if self.own < new.node { Direction::Outbound } else { Direction::Inbound };
        new.instance != standing.instance || new.direction == standing.direction || new.direction == of_the_smaller
    }

    /// Enters a session; the one it replaces hands over what waits and ends.
    pub(crate) fn enter(&self, session: &Arc<Session>) -> Result<(), Refusal> {
        let mut peers = self.peers.lock();
        self.judge_among(&mut peers, &session.remote)?;
        let peer = peers.by_node.entry(session.remote.node).or_default();
        if let Some(replaced) = peer.session(session.channel()).replace(Arc::clone(session)) {
            replaced.queue.close(Some(&session.queue));
            replaced.refuse(Refusal::new(Reason::Duplicate, "another connection replaces this one"));
        }
        if peer.sessions().count() == Channel::ALL.len() && !peer.announced {
            peer.announced = true;
            let _ = self.events.send(Event::Connected(session.remote.node));
        }
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Takes a session out, unless another one replaced it.
    pub(crate) fn leave(&self, session: &Arc<Session>) {
        session.queue.close(None);
        let mut peers = self.peers.lock();
        let node = session.remote.node;
        let Some(peer) = peers.by_node.get_mut(&node) else { return };
        let place = peer.session(session.channel());
        if place.take_if(|standing| Arc::ptr_eq(standing, session)).is_none() {
            return;
        }
        if std::mem::take(&mut peer.announced) {
            let _ = self.events.send(Event::Disconnected(node));
        }
        if peer.sessions().next().is_none() {
            peers.by_node.remove(&node);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// The open sessions of one channel, of one peer or of all.
    pub(crate) fn on(&self, channel: Channel, to: Option<&NodeId>) -> Vec<Arc<Session>> {
        let mut peers = self.peers.lock();
        let of = |peer: &mut Peer| peer.session(channel).clone().filter(|session| !session.has_ended());
        match to {
            Some(node) => {
                let session = peers.by_node.get_mut(node).and_then(of);
                session.into_iter().collect()
            }
            None => peers.by_node.values_mut().filter_map(of).collect(),
        }
    }

    /// Every session, peer by peer.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.peers.lock().sessions().cloned().collect()
    }

    /// Enters nobody from now on; those who are in.
    pub(crate) fn close(&self) -> Vec<Arc<Session>> {
        let mut peers = self.peers.lock();
        peers.closed = true;
        peers.sessions().cloned().collect()
    }

    /// Channels on which a peer is not connected; both of an unknown one. Bulk first: once both stand, the layers above may ask
    /// for blocks at the first vote.
    pub(crate) fn missing(&self, node: Option<&NodeId>) -> Vec<Channel> {
        let stands = |channel| node.is_some_and(|node| !self.on(channel, Some(node)).is_empty());
        [Channel::Bulk, Channel::Consensus].into_iter().filter(|channel| !stands(*channel)).collect()
    }

    /// Tells of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
