//! Several nodes in one process, each over its own files and key, joined by a hub.

use std::collections::HashSet;

use bixi_consensus::{Message, Mode};
use bixi_types::consensus::{SignatureBytes, SignedVote, Vote, VoteKind};
use bixi_types::limits::HEIGHTS_MAX;
use bixi_types::ports::Destination;
use bixi_types::transaction::Verified;
use bixi_types::{CryptoSuite, NodeId};

use super::host::{Host, Peers, Running, wait_until};
use super::hub::Hub;
use super::*;
use crate::batches::tests::{names, user_add};
use crate::exchange::{Exchange, HeightRange, Heights};
use crate::links::Channel;
use crate::snapshot::JoinEvent;

/// A chain of several nodes; one may be down.
pub(super) struct Group {
    pub(super) hub: Arc<Hub>,
    pub(super) hosts: Vec<Host>,
    pub(super) running: Vec<Option<Running>>,
}

impl Group {
    /// All nodes down, on empty disks.
    pub(super) fn new(validators: u64, observers: u64) -> Self {
        Self::of_hosts(Host::group(validators, observers))
    }

    pub(super) fn of_hosts(hosts: Vec<Host>) -> Self {
        let running = hosts.iter().map(|_| None).collect();
        Self { hub: Arc::default(), hosts, running }
    }

    /// All of four validators at work.
    pub(super) fn of_four() -> Self {
        let mut group = Self::new(4, 0);
        (0..4).for_each(|place| group.start(place));
        group
    }

    pub(super) fn start(&mut self, place: usize) {
        let (host, node) = (&self.hosts[place], self.hosts[place].node());
        let running = host.start_among(self.hub.peers(node)).expect("starts");
        self.hub.join(node, &running.door);
        self.running[place] = Some(running);
    }

    pub(super) fn stop(&mut self, place: usize) {
        let running = self.running[place].take().expect("it runs");
        self.hub.leave(self.hosts[place].node());
        assert_eq!(running.stop(), None, "node {place}");
    }

    pub(super) fn node(&self, place: usize) -> &Running {
        self.running[place].as_ref().expect("it runs")
    }

    pub(super) fn up(&self) -> impl Iterator<Item = &Running> {
        self.running.iter().flatten()
    }

    /// Sends all to one node and waits until each is final.
    pub(super) fn commit(&self, place: usize, transactions: impl Iterator<Item = Verified>) -> Vec<Verified> {
        commit_all(self.node(place), transactions)
    }

    /// Waits until every node that runs has these transactions, then compares their chains.
    pub(super) fn agree(&self, transactions: &[Verified]) {
        let has_all = |node: &Running| {
            let known = |transaction: &Verified| node.ledger.transaction(&transaction.hash).unwrap().is_some();
            transactions.iter().all(known)
        };
        wait_until("every node has every transaction", || self.up().all(has_all));
        let shortest = self.up().map(|node| node.ledger.height()).min().expect("one runs");
        let mut chains = self.up().map(|node| {
            let block = |height| node.ledger.block(height).unwrap().expect("committed");
            let headers = (1..=shortest).map(block).map(|block| (block.header.state_root, block.transactions));
            (hashes(&node.ledger)[..=shortest as usize].to_vec(), headers.collect::<Vec<_>>())
        });
        let first = chains.next().expect("one runs");
        assert!(chains.all(|chain| chain == first), "the nodes' chains differ");
    }

    /// Waits until everybody who runs knows the head of everybody else.
    fn know_each_others_heads(&self) {
        let places = || (0..self.hosts.len()).filter(|place| self.running[*place].is_some());
        let knows = |(knower, known): (usize, usize)| {
            let told = self.node(knower).view.head_of(&self.hosts[known].node());
            told.map(|head| (head.number, head.hash)) == self.node(known).ledger.head()
        };
        let pairs =
            || places().flat_map(|one| places().filter(move |other| *other != one).map(move |other| (one, other)));
        wait_until("everybody knows everybody's head", || pairs().all(knows));
    }

    /// How often transactions stand in the chain of a node.
    fn counts(&self, place: usize) -> u64 {
        self.node(place).ledger.counts().transactions
    }

    pub(super) fn stop_all(mut self) {
        for place in 0..self.hosts.len() {
            if self.running[place].is_some() {
                self.stop(place);
            }
        }
    }
}

