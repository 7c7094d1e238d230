//! Joining by a snapshot over the hub: beside a chain that goes on, through stops, past liars.

mod adoption;
mod liars;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use bixi_consensus::{Message, Mode};
use bixi_ledger::LedgerError;
use bixi_ledger::snapshot::Places;
use bixi_types::H256;
use parking_lot::Mutex;

use super::four::Group;
use super::host::wait_until;
use super::hub::Frame;
use super::*;
use crate::batches::tests::user_add_until;
use crate::exchange::Exchange;
use crate::links::Channel;
use crate::snapshot::{Message as Snapshot, Wanted};

/// Blocks in which a nonce counts: older ones do not come along.
const BLOCK_LIMIT: u32 = 20;
/// Heights of the chain before anybody joins.
const HEIGHTS: u64 = 45;

/// A chain of four that is long already; the others of the group are down, and join by snapshot only.
struct Long {
    group: Group,
    names: usize,
}

impl Long {
    fn new(observers: u64) -> Self {
        let mut group = Group::new(4, observers);
        for (place, host) in group.hosts.iter_mut().enumerate() {
            host.genesis.block_limit = BLOCK_LIMIT;
            host.renew_guard();
            host.snapshot_after_blocks = if place < 4 { 0 } else { 20 };
        }
        Self { group, names: 0 }
    }

    fn of_four(observers: u64) -> Self {
        let mut long = Self::new(observers);
        (0..4).for_each(|place| long.group.start(place));
        long.grow_to(HEIGHTS);
        long
    }

    /// With a fifth that was there at the beginning, and how high its ledger is; a sixth was never there.
    fn of_five() -> (Self, u64) {
        let mut long = Self::new(2);
        (0..5).for_each(|place| long.group.start(place));
        let early = long.commit(0, 8);
        long.agree(&early);
        let own = Arc::clone(&long.group.node(4).ledger);
        long.group.stop(4);
        long.grow_to(HEIGHTS);
        (long, own.height())
    }

    /// Commits until the chain is so long, and everybody has it: they offer one snapshot.
    fn grow_to(&mut self, height: u64) {
        while self.group.node(0).ledger.height() < height {
            self.commit(0, 4);
        }
        let head = || self.group.node(0).ledger.head();
        wait_until("everybody is as far", || self.group.up().all(|node| node.ledger.head() == head()));
    }

    fn commit(&mut self, place: usize, count: usize) -> Vec<Verified> {
        // One far behind would take for expired what is not.
        let height = self.group.up().map(|node| node.ledger.height()).max().expect("one runs");
        let limit = height as i64 + i64::from(BLOCK_LIMIT) - 5;
        let names = self.names..self.names + count;
        self.names += count;
        self.group.commit(place, names.map(|name| user_add_until(&format!("{name}"), limit)))
    }

    fn id(&self, place: usize) -> NodeId {
        self.group.hosts[place].node()
    }

    /// Waits until the node has fetched a snapshot and ended for it; returns its height.
    fn fetched(&mut self, place: usize) -> u64 {
        let node = self.group.running[place].take().expect("it runs");
        wait_until("a snapshot was fetched", || node.threads.consensus.is_finished());
        self.group.hub.leave(self.id(place));
        match node.stop() {
            Some(Fault::Joined { height }) => height,
            other => panic!("{other:?} instead of a snapshot"),
        }
    }

    /// Waits until everybody has the same chain; every header of it is everywhere, and the same.
    fn agree(&self, transactions: &[Verified]) {
        let has_all =
            |node: &host::Running| transactions.iter().all(|one| node.ledger.transaction(&one.hash).unwrap().is_some());
        wait_until("every node has every transaction", || self.group.up().all(has_all));
        let shortest = self.group.up().map(|node| node.ledger.height()).min().expect("one runs");
        let mut chains = self.group.up().map(|node| hashes(&node.ledger)[..=shortest as usize].to_vec());
        let first = chains.next().expect("one runs");
        assert!(chains.all(|chain| chain == first), "the nodes' chains differ");
    }
}

fn is_snapshot(frame: &Frame<'_>) -> Option<Snapshot> {
    match (frame.channel, Exchange::decode(frame.payload)) {
        (Channel::Bulk, Ok(Exchange::Snapshot(message))) => Some(message),
        _ => None,
    }
}

/// Whether a node could repeat the chain block by block with this.
fn replays(frame: &Frame<'_>) -> bool {
    match frame.channel {
        Channel::Consensus => matches!(Message::decode(frame.payload), Ok(Message::Decided { .. })),
        Channel::Bulk => match Exchange::decode(frame.payload) {
            Ok(Exchange::Batch(_)) => true,
            Ok(Exchange::Heights(heights)) => heights.proofs.iter().any(|proof| proof.decision.is_some()),
            _ => false,
        },
    }
}

