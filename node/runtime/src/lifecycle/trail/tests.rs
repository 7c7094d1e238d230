use bixi_hsm::audit::{Audit as _, AuditLog, Durability, Event};
use bixi_platform::io::PreadStorage;
use bixi_platform::secret::Secret;
use bixi_sealed::AtRest;

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
    read(&storage, dir, &ring(), H256([1; 32]), Wish { from, expect }, &mut |_| {})
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
