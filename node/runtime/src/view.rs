//! What the other threads may know of consensus, kept current by the consensus thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bixi_consensus::{Status, certificate};
use bixi_rpc::Head;
use bixi_types::NodeId;
use bixi_types::consensus::ValidatorSet;
use parking_lot::RwLock;

/// Peers whose heads are kept, connected or not.
const HEADS_MAX: usize = 1_024;

/// A snapshot for RPC, health, metrics and the builder of blocks.
pub(crate) struct View {
    consensus: RwLock<Status>,
    proposer: RwLock<NodeId>,
    block_transactions_max: AtomicUsize,
    decided: AtomicU64,
    rounds: AtomicU64,
    failed_rounds: AtomicU64,
    validators: RwLock<ValidatorSet>,
    told: RwLock<BTreeMap<NodeId, Told>>,
}

/// How far a peer is by its own word.
#[derive(Default)]
struct Told {
    /// Of its ledger.
    head: Option<Head>,
    /// Of what it knows to be certified.
    certified: u64,
}

impl Told {
    fn height(&self) -> u64 {
        self.head.map_or(0, |head| head.number).max(self.certified)
    }
}

impl View {
    pub(crate) fn new(status: Status, block_transactions_max: usize) -> Self {
        Self {
            consensus: RwLock::new(status),
            proposer: RwLock::new(NodeId::ZERO),
            block_transactions_max: AtomicUsize::new(block_transactions_max),
            decided: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            failed_rounds: AtomicU64::new(0),
            validators: RwLock::default(),
            told: RwLock::default(),
        }
    }

    /// A peer told how far its ledger reaches. When too many have, those that are `gone` are forgotten.
    pub(crate) fn set_head(&self, peer: NodeId, head: Head, gone: impl Fn(&NodeId) -> bool) {
        self.tell(peer, gone, |told| told.head = Some(head));
    }

    /// A peer told how far the chain is certified to its knowledge.
    pub(crate) fn set_certified(&self, peer: NodeId, height: u64, gone: impl Fn(&NodeId) -> bool) {
        self.tell(peer, gone, |told| told.certified = height);
    }

    fn tell(&self, peer: NodeId, gone: impl Fn(&NodeId) -> bool, change: impl FnOnce(&mut Told)) {
        let mut told = self.told.write();
        if told.len() >= HEADS_MAX {
            told.retain(|known, _| !gone(known));
        }
        change(told.entry(peer).or_default());
    }

    /// How far a peer's ledger reaches, by its own word.
    pub(crate) fn head_of(&self, peer: &NodeId) -> Option<Head> {
        self.told.read().get(peer).and_then(|told| told.head)
    }

    /// The validators last known.
    pub(crate) fn set_validators(&self, validators: ValidatorSet) {
        *self.validators.write() = validators;
    }

    /// The height that the chain has for certain: of those that validators among `peers` told, the highest that validators with more
    /// than one third of the weight reach, so that an honest one is among them. `None` while fewer have told.
    pub(crate) fn believed_head(&self, peers: &[NodeId]) -> Option<u64> {
        let (validators, told) = (self.validators.read(), self.told.read());
        let members = peers.iter().filter(|peer| validators.index_of(peer).is_some());
        let mut heights: Vec<(u64, &NodeId)> =
            members.filter_map(|peer| Some((told.get(peer)?.height(), peer))).collect();
        heights.sort_unstable_by(|one, other| other.cmp(one));
        heights.dedup_by_key(|(_, peer)| **peer);
        let counts: Vec<usize> = (1..=heights.len()).collect();
        let is_too_light =
            |count: &usize| certificate::honest(&validators, heights[..*count].iter().map(|(_, peer)| *peer)).is_err();
        heights.get(counts.partition_point(is_too_light)).map(|(height, _)| *height)
    }

    /// What is shown as the chain's height: the one that is believed, or where too few validators have told, the highest that anybody
    /// did.
    pub(crate) fn known_head(&self, peers: &[NodeId]) -> Option<u64> {
        self.believed_head(peers).or_else(|| {
            let told = self.told.read();
            peers.iter().filter_map(|peer| told.get(peer).map(Told::height)).max()
        })
    }

    pub(crate) fn set_consensus(&self, status: Status) {
        *self.consensus.write() = status;
    }

    pub(crate) fn consensus(&self) -> Status {
        self.consensus.read().clone()
    }

