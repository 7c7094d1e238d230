//! How much of a queue each peer may hold.

use std::collections::HashMap;
use std::sync::Arc;

use bixi_types::NodeId;
use parking_lot::Mutex;

/// A bound for each peer, in whatever unit its user counts.
#[derive(Debug)]
pub(crate) struct Quota {
    max: usize,
    held: Mutex<HashMap<NodeId, usize>>,
}

/// A peer's claim on a queue; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    quota: Arc<Quota>,
    peer: NodeId,
    amount: usize,
}

impl Quota {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, held: Mutex::default() })
    }

    /// `None` when the peer would hold more than its bound. Whoever holds nothing may hold one thing, whatever its size.
    pub(crate) fn take(self: &Arc<Self>, peer: NodeId, amount: usize) -> Option<Ticket> {
        let mut held = self.held.lock();
        let now = held.get(&peer).copied().unwrap_or(0);
        if now > 0 && now + amount > self.max {
            return None;
        }
        held.insert(peer, now + amount);
        Some(Ticket { quota: Arc::clone(self), peer, amount })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut held = self.quota.held.lock();
        if let Some(now) = held.get_mut(&self.peer) {
            *now -= self.amount;
            if *now == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_bound_and_gets_it_back() {
        let quota = Quota::new(10);
        let (one, other) = (NodeId([1; 64]), NodeId([2; 64]));
        let first = quota.take(one, 6).expect("room");
        assert!(quota.take(one, 5).is_none());
        let second = quota.take(one, 4).expect("exactly full");
        assert!(quota.take(other, 10).is_some());
        drop(first);
        assert!(quota.take(one, 6).is_some());
        drop(second);
        assert!(quota.held.lock().is_empty());
        assert!(quota.take(one, 11).is_some(), "one thing of any size");
    }
}
