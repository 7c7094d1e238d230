//! Messages of heights whose validators are not known here yet: their sender's ledger is a commit ahead of ours.
//!
//! Votes are repeated, but a proposal is not; dropped, it costs its round. What waits here keeps its sender's claim on the queue of
//! messages, and each sender may have a few waiting, so nobody can fill memory or make another's message go.

use bixi_consensus::Message;

use crate::event::Arrived;

/// Heights above the decided one that are kept: who is further behind asks for decisions.
const HEIGHTS_MAX: u64 = 2;
/// Messages of one sender: a proposal and votes of two heights with a few rounds each.
const EACH_MAX: usize = 16;

/// The messages, in the order of their arrival.
#[derive(Default)]
pub(super) struct Early(Vec<Arrived<Box<Message>>>);

impl Early {
    /// Keeps a message of one of the next heights, unless its sender has enough of them waiting.
    pub(super) fn keep(&mut self, decided: u64, arrived: Arrived<Box<Message>>) {
        let is_near = arrived.what.height().is_some_and(|height| height <= decided + HEIGHTS_MAX);
        let of_sender = self.0.iter().filter(|kept| kept.from == arrived.from);
        let (count, is_here) =
            of_sender.fold((0, false), |(count, is_here), kept| (count + 1, is_here || kept.what == arrived.what));
        if is_near && !is_here && count < EACH_MAX {
            self.0.push(arrived);
        }
    }

    /// Everything, to be looked at again: the ledger has grown.
    pub(super) fn take(&mut self) -> Vec<Arrived<Box<Message>>> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use bixi_types::consensus::{SignatureBytes, SignedVote, Vote, VoteKind};
    use bixi_types::{H256, NodeId};

    use super::*;
    use crate::exchange::Quota;

    fn vote(from: u8, height: u64, round: u32) -> Arrived<Box<Message>> {
        let from = NodeId([from; 64]);
        let vote = Vote { chain: H256([1; 32]), kind: VoteKind::Prevote, height, round, value: None, validator: from };
        let message = Message::Vote(SignedVote { vote, signature: SignatureBytes([0; 64]) });
        let ticket = Quota::new(1).take(from, 1).expect("room");
        Arrived { from, what: Box::new(message), _ticket: ticket }
    }

    #[test]
    fn keeps_the_next_heights_once_each_and_gives_them_back_in_order() {
        let mut early = Early::default();
        for (height, round) in [(8, 0), (9, 0), (10, 0), (8, 0), (8, 1)] {
            early.keep(7, vote(1, height, round));
        }
        let places: Vec<_> = early.take().iter().map(|kept| kept.what.height()).collect();
        assert_eq!(places, [Some(8), Some(9), Some(8)]);
        assert!(early.take().is_empty());
    }

    #[test]
    fn a_flood_of_one_sender_leaves_room_for_others() {
        let mut early = Early::default();
        (0..1_000).for_each(|round| early.keep(7, vote(1, 8, round)));
        early.keep(7, vote(2, 8, 0));
        let kept = early.take();
        assert_eq!(kept.len(), EACH_MAX + 1);
        assert_eq!(kept.last().map(|last| last.from), Some(NodeId([2; 64])));
    }
}