    /// A height is decided, durably, and its batches are told of it. Until then they still stand in a value of it, though consensus
    /// may be at the next height already.
    pub(crate) fn set_decided(&self, height: u64) {
        self.decided.store(height, Ordering::Relaxed);
    }

    /// The height above the last one decided durably.
    pub(crate) fn undecided(&self) -> u64 {
        self.decided.load(Ordering::Relaxed) + 1
    }

    /// A round began; one above 0 because the one before decided nothing.
    pub(crate) fn set_round(&self, round: u32, proposer: NodeId) {
        *self.proposer.write() = proposer;
        self.rounds.fetch_add(1, Ordering::Relaxed);
        if round > 0 {
            self.failed_rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rounds begun since the start, and how many of them because the one before decided nothing.
    pub(crate) fn rounds(&self) -> (u64, u64) {
        (self.rounds.load(Ordering::Relaxed), self.failed_rounds.load(Ordering::Relaxed))
    }

    /// Proposer of the round under way.
    pub(crate) fn proposer(&self) -> NodeId {
        *self.proposer.read()
    }

    /// Configuration's bound on the transactions of one block.
    pub(crate) fn block_transactions_max(&self) -> usize {
        self.block_transactions_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_block_transactions_max(&self, count: usize) {
        self.block_transactions_max.store(count.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bixi_types::H256;
    use bixi_types::consensus::Validator;

    use super::*;

    fn view(weights: &[u64]) -> View {
        let status = bixi_consensus::Core::new(bixi_consensus::Params::new(
            NodeId([9; 64]),
            H256::ZERO,
            bixi_types::CryptoSuite::Sm,
            4,
        ))
        .status();
        let view = View::new(status, 1);
        let member = |(place, weight): (usize, &u64)| Validator { id: node(place), weight: *weight };
        view.set_validators(ValidatorSet::new(weights.iter().enumerate().map(member).collect()));
        view
    }

    fn node(place: usize) -> NodeId {
        NodeId([place as u8; 64])
    }

    fn tell(view: &View, heights: &[(usize, u64)]) {
        for (place, number) in heights {
            view.set_head(node(*place), Head { number: *number, hash: H256::ZERO }, |_| false);
        }
    }

    #[test]
    fn a_height_is_believed_when_an_honest_validator_must_have_told_it() {
        let all: Vec<NodeId> = (0..6).map(node).collect();
        let view = view(&[1, 1, 1, 1]);
        assert_eq!(view.believed_head(&all), None);
        // Two of four, of which one may lie: what the lower of them says.
        tell(&view, &[(0, 1_000_000)]);
        assert_eq!(view.believed_head(&all), None);
        tell(&view, &[(1, 50)]);
        assert_eq!(view.believed_head(&all), Some(50));
        tell(&view, &[(2, 70), (3, 60)]);
        assert_eq!(view.believed_head(&all), Some(70));
        assert_eq!(view.believed_head(&all[1..]), Some(60), "who is not connected does not count");
        assert_eq!(view.believed_head(&[node(0), node(0)]), None, "nobody counts twice");
        // Whoever is no validator counts nothing, however many they are.
        tell(&view, &[(4, 9_000), (5, 9_000)]);
        assert_eq!(view.believed_head(&all), Some(70));
        // What consensus says counts like what the ledger says.
        view.set_certified(node(2), 80, |_| false);
        assert_eq!(view.believed_head(&all), Some(80));
        assert_eq!(view.head_of(&node(2)).map(|head| head.number), Some(70));
    }

    #[test]
    fn heads_count_by_weight() {
        let all: Vec<NodeId> = (0..4).map(node).collect();
        let view = view(&[1, 1, 1, 6]);
        tell(&view, &[(0, 300), (1, 200), (2, 100)]);
        assert_eq!(view.believed_head(&all), None, "three of nine");
        tell(&view, &[(3, 50)]);
        assert_eq!(view.believed_head(&all), Some(50));
        tell(&view, &[(3, 400)]);
        assert_eq!(view.believed_head(&all), Some(400), "six of nine");
    }

    #[test]
    fn where_too_few_told_the_highest_is_shown() {
        let all: Vec<NodeId> = (0..6).map(node).collect();
        let view = view(&[1, 1, 1, 1]);
        assert_eq!(view.known_head(&all), None);
        tell(&view, &[(4, 500), (0, 90)]);
        assert_eq!((view.believed_head(&all), view.known_head(&all)), (None, Some(500)));
        tell(&view, &[(1, 80)]);
        assert_eq!(view.known_head(&all), Some(80));
    }
}