#[test]
fn a_fifth_joins_by_snapshot_while_the_chain_goes_on_and_stops_in_the_middle() {
    let (mut long, own) = Long::of_five();
    let joining = long.id(4);
    let given = Arc::new(AtomicUsize::new(0));
    let allowed = Arc::new(AtomicUsize::new(7));
    let asked: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    let (counted, quota, heights) = (Arc::clone(&given), Arc::clone(&allowed), Arc::clone(&asked));
    long.group.hub.lose(move |frame| match is_snapshot(frame) {
        Some(Snapshot::Block { .. }) => counted.fetch_add(1, Ordering::SeqCst) >= quota.load(Ordering::SeqCst),
        Some(Snapshot::Want(Wanted::Block { height, .. })) => {
            heights.lock().insert(height);
            false
        }
        Some(_) => false,
        None => frame.to == joining && replays(frame),
    });
    long.group.start(4);
    wait_until("some blocks were given", || given.load(Ordering::SeqCst) > 7);
    long.commit(1, 4);
    long.group.stop(4);
    assert!(long.group.hosts[4].path("ledger.joining").exists(), "what was fetched stays");
    assert!(!long.group.hosts[4].path("ledger.joined").exists());

    allowed.store(usize::MAX, Ordering::SeqCst);
    asked.lock().clear();
    long.group.start(4);
    long.commit(2, 4);
    let height = long.fetched(4);
    assert!(height >= HEIGHTS, "{height}");
    let again = asked.lock().len();
    assert!(again < BLOCK_LIMIT as usize, "{again} blocks were asked for, and some were there");

    // It starts on the snapshot, follows from there, and its clients are served.
    long.group.hub.lose(|_| false);
    long.group.start(4);
    let node = long.group.node(4);
    assert!(node.ledger.height() >= height);
    let history = node.ledger.history().expect("it began with a snapshot");
    assert_eq!((history.joined, history.first_block), (height, height + 1 - u64::from(BLOCK_LIMIT)));
    // What it had is there, and what nobody gave it is refused by name.
    for number in 1..=own {
        let theirs = &long.group.node(0).ledger;
        // Each has its own three of the four signatures.
        let transactions = |ledger: &Ledger| ledger.block(number).unwrap().expect("committed").transactions;
        assert!(transactions(&node.ledger) == transactions(theirs), "block {number}");
        assert!(node.ledger.receipts(number).unwrap() == theirs.receipts(number).unwrap(), "receipts of {number}");
    }
    assert!(matches!(node.ledger.block(own + 1), Err(LedgerError::NoHistory { .. })));
    assert!(matches!(node.ledger.receipts(height), Err(LedgerError::NoHistory { .. })));
    let mut transactions = long.commit(4, 4);
    transactions.extend(long.commit(0, 4));
    long.agree(&transactions);
    let counts = |place: usize| long.group.node(place).ledger.counts();
    assert_eq!(counts(4), counts(0));
    assert_eq!(*long.group.hub.charged.lock(), []);
    assert!(!long.group.hosts[4].path("ledger.joining").exists());
    long.group.stop_all();
}

#[test]
fn a_validator_that_joined_by_snapshot_votes_above_it_only() {
    let mut long = Long::new(0);
    (0..3).for_each(|place| long.group.start(place));
    long.grow_to(HEIGHTS);
    long.group.hosts[3].snapshot_after_blocks = 20;
    let joining = long.id(3);
    long.group.hub.lose(move |frame| frame.to == joining && replays(frame));
    long.group.start(3);
    let height = long.fetched(3);
    let (_, signed) = long.group.hosts[3].signer().unwrap();
    assert_eq!(signed, [], "nothing was signed while the snapshot was fetched");
    long.group.hub.lose(|_| false);
    long.group.start(3);
    wait_until("it votes", || long.group.node(3).view.consensus().mode == Mode::Voting);
    // With another one down it is needed for a quorum.
    long.group.stop(1);
    let transactions = long.commit(0, 8);
    long.agree(&transactions);
    long.group.stop(3);
    let (_, signed) = long.group.hosts[3].signer().unwrap();
    let lowest = signed.iter().map(|position| match position {
        bixi_hsm::guard::Position::Ordering { height, .. } | bixi_hsm::guard::Position::Checkpoint { height } => {
            *height
        }
    });
    assert!(lowest.min().expect("it signed") > height, "{signed:?} at or below {height}");
    long.group.stop_all();
}

