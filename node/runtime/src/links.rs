//! What the runtime needs of the network: two channels to every peer, of which consensus is never behind bulk.

pub(crate) use bixi_network::Channel;
use bixi_network::Network;
use bixi_network::solitary::Solitary;
use bixi_types::NodeId;
use bixi_types::ports::{Destination, Transport as _};

/// The way to the peers. Delivery is not promised.
pub(crate) trait Links: Send + Sync {
    /// Queues a payload without blocking; returns how many peers' queues took it.
    fn send_on(&self, channel: Channel, to: Destination, payload: Vec<u8>) -> usize;

    /// Who is connected.
    fn peers(&self) -> Vec<NodeId>;

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
        let can_be_asked =
            |peer: &bixi_network::PeerStatus| peer.sessions.iter().any(|session| session.channel == Channel::Bulk);
        Self::peers(self).iter().filter(|peer| can_be_asked(peer)).filter_map(|peer| peer.node).collect()
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
