use bixi_accel::sm2::{self, PrivateKey};
use bixi_hsm::audit::{Audit as _, AuditLog, Durability, Event, HeadStatement, SignedHead};
use bixi_platform::io::PreadStorage;
use bixi_platform::secret::Secret;
use bixi_sealed::AtRest;
use bixi_types::H256;
use bixi_types::consensus::SignatureBytes;

use super::*;

fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[6; 32]))], 1).unwrap()
}

/// A trail of so many entries besides its opening, and the heads that it stood at.
fn trail(dir: &Path, entries: u64) -> Vec<Head> {
    let log = AuditLog::open(Arc::new(PreadStorage), dir, ring()).unwrap();
    let mut heads = vec![log.head()];
    for number in 0..entries {
        let event =
            Event { request: "test".into(), subject: number.to_string(), digest: None, outcome: Outcome::Signed };
        log.record(&event, Durability::Grouped).unwrap();
        heads.push(log.head());
    }
    heads
}

fn check(dir: &Path, from: Option<Head>, expect: Option<Head>) -> Result<Review, Failure> {
    let storage: Arc<dyn Storage> = Arc::new(PreadStorage);
    read(&storage, dir, &ring(), &Wish { from, expect, ..Wish::default() }, Expected::default(), &mut |_| {})
}

const CHAIN: H256 = H256([1; 32]);
const NODE: NodeId = NodeId([2; 64]);

struct Nonces;

impl bixi_accel::Random for Nonces {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), bixi_accel::RandomError> {
        bixi_platform::random::OsRandom.fill(out).expect("the system's random source");
        Ok(())
    }
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes(&[number; 32]).unwrap()
}

fn id(number: u8) -> NodeId {
    NodeId(key(number).public_key().to_bytes())
}

/// Has key `number` sign the head as it is now, of this node or another.
fn seal(log: &AuditLog, number: u8, node: NodeId, chain: H256) {
    let key = key(number);
    let statement = HeadStatement { chain, node, head: log.head(), at_ms: 9 };
    let signature = sm2::sign(&key, sm2::DEFAULT_ID, &statement.sign_bytes(), &mut Nonces).unwrap();
    let signature = SignatureBytes(signature.0);
    let signed = SignedHead { statement, key: key.public_key().to_bytes(), signature };
    let outcome = Outcome::HeadSigned(Box::new(signed));
    let event = Event { request: "audit-head".into(), subject: String::new(), digest: None, outcome };
    log.record(&event, Durability::Grouped).unwrap();
}

fn fill(log: &AuditLog, entries: u64) {
    for _ in 0..entries {
        let event = Event { request: "test".into(), subject: String::new(), digest: None, outcome: Outcome::Signed };
        log.record(&event, Durability::Grouped).unwrap();
    }
}

/// The findings about a trail that `write` wrote, read by an officer who knows key 1 as the node's and key 2 as an earlier one.
fn review(write: impl FnOnce(&AuditLog)) -> Review {
    let place = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(PreadStorage);
    let log = AuditLog::open(Arc::clone(&storage), place.path(), ring()).unwrap();
    write(&log);
    drop(log);
    let expected = Expected { chain: CHAIN, nodes: vec![NODE], own: Some(id(1)), named: vec![id(2)] };
    read(&storage, place.path(), &ring(), &Wish::default(), expected, &mut |_| {}).unwrap()
}

fn kinds(review: &Review) -> Vec<&'static str> {
    review.problems().iter().map(Problem::kind).collect()
}

