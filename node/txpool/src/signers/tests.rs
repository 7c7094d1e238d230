use super::*;
use crate::pool::tests::public_key;

fn signers(tables: usize) -> Signers {
    Signers::new(tables * sm2::Registry::BYTES_PER_KEY)
}

/// A key that no block was signed with, and that no table can be built for.
fn fresh(number: usize) -> [u8; 64] {
    let mut key = [0xff; 64];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

fn commit(signers: &Signers, key: &[u8; 64], times: u32) {
    signers.note_committed((0..times).map(|_| key));
}

fn has_table(signers: &Signers, key: &[u8; 64]) -> bool {
    signers.tables().lookup(key).is_some()
}

#[test]
fn a_key_earns_its_table_by_committed_transactions() {
    let (signers, key, now) = (signers(2), public_key(1), Instant::now());
    commit(&signers, &key, COMMITS_FOR_TABLE - 1);
    signers.build_due(now);
    assert!(!has_table(&signers, &key));
    commit(&signers, &key, 1);
    signers.build_due(now);
    assert!(has_table(&signers, &key));
    assert!(signers.earning.lock().commits.is_empty(), "nothing is counted for a key with a table");
    commit(&signers, &key, 1);
    assert!(signers.earning.lock().commits.is_empty());
}

#[test]
fn tables_are_built_at_a_capped_rate() {
    let (signers, now) = (signers(3), Instant::now());
    let keys = [public_key(1), public_key(2)];
    keys.iter().for_each(|key| commit(&signers, key, COMMITS_FOR_TABLE));
    let built = |at| {
        signers.build_due(at);
        signers.tables().len()
    };
    assert_eq!(built(now), 1);
    assert_eq!(built(now + BUILD_PERIOD - Duration::from_nanos(1)), 1);
    assert_eq!(built(now + BUILD_PERIOD), 2);
}

#[test]
fn a_flood_of_fresh_keys_gains_nothing_and_keeps_nobody_out() {
    let (signers, key, now) = (signers(4), public_key(1), Instant::now());
    let counted_max = 4 * COUNTED_PER_TABLE;
    for number in 0..100 * counted_max {
        commit(&signers, &fresh(number), 1);
        if number % 10 == 0 {
            commit(&signers, &key, 8);
        }
        assert!(signers.earning.lock().commits.len() <= counted_max);
    }
    signers.build_due(now);
    assert!(has_table(&signers, &key));
    assert_eq!(signers.tables().len(), 1);
    assert!(signers.earning.lock().due.is_empty());
}

#[test]
fn who_earned_a_table_keeps_the_claim_while_others_are_forgotten() {
    let (signers, key, now) = (signers(1), public_key(1), Instant::now());
    commit(&signers, &key, COMMITS_FOR_TABLE);
    (0..1_000).for_each(|number| commit(&signers, &fresh(number), 1));
    signers.build_due(now);
    assert!(has_table(&signers, &key));
}

#[test]
fn memory_is_bounded_and_the_key_unused_for_the_longest_time_leaves() {
    let (signers, now) = (signers(2), Instant::now());
    let keys = [1, 2, 3].map(public_key);
    for (step, key) in keys.iter().enumerate() {
        commit(&signers, key, COMMITS_FOR_TABLE);
        signers.build_due(now + BUILD_PERIOD * step as u32);
        // The first key stays in use.
        assert!(has_table(&signers, &keys[0]));
    }
    assert_eq!(keys.map(|key| has_table(&signers, &key)), [true, false, true]);
    assert!(signers.tables().memory_bytes() <= 2 * sm2::Registry::BYTES_PER_KEY);
}

#[test]
fn without_memory_nothing_is_counted() {
    let signers = signers(0);
    commit(&signers, &public_key(1), 2 * COMMITS_FOR_TABLE);
    signers.build_due(Instant::now());
    assert!(signers.tables().is_empty() && signers.earning.lock().commits.is_empty());
}
