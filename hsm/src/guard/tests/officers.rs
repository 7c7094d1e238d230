//! Retiring, raising, overruling: before and after restarts, and through crashes.

use bixi_accel::sm2::{self, PrivateKey};

use super::*;
use crate::guard::export::{Export, ExportError, FILE_BYTES_MAX};

fn checkpoint(height: u64, digest: u8) -> Claim {
    Claim { key: KEY, position: Position::Checkpoint { height }, digest: [digest; 32] }
}

fn change(height: u64, old: u8, new: u8) -> Overruling {
    Overruling { height, old: [old; 32], new: [new; 32] }
}

/// A guard whose lanes stand at height 7 and checkpoint 6.
fn worked(disk: &CrashDisk) -> Guard {
    let guard = create(disk);
    for height in 5..=7 {
        guard.claim(&prevote(height, 1)).unwrap();
        guard.store(&prevote(height, 1), signature(1)).unwrap();
    }
    for height in 5..=6 {
        guard.claim(&checkpoint(height, 1)).unwrap();
        guard.store(&checkpoint(height, 1), signature(2)).unwrap();
    }
    guard
}

#[test]
fn a_retired_guard_grants_nothing_after_any_restart() {
    let disk = CrashDisk::new(1);
    let guard = worked(&disk);
    guard.retire().unwrap();
    guard.retire().unwrap();
    let marks = guard.mark_statements(&KEY);
    let mut guard = guard;
    for _ in 0..2 {
        for claim in [prevote(8, 1), prevote(7, 1), checkpoint(6, 1), checkpoint(9, 1)] {
            assert!(matches!(guard.claim(&claim), Err(GuardError::Retired { .. })));
        }
        assert!(matches!(guard.raise(&KEY, &[]), Err(GuardError::Retired { .. })));
        assert!(matches!(guard.overrule(&KEY, 1, &[change(6, 1, 2)]), Err(GuardError::Retired { .. })));
        drop(guard);
        guard = open(&disk).unwrap();
        assert!(guard.is_retired());
        assert_eq!(guard.mark_statements(&KEY), marks);
    }
}

#[test]
fn a_guard_is_raised_and_never_lowered() {
    let marks = worked(&CrashDisk::new(1)).mark_statements(&KEY);
    assert_eq!(marks, [(prevote(7, 1), Some(signature(1))), (checkpoint(6, 1), Some(signature(2)))]);
    let disk = CrashDisk::new(2);
    let fresh = create(&disk);
    fresh.raise(&KEY, &marks).unwrap();
    fresh.raise(&KEY, &marks).expect("the same once more");
    drop(fresh);
    let fresh = open(&disk).unwrap();
    assert_eq!(fresh.marks(&KEY), [prevote(7, 1).position, checkpoint(6, 1).position]);
    assert_eq!(fresh.claim(&checkpoint(6, 1)).unwrap(), Grant::Stored(signature(2)));
    for refused in [prevote(7, 2), prevote(6, 1), checkpoint(5, 1)] {
        assert!(matches!(fresh.claim(&refused), Err(GuardError::Conflict { .. })));
    }
    // Higher, other and missing marks of the guard that is to be raised.
    for (claim, what) in [(prevote(8, 1), "higher"), (checkpoint(6, 9), "other")] {
        let target = create(&CrashDisk::new(3));
        target.claim(&claim).unwrap();
        assert!(matches!(target.raise(&KEY, &marks), Err(GuardError::Conflict { .. })), "{what}");
        assert_eq!(target.marks(&KEY), [claim.position], "all or nothing");
    }
    let target = create(&CrashDisk::new(3));
    target.claim(&checkpoint(1, 1)).unwrap();
    assert!(matches!(target.raise(&KEY, &marks[..1]), Err(GuardError::Conflict { .. })), "a lane the other never had");
    target.raise(&KEY, &marks).unwrap();
}

#[test]
fn a_checkpoint_is_overruled_once_and_for_what_stands_there() {
    let disk = CrashDisk::new(1);
    let guard = worked(&disk);
    for wrong in [&[change(6, 9, 2)][..], &[change(4, 1, 2)], &[change(6, 1, 2), change(5, 9, 2)]] {
        assert!(matches!(guard.overrule(&KEY, 1, wrong), Err(GuardError::Conflict { .. })));
    }
    assert!(matches!(guard.overrule(&KEY, 2, &[change(6, 1, 2)]), Err(GuardError::Overruled { next: 1, .. })));
    assert_eq!(guard.checkpoint(&KEY, 6), Some([1; 32]), "nothing was taken of them");
    guard.overrule(&KEY, 1, &[change(5, 1, 2), change(6, 1, 2)]).unwrap();
    drop(guard);
    let guard = open(&disk).unwrap();
    assert_eq!(guard.claim(&checkpoint(6, 2)).unwrap(), Grant::Sign, "no signature of the old one is given");
    assert!(matches!(guard.claim(&checkpoint(6, 1)), Err(GuardError::Conflict { .. })));
    // Back by a second statement, after which the first one is not taken again.
    guard.overrule(&KEY, 2, &[change(5, 2, 1), change(6, 2, 1)]).unwrap();
    let again = guard.overrule(&KEY, 1, &[change(5, 1, 2), change(6, 1, 2)]);
    assert!(matches!(again, Err(GuardError::Overruled { number: 1, next: 3, .. })));
    assert_eq!(guard.overrulings(), 2);
    assert!(matches!(guard.overrule(&NodeId([9; 64]), 3, &[change(6, 1, 2)]), Err(GuardError::Conflict { .. })));
}

