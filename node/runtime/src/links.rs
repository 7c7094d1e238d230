//! What the runtime needs of the network: two channels to every peer, of which consensus is never behind bulk.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use bixi_network::Channel;
use bixi_network::solitary::Solitary;
use bixi_network::{Network, PeerStatus, RefusalKind, pki};
use bixi_rpc::Peer;
use bixi_types::NodeId;
use bixi_types::ports::{Destination, Transport as _};

/// What metrics show of the network.
pub(crate) struct LinkFigures {
    pub peers: Vec<PeerStatus>,
    /// Sessions that did not open or were ended by a side.
    pub refused: BTreeMap<RefusalKind, u64>,
    /// Callers closed before a handshake.
    pub closed: BTreeMap<&'static str, u64>,
}

/// The way to the peers. Delivery is not promised.
pub(crate) trait Links: Send + Sync {
    /// Queues a payload without blocking; returns how many peers' queues took it.
    fn send_on(&self, channel: Channel, to: Destination, payload: Vec<u8>) -> usize;

    /// Who is connected.
    fn peers(&self) -> Vec<NodeId>;

    /// Everybody who is connected or called, as RPC shows it.
    fn neighbours(&self) -> Vec<Peer> {
        Vec::new()
    }

    /// What metrics show, where there is a network.
    fn figures(&self) -> Option<LinkFigures> {
        None
    }

    /// Whether there never is a peer.
    fn is_solitary(&self) -> bool {
        false
    }
}

impl Links for Network {
    fn send_on(&self, channel: Channel, to: Destination, payload: Vec<u8>) -> usize {
        Self::send_on(self, channel, to, payload)
    }

    fn peers(&self) -> Vec<NodeId> {
        let can_be_asked = |peer: &PeerStatus| peer.sessions.iter().any(|session| session.channel == Channel::Bulk);
        Self::peers(self).iter().filter(|peer| can_be_asked(peer)).filter_map(|peer| peer.node).collect()
    }

    fn neighbours(&self) -> Vec<Peer> {
        Self::peers(self).into_iter().map(shown).collect()
    }

    fn figures(&self) -> Option<LinkFigures> {
        Some(LinkFigures { peers: Self::peers(self), refused: self.refused(), closed: self.closed() })
    }
}

/// What people and metrics call a channel.
pub(crate) fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Consensus => "consensus",
        Channel::Bulk => "bulk",
    }
}

fn shown(peer: PeerStatus) -> Peer {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let end_s = peer.sessions.iter().map(|session| session.certificate_not_after_s).min();
    let rtt = peer.sessions.iter().filter_map(|session| session.rtt).min();
    Peer {
        id: peer.node,
        address: peer.address,
        sessions: peer.sessions.iter().map(|session| channel_name(session.channel)).collect(),
        rtt_us: rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
        certificate_days: end_s.map(|end_s| pki::days_left(end_s, now_s)),
        // Told over the bulk channel, and added where RPC asks.
        head: None,
        last_refusal: peer.last_refusal,
    }
}

impl Links for Solitary {
    fn send_on(&self, _: Channel, to: Destination, payload: Vec<u8>) -> usize {
        self.send(to, payload);
        0
    }

    fn peers(&self) -> Vec<NodeId> {
        Vec::new()
    }

    fn is_solitary(&self) -> bool {
        true
    }
}
