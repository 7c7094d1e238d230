//! What officers do, before and after restarts, and through crashes.

use super::*;

pub(super) const TICKET: Ticket = Ticket::new([5; 16]);

pub(super) fn checkpoint(height: u64, digest: u8) -> Claim {
    Claim { key: KEY, position: Position::Checkpoint { height }, digest: [digest; 32] }
}

pub(super) fn change(height: u64, old: u8, new: u8) -> Overruling {
    Overruling { height, old: [old; 32], new: [new; 32] }
}

/// A guard whose lanes stand at height 7 and checkpoint 6.
pub(super) fn worked(disk: &CrashDisk) -> Guard {
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
    let acts: [Act; 4] = [
        |guard| guard.retire(&KEY, TICKET),
        |guard| guard.await_import(&KEY, TICKET, None).map(drop),
        |guard| guard.adopt(Some(HostId::new(b"another"))),
        |guard| guard.overrule(&KEY, 1, &[change(5, 1, 2), change(6, 1, 2)]),
    ];
    // A signature that was stored last may be lost with the power; the claim may not.
    let claims = |guard: &Guard| guard.mark_statements(&KEY).into_iter().map(|(claim, _)| claim).collect::<Vec<_>>();
    let standing = |guard: &Guard| guard.lock().lanes.standing.clone();
    let state = |guard: &Guard| (standing(guard), claims(guard));
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