#[test]
fn a_peer_that_does_not_answer_and_one_that_does_not_stop_are_passed_over() {
    let mut long = Long::of_four(2);
    let silent = long.id(1);
    for place in [4, 5] {
        let joining = long.id(place);
        long.group.hub.lose(move |frame| {
            let is_part = matches!(is_snapshot(frame), Some(Snapshot::Chunk { .. } | Snapshot::Block { .. }));
            (frame.to == joining && replays(frame)) || (place == 4 && is_part && frame.from == silent)
        });
        long.group.start(place);
        if place == 5 {
            let door = Arc::clone(&long.group.node(5).door);
            let stream =
                Exchange::Snapshot(Snapshot::Chunk { snapshot: H256([1; 32]), index: 0, bytes: vec![1; 1 << 20] });
            // Nobody asked for these; they are bounded at the door and dropped behind it.
            for _ in 0..64 {
                door.received(silent, Channel::Bulk, &stream.encode()).unwrap();
            }
        }
        long.fetched(place);
        assert_eq!(*long.group.hub.charged.lock(), [], "being slow is no offence");
    }
    long.group.stop_all();
}

#[test]
fn whoever_offers_the_same_snapshot_late_gives_what_the_first_does_not() {
    let mut long = Long::of_four(1);
    let (first, late, joining) = (long.id(1), long.id(2), long.id(4));
    let offer: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let given = Arc::new(AtomicUsize::new(0));
    let (seen, counted) = (Arc::clone(&offer), Arc::clone(&given));
    long.group.hub.lose(move |frame| match is_snapshot(frame) {
        Some(Snapshot::Manifest(_)) if frame.from == first => {
            *seen.lock() = Some(frame.payload.to_vec());
            false
        }
        Some(Snapshot::Manifest(_)) => true,
        // One answer, then nothing.
        Some(Snapshot::Chunk { .. } | Snapshot::Block { .. }) if frame.from == first => {
            counted.fetch_add(1, Ordering::SeqCst) > 0
        }
        Some(_) => false,
        None => frame.to == joining && replays(frame),
    });
    long.group.start(4);
    wait_until("the first has given something", || given.load(Ordering::SeqCst) > 0);
    let offer = offer.lock().take().expect("an offer came before");
    long.group.node(4).door.received(late, Channel::Bulk, &offer).unwrap();
    let height = long.fetched(4);
    assert_eq!(Some(height), long.group.node(0).ledger.head().map(|(height, _)| height));
    assert_eq!(*long.group.hub.charged.lock(), []);
    long.group.stop_all();
}

#[test]
fn a_finished_snapshot_that_was_left_unpublished_is_given_the_past_and_taken_without_asking_anybody() {
    let (mut long, own) = Long::of_five();
    // What another one fetched, who has no past, is what this one had when it stopped after the last check.
    let (joining, other) = (4, 5);
    let to = [long.id(joining), long.id(other)];
    long.group.hub.lose(move |frame| to.contains(&frame.to) && replays(frame));
    long.group.start(other);
    let height = long.fetched(other);
    let places = Places::around(&long.group.hosts[joining].ledger_params().dir);
    copy(&long.group.hosts[other].path("ledger.joined"), &places.joining);
    long.group.hub.lose(move |frame| is_snapshot(frame).is_some() || (to.contains(&frame.to) && replays(frame)));
    long.group.start(joining);
    assert_eq!(long.fetched(joining), height);
    assert!(!places.joining.exists());
    let params = bixi_ledger::Params { dir: places.joined, ..long.group.hosts[joining].ledger_params() };
    let joined = Ledger::open(params).unwrap();
    for number in 1..=own {
        let theirs = &long.group.node(0).ledger;
        assert!(joined.receipts(number).unwrap() == theirs.receipts(number).unwrap(), "receipts of {number}");
    }
    long.group.stop_all();
}

#[test]
fn a_snapshot_that_does_not_fit_the_disk_is_left_until_it_does() {
    let mut long = Long::of_four(1);
    let joining = long.id(4);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    long.group.hub.lose(move |frame| {
        if frame.from == joining && matches!(is_snapshot(frame), Some(Snapshot::Want(Wanted::Manifest))) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        frame.to == joining && replays(frame)
    });
    let free_bytes = Arc::clone(&long.group.hosts[4].free_bytes);
    free_bytes.store(1, Ordering::SeqCst);
    long.group.start(4);
    let looks = Arc::clone(&long.group.hosts[4].free_looks);
    wait_until("it has tried twice", || looks.load(Ordering::SeqCst) >= 2);
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody reads a state for what cannot be kept");
    assert!(!long.group.hosts[4].path("ledger.joining").exists());
    free_bytes.store(u64::MAX, Ordering::SeqCst);
    long.fetched(4);
    long.group.stop_all();
}
