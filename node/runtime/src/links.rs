//! What the runtime needs of the network: two channels to every peer, of which consensus is never behind bulk.

pub(crate) use bixi_network::Channel;
use bixi_network::solitary::Solitary;
use bixi_network::{Network, PeerStatus};
use bixi_rpc::Peer;
use bixi_types::NodeId;
use bixi_types::ports::{Destination, Transport as _};

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
}

fn shown(peer: PeerStatus) -> Peer {
    let name = |channel| match channel {
        Channel::Consensus => "consensus",
        Channel::Bulk => "bulk",
    };
    let rtt = peer.sessions.iter().filter_map(|session| session.rtt).min();
    Peer {
        id: peer.node,
        address: peer.address,
        sessions: peer.sessions.iter().map(|session| name(session.channel)).collect(),
        rtt_us: rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
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
