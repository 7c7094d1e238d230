//! Links between nodes of one process: a frame goes from the sender's thread straight to the receiver's door, unless the test loses it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bixi_types::NodeId;
use bixi_types::ports::Destination;
use parking_lot::Mutex;

use super::host::Peers;
use crate::exchange::Door;
use crate::links::{Channel, Links};

/// A frame on its way.
pub(super) struct Frame<'a> {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) channel: Channel,
    pub(super) payload: &'a [u8],
}

type Loses = dyn FnMut(&Frame<'_>) -> bool + Send;
type Forges = dyn FnMut(&Frame<'_>) -> Option<Vec<u8>> + Send;

/// Where all nodes of a chain meet.
#[derive(Default)]
pub(super) struct Hub {
    doors: Mutex<BTreeMap<NodeId, Arc<Door>>>,
    loses: Mutex<Option<Box<Loses>>>,
    forges: Mutex<Option<Box<Forges>>>,
    /// Who was charged, and for what.
    pub(super) charged: Mutex<Vec<(NodeId, String)>>,
}

struct Link {
    hub: Arc<Hub>,
    node: NodeId,
}

impl Hub {
    /// The links of one node.
    pub(super) fn peers(self: &Arc<Self>, node: NodeId) -> Peers {
        Peers(Arc::new(Link { hub: Arc::clone(self), node }))
    }

    /// Connects a node with everybody.
    pub(super) fn join(&self, node: NodeId, door: &Arc<Door>) {
        let others: Vec<_> = self.doors.lock().iter().map(|(id, door)| (*id, Arc::clone(door))).collect();
        self.doors.lock().insert(node, Arc::clone(door));
        for (id, other) in others {
            other.connected(node);
            door.connected(id);
        }
    }

    /// Ends all of a node's connections.
    pub(super) fn leave(&self, node: NodeId) {
        self.doors.lock().remove(&node);
        for door in self.doors.lock().values() {
            door.disconnected(node);
        }
    }

    /// From now on frames are lost for which `loses` says so.
    pub(super) fn lose(&self, loses: impl FnMut(&Frame<'_>) -> bool + Send + 'static) {
        *self.loses.lock() = Some(Box::new(loses));
    }

    /// From now on what `forges` gives arrives instead of what was sent.
    pub(super) fn forge(&self, forges: impl FnMut(&Frame<'_>) -> Option<Vec<u8>> + Send + 'static) {
        *self.forges.lock() = Some(Box::new(forges));
    }
}

impl Links for Link {
    fn send_on(&self, channel: Channel, to: Destination, payload: Vec<u8>) -> usize {
        let wanted = |id: &NodeId| match to {
            Destination::Broadcast => *id != self.node,
            Destination::Node(node) => *id == node,
        };
        let doors: Vec<_> = {
            let doors = self.hub.doors.lock();
            // Who left hears and says nothing.
            let joined = doors.contains_key(&self.node);
            doors.iter().filter(|(id, _)| joined && wanted(id)).map(|(id, door)| (*id, Arc::clone(door))).collect()
        };
        for (id, door) in &doors {
            let frame = Frame { from: self.node, to: *id, channel, payload: &payload };
            if self.hub.loses.lock().as_mut().is_some_and(|loses| loses(&frame)) {
                continue;
            }
            let forged = self.hub.forges.lock().as_mut().and_then(|forges| forges(&frame));
            if let Err(offence) = door.received(self.node, channel, forged.as_deref().unwrap_or(&payload)) {
                self.hub.charged.lock().push((self.node, offence));
            }
        }
        doors.len()
    }

    fn peers(&self) -> Vec<NodeId> {
        self.hub.doors.lock().keys().filter(|id| **id != self.node).copied().collect()
    }
}