#[test]
fn a_crash_leaves_the_guard_before_or_after_and_never_between() {
    type Act = fn(&Guard) -> Result<(), GuardError>;
    let acts: [Act; 3] = [
        Guard::retire,
        |guard| guard.overrule(&KEY, 1, &[change(5, 1, 2), change(6, 1, 2)]),
        |guard| guard.raise(&KEY, &[(prevote(9, 3), None), (checkpoint(9, 3), None)]),
    ];
    // A signature that was stored last may be lost with the power; the claim may not.
    let claims = |guard: &Guard| guard.mark_statements(&KEY).into_iter().map(|(claim, _)| claim).collect::<Vec<_>>();
    let state = |guard: &Guard| (guard.is_retired(), guard.overrulings(), claims(guard));
    for act in acts {
        let [before, after] = [false, true].map(|acted| {
            let guard = worked(&CrashDisk::new(1));
            if acted {
                act(&guard).unwrap();
            }
            state(&guard)
        });
        let mut seen = [0; 2];
        for (seed, operations) in (0..8).flat_map(|seed| (1..16).map(move |operations| (seed, operations))) {
            let mut disk = CrashDisk::new(seed);
            let guard = worked(&disk);
            disk.dies_after(operations);
            let done = act(&guard);
            assert!(done.is_ok() || guard.claim(&prevote(50, 1)).is_err(), "a guard that failed grants nothing");
            drop(guard);
            disk = disk.crash();
            let found = state(&open(&disk).unwrap());
            assert!(found == before || found == after, "seed {seed}, {operations}: {found:?}");
            assert!(done.is_err() || found == after, "done and then lost");
            seen[usize::from(found == after)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }
}

fn exported() -> (Export, Vec<u8>) {
    let key = PrivateKey::from_bytes(&[5; 32]).unwrap();
    let marks = worked(&CrashDisk::new(1)).mark_statements(&KEY);
    let export = Export { chain: CHAIN, node: KEY, signer: key.public_key().to_bytes(), at_ms: 3, marks };
    let file = export.encode(&sign(&key, &export));
    (export, file)
}

fn sign(key: &PrivateKey, export: &Export) -> SignatureBytes {
    struct Dull(u8);
    impl bixi_accel::Random for Dull {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), bixi_accel::RandomError> {
            out.iter_mut().for_each(|byte| {
                self.0 = self.0.wrapping_mul(13).wrapping_add(11);
                *byte = self.0;
            });
            Ok(())
        }
    }
    SignatureBytes(sm2::sign(key, sm2::DEFAULT_ID, &export.sign_bytes(), &mut Dull(1)).unwrap().0)
}

#[test]
fn an_export_reads_back_and_no_flipped_or_missing_byte_does() {
    let (export, file) = exported();
    assert_eq!(Export::decode(&file).unwrap(), export);
    for place in 0..file.len() {
        let mut flipped = file.clone();
        flipped[place] ^= 1;
        assert!(Export::decode(&flipped).is_err(), "byte {place}");
        assert!(Export::decode(&file[..place]).is_err(), "cut at {place}");
    }
    assert!(Export::decode(&[&file[..], &[0]].concat()).is_err());
    assert!(Export::decode(&vec![0; FILE_BYTES_MAX + 1]).is_err());
    let other = Export { signer: PrivateKey::from_bytes(&[6; 32]).unwrap().public_key().to_bytes(), ..export.clone() };
    let forged = other.encode(&sign(&PrivateKey::from_bytes(&[5; 32]).unwrap(), &other));
    assert_eq!(Export::decode(&forged), Err(ExportError::Signature));
}

#[test]
fn an_export_of_marks_that_do_not_fit_together_is_none() {
    let (export, _) = exported();
    let key = PrivateKey::from_bytes(&[5; 32]).unwrap();
    let twice = vec![(prevote(7, 1), None), (prevote(8, 1), None)];
    let foreign = vec![(Claim { key: NodeId([9; 64]), ..prevote(7, 1) }, None)];
    for marks in [twice, foreign, vec![(prevote(7, 1), None); 3]] {
        let wrong = Export { marks, ..export.clone() };
        assert!(matches!(Export::decode(&wrong.encode(&sign(&key, &wrong))), Err(ExportError::Malformed(_))));
    }
}