#[test]
fn heads_count_that_the_nodes_key_or_a_named_one_signed_for_this_node() {
    let sound = review(|log| {
        fill(log, 3);
        seal(log, 2, NODE, CHAIN);
        fill(log, 3);
        seal(log, 1, NODE, CHAIN);
        seal(log, 1, NODE, CHAIN);
    });
    assert_eq!(kinds(&sound), [""; 0]);
    let json = sound.to_json();
    let range = |place: usize| {
        let range = &json["vouched"][place];
        (range["first_entry"].as_u64(), range["last_entry"].as_u64(), range["is_tls_key"].as_bool())
    };
    assert_eq!((range(0), range(1)), ((Some(0), Some(3), Some(false)), (Some(4), Some(8), Some(true))), "{json}");
    assert_eq!((json["unsigned_entries"].as_u64(), json["vouched"].as_array().unwrap().len()), (Some(1), 2));
    let rows = sound.rows();
    let words: Vec<&str> =
        rows.iter().filter(|(name, _)| name == "vouched for").map(|(_, text)| text.as_str()).collect();
    assert!(
        words[0].starts_with("0 to 3 by a key named with --tls-key") && words[1].starts_with("4 to 8 by the node's")
    );
}

/// Whoever has the data keys and not the device can write a trail anew and sign its heads with a key that he made.
#[test]
fn a_head_of_another_key_node_or_chain_is_a_problem_and_counts_for_nothing() {
    for (number, node, chain, kind) in [
        (3, NODE, CHAIN, "foreign-key"),
        (1, NodeId([9; 64]), CHAIN, "foreign-node"),
        (1, NODE, H256([9; 32]), "foreign-chain"),
    ] {
        let found = review(|log| {
            seal(log, 1, NODE, CHAIN);
            fill(log, 3);
            seal(log, number, node, chain);
            seal(log, number, node, chain);
        });
        assert_eq!(kinds(&found), [kind]);
        let json = found.to_json();
        let problem = &json["problems"][0];
        assert_eq!((problem["kind"].as_str(), problem["heads"].as_u64()), (Some(kind), Some(2)), "{json}");
        assert_eq!(problem["sequence"], 5, "{json}");
        assert_eq!(json["unsigned_entries"], 6, "the first head is the last that counts: {json}");
    }
}

#[test]
fn a_long_end_without_a_head_that_counts_is_a_problem_and_a_short_one_is_told() {
    let entries = UNSIGNED_ENTRIES_MAX - 1;
    // The opening is an entry, too.
    let young = review(|log| fill(log, entries));
    assert_eq!((kinds(&young), young.to_json()["unsigned_entries"].as_u64()), (vec![], Some(UNSIGNED_ENTRIES_MAX)));
    assert!(young.rows().iter().any(|(_, text)| text.starts_with("none that counts over 20000 entries")));
    assert_eq!(kinds(&review(|log| fill(log, entries + 1))), ["unsigned"]);
    let forged = review(|log| {
        seal(log, 1, NODE, CHAIN);
        fill(log, entries);
        seal(log, 3, NODE, CHAIN);
    });
    assert_eq!(kinds(&forged), ["foreign-key", "unsigned"]);
    let sealed = review(|log| {
        fill(log, entries + 9);
        seal(log, 1, NODE, CHAIN);
    });
    assert_eq!(kinds(&sealed), [""; 0]);
}

#[test]
fn a_head_that_was_written_down_is_found_or_missed_by_name() {
    let place = tempfile::tempdir().unwrap();
    let (ours, other) = (place.path().join("ours"), place.path().join("other"));
    let (heads, others) = (trail(&ours, 5), trail(&other, 9));
    for head in &heads {
        check(&ours, None, Some(*head)).unwrap();
    }
    let refused = |head| check(&ours, None, Some(head)).unwrap_err().to_string();
    assert!(refused(others[9]).contains("cut off"), "{}", refused(others[9]));
    let changed = Head { hash: [9; 32], ..heads[3] };
    assert!(refused(changed).contains("exchanged"), "{}", refused(changed));
}

#[test]
fn what_came_before_a_head_is_not_counted() {
    let place = tempfile::tempdir().unwrap();
    let heads = trail(place.path(), 5);
    let counted = |from| check(place.path(), from, None).unwrap().counts.values().sum::<u64>();
    assert_eq!((counted(None), counted(Some(heads[2])), counted(Some(heads[5]))), (6, 3, 0));
    assert!(check(place.path(), Some(Head { hash: [0; 32], ..heads[2] }), None).is_err());
}
