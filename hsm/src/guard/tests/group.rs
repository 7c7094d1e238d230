//! Callers who come at once share a sync, and none is granted anything before it.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{scope, yield_now};
use std::time::Duration;

use super::*;

const CALLERS: u8 = 8;

fn of_key(key: u8, height: u64, digest: u8) -> Claim {
    Claim { key: NodeId([key; 64]), ..prevote(height, digest) }
}

#[test]
fn callers_who_come_at_once_share_a_sync() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    let before = disk.syncs.shut();
    scope(|threads| {
        let claim = |key| guard.claim(&of_key(key, 1, 1));
        let callers: Vec<_> = (0..CALLERS).map(|key| threads.spawn(move || claim(key))).collect();
        while guard.lock().journal.written() < CALLERS.into() {
            yield_now();
        }
        disk.syncs.open();
        for caller in callers {
            assert_eq!(caller.join().unwrap().unwrap(), Grant::Sign);
        }
    });
    let syncs = disk.syncs.passed() - before;
    assert!((1..=2).contains(&syncs), "{syncs} syncs: one for those who wrote before it began, one for the others");
}

#[test]
fn a_claim_on_its_way_to_the_disk_grants_nothing_and_stands_against_others() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    disk.syncs.shut();
    scope(|threads| {
        let first = threads.spawn(|| guard.claim(&prevote(5, 1)));
        disk.syncs.until_somebody_waits();
        let (answer, answered) = channel();
        let repeated = &guard;
        threads.spawn(move || answer.send(repeated.claim(&prevote(5, 1))).unwrap());
        assert!(matches!(guard.claim(&prevote(5, 2)), Err(GuardError::Conflict { .. })));
        let early = answered.recv_timeout(Duration::from_millis(300));
        assert!(matches!(early, Err(RecvTimeoutError::Timeout)), "{early:?}");
        disk.dies_after(0);
        disk.syncs.open();
        assert!(matches!(first.join().unwrap(), Err(GuardError::Storage { .. })));
        assert!(matches!(answered.recv().unwrap(), Err(GuardError::Storage { .. })));
    });
    assert!(matches!(guard.claim(&prevote(6, 1)), Err(GuardError::Storage { .. })));
}

#[test]
fn a_file_that_is_rewritten_during_a_sync_keeps_every_claim() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    disk.syncs.shut();
    scope(|threads| {
        let first = threads.spawn(|| guard.claim(&of_key(1, 1, 1)));
        disk.syncs.until_somebody_waits();
        let rewriting = threads.spawn(|| {
            let mut inner = guard.lock();
            let Inner { journal, lanes, .. } = &mut *inner;
            journal.compact(lanes)
        });
        disk.syncs.open();
        rewriting.join().unwrap().unwrap();
        assert_eq!(first.join().unwrap().unwrap(), Grant::Sign);
    });
    assert_eq!(guard.claim(&of_key(1, 2, 1)).unwrap(), Grant::Sign);
    drop(guard);
    let guard = open(&disk.crash()).unwrap();
    assert!(matches!(guard.claim(&of_key(1, 1, 2)), Err(GuardError::Conflict { .. })));
    assert!(matches!(guard.claim(&of_key(1, 2, 2)), Err(GuardError::Conflict { .. })));
}

/// Callers side by side, each with a key of its own, on a disk that dies under them again and again.
#[test]
fn nothing_is_signed_twice_differently_when_many_sign_at_once() {
    let mut signed = 0;
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut disk = CrashDisk::new(dice.next());
        let mut guard = create(&disk);
        let mut witness: BTreeMap<(u8, u64), u8> = BTreeMap::new();
        for _ in 0..4 {
            disk.dies_after(1 + dice.below(40));
            let lives: Vec<_> = (0..4).map(|key| (key, Dice(dice.next()))).collect();
            let seen = scope(|threads| {
                let callers: Vec<_> = lives
                    .into_iter()
                    .map(|(key, dice)| {
                        threads.spawn({
                            let guard = &guard;
                            move || sign_until_the_end(guard, key, dice)
                        })
                    })
                    .collect();
                callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
            });
            for (place, digest) in seen {
                signed += 1;
                let earlier = *witness.entry(place).or_insert(digest);
                assert_eq!(earlier, digest, "seed {seed}: two statements of key {} at height {}", place.0, place.1);
            }
            drop(guard);
            disk = disk.crash();
            guard = open(&disk).unwrap();
        }
    }
    assert!(signed > 500, "{signed}");
}

/// Every (key, height) and digest that the device was given.
fn sign_until_the_end(guard: &Guard, key: u8, mut dice: Dice) -> Vec<((u8, u64), u8)> {
    let mut seen = Vec::new();
    loop {
        let height = guard.marks(&NodeId([key; 64])).first().map_or(1, |mark| match mark {
            Position::Ordering { height, .. } => height + dice.below(2),
            Position::Checkpoint { .. } => unreachable!("only prevotes are asked for"),
        });
        let digest = dice.below(2) as u8;
        match guard.claim(&of_key(key, height, digest)) {
            Ok(Grant::Sign) => seen.push(((key, height), digest)),
            Ok(Grant::Stored(_)) => unreachable!("nothing is stored"),
            Err(GuardError::Conflict { .. }) => {}
            Err(_) => return seen,
        }
    }
}