#[test]
fn transactions_sent_to_each_of_four_are_committed_everywhere_once() {
    let group = Group::of_four();
    let shared = user_add("90001");
    // One that is ordered before all have it is refused by those that come too late: not waited for.
    let shared_outcomes: Vec<_> = (0..4).map(|place| group.node(place).submit(&shared)).collect();
    let mut sent = Vec::new();
    let mut transactions = vec![shared];
    for place in 0..4 {
        for transaction in names(10 + 20 * place, 12) {
            sent.push((group.node(place), group.node(place).submit(&transaction)));
            transactions.push(transaction);
        }
    }
    for (node, outcome) in &sent {
        assert!(node.acknowledged(outcome));
    }
    group.agree(&transactions);
    drop(shared_outcomes);
    for place in 0..4 {
        assert_eq!(group.counts(place), transactions.len() as u64, "node {place}: each once");
        check(&group.node(place).ledger, &transactions);
    }
    assert_eq!(*group.hub.charged.lock(), []);
    group.stop_all();
}

#[test]
fn a_node_that_comes_late_and_one_that_was_away_catch_up_and_take_part() {
    let mut group = Group::new(4, 1);
    (0..3).for_each(|place| group.start(place));
    // More heights than anybody keeps in memory: the rest comes from ledgers.
    let mut transactions = group.commit(0, names(100, 100));
    assert!(group.node(0).ledger.height() >= 25);
    group.start(3);
    group.start(4);
    group.agree(&transactions);
    group.know_each_others_heads();
    // With another one down the late one is needed for a quorum.
    group.stop(1);
    transactions.extend(group.commit(3, names(200, 10)));
    group.start(1);
    transactions.extend(group.commit(1, names(300, 4)));
    // An observer's clients are served, too.
    transactions.extend(group.commit(4, names(400, 4)));
    group.agree(&transactions);
    assert_eq!(group.counts(4), transactions.len() as u64);
    assert_eq!(*group.hub.charged.lock(), []);
    group.stop_all();
}

/// What a late node reaches, in blocks of few and of many transactions:
/// `cargo test -p bixi-runtime -- --ignored --nocapture speed_of_catching_up`.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn speed_of_catching_up() {
    for (block_transactions_max, count) in [(4, 1_200), (250, 20_000)] {
        let mut group = Group::of_hosts(Host::group_of_blocks(4, 1, block_transactions_max));
        (0..4).for_each(|place| group.start(place));
        let transactions = group.commit(0, names(1_000, count));
        let heights = group.node(0).ledger.height();
        let began = std::time::Instant::now();
        group.start(4);
        group.agree(&transactions);
        let seconds = began.elapsed().as_secs_f64();
        let (heights_per_s, transactions_per_s) = (heights as f64 / seconds, count as f64 / seconds);
        println!("{heights} heights, {count} transactions: {heights_per_s:.0} heights/s, {transactions_per_s:.0} tx/s");
        group.stop_all();
    }
}

#[test]
fn committed_heights_are_served_by_range_with_their_proofs() {
    let group = Group::of_four();
    group.commit(0, names(10, 20));
    let last = group.node(0).ledger.height();
    let asker = NodeId([9; 64]);
    let (events_in, events) = unbounded();
    let queues = Queues::new(CryptoSuite::Sm, &Arc::default(), &events_in);
    group.hub.join(asker, &queues.door);
    let Peers(links) = group.hub.peers(asker);
    let ask = |first, count, with_decisions| {
        let request = Exchange::WantHeights(HeightRange { first, count, with_decisions });
        links.send_on(Channel::Bulk, Destination::Node(group.hosts[0].node()), request.encode());
        // Headers alone are for who fetches a snapshot.
        let for_joiner = queues.joins.1.iter().filter_map(|event| match event {
            JoinEvent::Heights(answer) => Some(answer.what),
            _ => None,
        });
        let for_consensus = events.iter().filter_map(|event| match event {
            Event::Heights(answer) => Some(answer.what),
            _ => None,
        });
        let answer = if with_decisions { for_consensus.take(1).next() } else { for_joiner.take(1).next() };
        answer.expect("an answer")
    };
    let ledger = &group.node(0).ledger;
    let Heights { first, proofs } = ask(2, HEIGHTS_MAX as u16, true);
    assert_eq!((first, proofs.len() as u64), (2, last - 1), "all there are");
    for (height, proof) in (first..).zip(proofs) {
        let block = ledger.block(height).unwrap().expect("committed");
        assert_eq!(proof.header, block.header.encode());
        assert!(block.header.signature_list.len() >= 3, "a quorum of four");
        let (value, certificate) = proof.decision.expect("asked for");
        assert_eq!(borsh::to_vec(&value).unwrap(), block.value);
        assert_eq!(borsh::to_vec(&certificate).unwrap(), block.certificate);
    }
    let headers = ask(1, 3, false);
    assert!(headers.proofs.len() == 3 && headers.proofs.iter().all(|proof| proof.decision.is_none()));
    assert_eq!(ask(last + 1, 3, true), Heights { first: last + 1, proofs: Vec::new() });
    group.hub.leave(asker);
    group.stop_all();
}

