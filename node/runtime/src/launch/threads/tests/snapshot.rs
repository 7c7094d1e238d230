//! Joining by a snapshot over the hub: beside a chain that goes on, through stops, past liars.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bixi_consensus::{Message, Mode};
use bixi_ledger::LedgerError;
use bixi_ledger::snapshot::Places;
use bixi_types::limits::SNAPSHOT_CHUNK_BYTES_MAX;
use bixi_types::{CryptoSuite, H256};
use parking_lot::Mutex;

use super::four::Group;
use super::host::wait_until;
use super::hub::Frame;
use super::*;
use crate::batches::tests::user_add_until;
use crate::exchange::Exchange;
use crate::launch::adopted::adopt_snapshot;
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

    /// Commits until a validator's chain is so long.
    fn grow_to(&mut self, height: u64) {
        while self.group.node(0).ledger.height() < height {
            self.commit(0, 4);
        }
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
    let mut long = Long::of_four(1);
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
    assert!(matches!(node.ledger.block(1), Err(LedgerError::NoHistory { .. })));
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

/// What a liar does to its answers: `None` leaves one as it is.
type Lie = fn(Exchange) -> Option<Exchange>;

fn snapshot_lie(exchange: Exchange, lie: impl FnOnce(&mut Snapshot)) -> Option<Exchange> {
    let Exchange::Snapshot(mut message) = exchange else { return None };
    lie(&mut message);
    Some(Exchange::Snapshot(message))
}

fn header_lie(exchange: Exchange, lie: impl FnOnce(&mut Vec<crate::exchange::HeightProof>)) -> Option<Exchange> {
    let Exchange::Heights(mut heights) = exchange else { return None };
    lie(&mut heights.proofs);
    Some(Exchange::Heights(heights))
}

/// The last byte of a header is in its last signature.
fn spoil_signature(proofs: &mut [crate::exchange::HeightProof]) {
    let middle = proofs.len() / 2;
    let header = &mut proofs[middle].header;
    let mut read = bixi_types::header::BlockHeader::decode(header).expect("an honest one");
    read.signature_list[0].signature[40] ^= 1;
    *header = read.encode();
}

const LIES: [(&str, Lie); 13] = [
    ("a signature that does not hold", |exchange| header_lie(exchange, |proofs| spoil_signature(proofs))),
    ("a header left out", |exchange| header_lie(exchange, |proofs| drop(proofs.remove(3)))),
    ("garbage for a header", |exchange| header_lie(exchange, |proofs| proofs[1].header = vec![0xff; 9])),
    ("a wrong piece", |exchange| {
        snapshot_lie(exchange, |message| {
            if let Snapshot::Chunk { bytes, .. } = message {
                bytes[30] ^= 1;
            }
        })
    }),
    ("a piece that is too short", |exchange| {
        snapshot_lie(exchange, |message| {
            if let Snapshot::Chunk { bytes, .. } = message {
                bytes.truncate(9);
            }
        })
    }),
    ("a piece as large as can be", |exchange| {
        snapshot_lie(exchange, |message| {
            if let Snapshot::Chunk { bytes, .. } = message {
                *bytes = vec![1; SNAPSHOT_CHUNK_BYTES_MAX];
            }
        })
    }),
    ("a wrong block", |exchange| {
        snapshot_lie(exchange, |message| {
            if let Snapshot::Block { bytes, .. } = message {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
        })
    }),
    ("a block without end", |exchange| {
        snapshot_lie(exchange, |message| {
            if let Snapshot::Block { height, offset, .. } | Snapshot::NotHeld(Wanted::Block { height, offset }) =
                *message
            {
                *message = Snapshot::Block { height, offset, total: 1 << 20, bytes: vec![7; 1 << 16] };
            }
        })
    }),
    ("a manifest of another chain", |exchange| manifest_lie(exchange, |manifest| manifest.chain = H256([1; 32]))),
    ("a manifest of a header that is not", |exchange| {
        manifest_lie(exchange, |manifest| manifest.header_hash = H256([1; 32]))
    }),
    ("a manifest of another block's writes", |exchange| {
        manifest_lie(exchange, |manifest| manifest.changes_root = H256([1; 32]))
    }),
    ("a manifest of a height no header can have", |exchange| {
        manifest_lie(exchange, |manifest| manifest.height = u64::MAX)
    }),
    ("a manifest of more transactions than can be", |exchange| {
        manifest_lie(exchange, |manifest| manifest.counts.transactions = u64::MAX)
    }),
];

fn manifest_lie(exchange: Exchange, lie: impl FnOnce(&mut bixi_ledger::snapshot::Manifest)) -> Option<Exchange> {
    snapshot_lie(exchange, |message| {
        if let Snapshot::Manifest(manifest) = message {
            lie(manifest);
        }
    })
}

/// A liar's manifest has another id than the one its node holds: what passes between the two names each by its own.
#[derive(Default)]
struct Names {
    held: H256,
    told: H256,
}

impl Names {
    fn told(&mut self, honest: Exchange, lie: Lie) -> Option<Exchange> {
        let id = |exchange: &Exchange| match exchange {
            Exchange::Snapshot(Snapshot::Manifest(manifest)) => Some(manifest.id(CryptoSuite::Sm)),
            _ => None,
        };
        self.held = id(&honest).unwrap_or(self.held);
        let mut forged = lie(honest.clone()).unwrap_or(honest);
        self.told = id(&forged).unwrap_or(self.told);
        if let Exchange::Snapshot(Snapshot::Chunk { snapshot, .. }) = &mut forged {
            *snapshot = self.told;
        }
        Some(forged)
    }

    fn asked(&self, mut exchange: Exchange) -> Option<Exchange> {
        if let Exchange::Snapshot(Snapshot::Want(Wanted::Chunk { snapshot, .. })) = &mut exchange {
            *snapshot = self.held;
        }
        Some(exchange)
    }
}

#[test]
fn whoever_lies_about_a_snapshot_is_charged_and_nothing_of_it_is_kept() {
    let mut long = Long::of_four(LIES.len() as u64);
    let everybody: BTreeSet<NodeId> = (0..4).map(|place| long.id(place)).collect();
    let head = long.group.node(0).ledger.head();
    for (number, (name, lie)) in LIES.into_iter().enumerate() {
        let place = 4 + number;
        let joining = long.id(place);
        // Asked alone until it is found out, so that the lie is not outvoted; then the others tell the truth.
        let liar = *everybody.first().expect("four");
        let found_out = Arc::new(AtomicBool::new(false));
        let is_known = Arc::clone(&found_out);
        long.group.hub.lose(move |frame| {
            let answers = matches!(is_snapshot(frame), Some(Snapshot::Manifest(_)));
            (frame.to == joining && replays(frame))
                || (answers && frame.from != liar && !is_known.load(Ordering::SeqCst))
        });
        let mut names = Names::default();
        long.group.hub.forge(move |frame| {
            let exchange = Exchange::decode(frame.payload).ok().filter(|_| frame.channel == Channel::Bulk)?;
            if frame.from == liar && frame.to == joining {
                names.told(exchange, lie)
            } else if frame.from == joining && frame.to == liar {
                names.asked(exchange)
            } else {
                None
            }
            .map(|forged| forged.encode())
        });
        long.group.start(place);
        let door = Arc::clone(&long.group.node(place).door);
        let frame = Exchange::Head { number: HEIGHTS, hash: H256([0; 32]) }.encode();
        let mut told = None;
        // Offences are told with the next frame of the one who committed them: this one, or one of its own.
        wait_until(name, || {
            told = door.received(liar, Channel::Bulk, &frame).err();
            told.is_some() || !long.group.hub.charged.lock().is_empty()
        });
        let of_hub = std::mem::take(&mut *long.group.hub.charged.lock());
        let charged: Vec<_> = of_hub.into_iter().chain(told.map(|reason| (liar, reason))).collect();
        let is_just = |(peer, reason): &(NodeId, String)| *peer == liar && reason.contains("snapshot:");
        assert!(charged.iter().all(is_just), "{name}: {charged:?}");
        found_out.store(true, Ordering::SeqCst);
        let height = long.fetched(place);
        assert_eq!(Some(height), head.map(|(height, _)| height), "{name}");
        long.group.hub.charged.lock().clear();
        long.group.hub.forge(|_| None);
        let params = long.group.hosts[place].ledger_params();
        adopt_snapshot(&params).unwrap();
        assert_eq!(Ledger::open(params).unwrap().head(), head, "{name}");
    }
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

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A chain of one with blocks of these names, stopped.
fn chain_of_one(from: usize, count: usize) -> Host {
    let host = Host::alone(0);
    let node = host.start().unwrap();
    commit_all(&node, names(from, count));
    assert_eq!(node.stop(), None);
    host
}

#[test]
fn a_snapshot_takes_the_place_of_a_ledger_that_it_continues_and_of_no_other() {
    let host = chain_of_one(0, 4);
    let params = host.ledger_params();
    let places = Places::around(&params.dir);
    let heads = || Ledger::open(host.ledger_params()).unwrap().head();
    let before = heads();

    // As far as the ledger itself.
    copy(&places.ledger, &places.joined);
    adopt_snapshot(&params).unwrap();
    assert_eq!((heads(), places.joined.exists()), (before, false));

    // No ledger at all.
    copy(&places.ledger, &places.joined);
    std::fs::write(places.joined.join("CURRENT"), b"MANIFEST-000001\n").unwrap();
    adopt_snapshot(&params).unwrap();
    assert_eq!((heads(), places.joined.exists()), (before, false));

    // Of a chain with other blocks: evidence, both are kept.
    let other = chain_of_one(50, 12);
    copy(&other.ledger_params().dir, &places.joined);
    let refused = adopt_snapshot(&params).unwrap_err().to_string();
    assert!(refused.contains("the chain's is"), "{refused}");
    assert!(places.joined.exists() && places.ledger.exists());

    // The same chain, longer.
    std::fs::remove_dir_all(&places.joined).unwrap();
    copy(&places.ledger, &host.path("kept"));
    let node = host.start().unwrap();
    commit_all(&node, names(100, 4));
    assert_eq!(node.stop(), None);
    let longer = heads();
    assert_ne!(longer, before);
    std::fs::rename(&places.ledger, &places.joined).unwrap();
    std::fs::rename(host.path("kept"), &places.ledger).unwrap();
    adopt_snapshot(&params).unwrap();
    assert_eq!(heads(), longer);
    let node = host.start().expect("starts on it");
    commit_all(&node, names(200, 1));
    assert_eq!(node.stop(), None);
}
