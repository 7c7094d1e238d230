//! What the runtime needs of the network: two channels to every peer, of which consensus is never behind bulk.

use bixi_network::solitary::Solitary;
use bixi_types::NodeId;
use bixi_types::ports::{Destination, Transport as _};

/// The two connections of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Consensus messages.
    Consensus,
    /// Batches, and requests for them.
    Bulk,
}

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