#[test]
fn batches_lost_on_their_way_are_fetched() {
    let group = Group::of_four();
    // The first copy of every batch to every node is lost.
    let mut seen = HashSet::new();
    group.hub.lose(move |frame| {
        let is_batch =
            frame.channel == Channel::Bulk && matches!(Exchange::decode(frame.payload), Ok(Exchange::Batch(_)));
        is_batch && seen.insert((frame.to, frame.payload.to_vec()))
    });
    let transactions: Vec<Verified> = (0..4).flat_map(|place| group.commit(place, names(10 + 20 * place, 6))).collect();
    group.agree(&transactions);
    group.stop_all();
}

#[test]
fn garbage_and_unsigned_messages_change_nothing_and_are_charged() {
    let group = Group::of_four();
    let liar = NodeId([9; 64]);
    let validator = group.hosts[1].node();
    let chain = group.hosts[0].genesis.hash();
    let vote = Vote { chain, height: 1, round: 0, kind: VoteKind::Precommit, value: None, validator };
    let unsigned = Message::Vote(SignedVote { vote: vote.clone(), signature: SignatureBytes([7; 64]) });
    let stranger =
        Message::Vote(SignedVote { vote: Vote { validator: liar, ..vote }, signature: SignatureBytes([7; 64]) });
    let mut forged = user_add("1").bytes.to_vec();
    let end = forged.len() - 20;
    forged[end] ^= 1;
    let batch =
        |bytes: Vec<u8>| Exchange::Batch(bixi_types::batch::Batch { transactions: vec![bytes] }.encode()).encode();
    let frames = [
        (Channel::Consensus, vec![0xff; 100], "malformed"),
        (Channel::Consensus, unsigned.encode(), "signature"),
        (Channel::Consensus, stranger.encode(), "not a validator"),
        (Channel::Bulk, vec![0xff; 100], "malformed"),
        (Channel::Bulk, Exchange::Batch(vec![1, 0, 0, 0, 0]).encode(), "without transactions"),
        (Channel::Bulk, batch(vec![1; 9]), "not a transaction"),
        (Channel::Bulk, batch(forged), "batch"),
    ];
    let door = &group.node(0).door;
    for (index, (channel, frame, expected)) in (20u8..).zip(frames) {
        // A sender for each, so that nobody is told of another's offence.
        let liar = NodeId([index; 64]);
        let mut told = None;
        // What takes a look at signatures is told with a later frame.
        wait_until(expected, || {
            told = door.received(liar, channel, &frame).err();
            told.is_some()
        });
        let told = told.expect("just seen");
        assert!(told.contains(expected) || told.contains("is invalid"), "{expected}: {told}");
    }
    let transactions = group.commit(0, names(20, 8));
    group.agree(&transactions);
    assert_eq!(group.counts(0), 8);
    group.stop_all();
}

#[test]
fn an_old_copy_of_a_disk_follows_until_the_chain_has_passed_what_its_key_signed() {
    let mut group = Group::of_four();
    let mut transactions = group.commit(0, names(10, 4));
    group.agree(&transactions);
    group.stop(3);
    keep_copies(&group.hosts[3], &COPIED);
    group.start(3);
    transactions.extend(group.commit(3, names(20, 8)));
    group.agree(&transactions);
    group.stop(3);
    restore_copies(&group.hosts[3], &COPIED);

    group.start(3);
    transactions.extend(group.commit(0, names(40, 8)));
    group.agree(&transactions);
    // And then its vote counts again.
    let mut more = 1_000;
    while group.node(3).view.consensus().mode != Mode::Voting {
        // It votes from the first height on that begins above what it must pass.
        assert!(more < 2_000, "it does not vote again: {:?}", group.node(3).view.consensus());
        transactions.extend(group.commit(0, names(more, 1)));
        more += 1;
    }
    group.agree(&transactions);
    group.stop(2);
    transactions.extend(group.commit(0, names(60, 8)));
    group.agree(&transactions);
    group.stop_all();
}

#[test]
fn a_block_that_is_full_gives_back_what_found_no_room() {
    let group = Group::of_four();
    // Far more than a block of four takes, from every side at once.
    let sent: Vec<_> = (0..4)
        .flat_map(|place| names(1_000 + 100 * place, 25).map(move |transaction| (place, transaction)))
        .map(|(place, transaction)| (place, group.node(place).submit(&transaction), transaction))
        .collect();
    for (place, outcome, _) in &sent {
        assert!(group.node(*place).acknowledged(outcome));
    }
    let transactions: Vec<Verified> = sent.into_iter().map(|(_, _, transaction)| transaction).collect();
    group.agree(&transactions);
    let ledger = &group.node(0).ledger;
    let blocks = (1..=ledger.height()).map(|height| ledger.block(height).unwrap().expect("committed"));
    assert!(blocks.into_iter().all(|block| block.transactions.len() <= 4));
    group.stop_all();
}
