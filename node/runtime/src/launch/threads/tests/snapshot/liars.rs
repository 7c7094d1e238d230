//! Whoever lies about a snapshot, or about how long the chain is.

use bixi_types::CryptoSuite;
use bixi_types::limits::SNAPSHOT_CHUNK_BYTES_MAX;

use super::*;
use crate::launch::adopted::{Fetched, adopt_snapshot};

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

const LIES: [(&str, Lie); 14] = [
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
    ("a block byte by byte", |exchange| {
        snapshot_lie(exchange, |message| {
            if let Snapshot::Block { bytes, .. } = message {
                bytes.truncate(1);
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
        assert_eq!(adopt_snapshot(&params, &[], true).unwrap(), Fetched::Adopted);
        assert_eq!(Ledger::open(params).unwrap().head(), head, "{name}");
    }
    long.group.stop_all();
}

#[test]
fn one_peer_s_word_makes_no_chain_long() {
    let mut long = Long::new(1);
    (0..4).for_each(|place| long.group.start(place));
    let mut transactions = long.commit(0, 8);
    let (liar, joining) = (long.id(0), long.id(4));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    long.group.hub.lose(move |frame| {
        if matches!(is_snapshot(frame), Some(Snapshot::Want(Wanted::Manifest))) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        false
    });
    long.group.hub.forge(move |frame| match (frame.channel, Exchange::decode(frame.payload)) {
        (Channel::Bulk, Ok(Exchange::Head { hash, .. })) if frame.from == liar && frame.to == joining => {
            Some(Exchange::Head { number: 1_000_000, hash }.encode())
        }
        _ => None,
    });
    long.group.start(4);
    let told = || long.group.node(4).view.head_of(&liar).map(|head| head.number);
    wait_until("the liar has told its head", || told() == Some(1_000_000));
    transactions.extend(long.commit(1, 8));
    long.agree(&transactions);
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody was asked for a snapshot");
    long.group.stop_all();
}
