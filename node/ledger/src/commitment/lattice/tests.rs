use std::collections::BTreeMap;
use std::time::Instant;

use bixi_types::state::{StateKey, WriteSet};
use proptest::prelude::*;

use super::*;

type State = BTreeMap<StateKey, Vec<u8>>;

fn key(table: StateTable, key: &[u8]) -> StateKey {
    StateKey { table, key: key.to_vec() }
}

/// Applies `writes` to `state` and to the sum.
fn step(commitment: &LatticeCommitment, sum: &[u8], state: &mut State, writes: &WriteSet) -> Update {
    let changes: Vec<_> = writes
        .iter()
        .map(|(key, new)| Change {
            table: key.table,
            key: &key.key,
            old: state.get(key).map(Vec::as_slice),
            new: new.as_deref(),
        })
        .collect();
    let update = commitment.apply(sum, &changes);
    for (key, new) in writes {
        match new {
            Some(value) => state.insert(key.clone(), value.clone()),
            None => state.remove(key),
        };
    }
    update
}

fn from_scratch(commitment: &LatticeCommitment, state: &State) -> Vec<u8> {
    let changes: Vec<_> = state
        .iter()
        .map(|(key, value)| Change { table: key.table, key: &key.key, old: None, new: Some(value) })
        .collect();
    commitment.apply(&commitment.empty(), &changes).accumulator
}

fn suites() -> impl Strategy<Value = CryptoSuite> {
    prop_oneof![Just(CryptoSuite::Sm), Just(CryptoSuite::Std)]
}

fn write_sets() -> impl Strategy<Value = Vec<WriteSet>> {
    let table = prop::sample::select(&StateTable::ALL[..]);
    let row = (table, prop::collection::vec(0u8..3, 0..3)).prop_map(|(table, row)| key(table, &row));
    let value = prop::option::of(prop::collection::vec(0u8..3, 0..3));
    prop::collection::vec(prop::collection::btree_map(row, value, 0..8), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn incremental_equals_from_scratch(suite in suites(), blocks in write_sets()) {
        let commitment = LatticeCommitment::new(suite);
        let (mut state, mut sum) = (State::new(), commitment.empty());
        for writes in &blocks {
            sum = step(&commitment, &sum, &mut state, writes).accumulator;
            prop_assert_eq!(&sum, &from_scratch(&commitment, &state));
        }
    }

    #[test]
    fn the_sum_does_not_depend_on_how_writes_are_cut_into_blocks(blocks in write_sets()) {
        let commitment = LatticeCommitment::new(CryptoSuite::Sm);
        let (mut state, mut sum) = (State::new(), commitment.empty());
        let mut merged = WriteSet::new();
        for writes in &blocks {
            sum = step(&commitment, &sum, &mut state, writes).accumulator;
            merged.extend(writes.clone());
        }
        let at_once = step(&commitment, &commitment.empty(), &mut State::new(), &merged);
        prop_assert_eq!(sum, at_once.accumulator);
    }
}

#[test]
fn removing_what_was_added_is_the_identity() {
    let commitment = LatticeCommitment::new(CryptoSuite::Sm);
    let put = |old, new| [Change { table: StateTable::Account, key: b"a", old, new }];
    let added = commitment.apply(&commitment.empty(), &put(None, Some(&b"1"[..])));
    assert_ne!(added.accumulator, commitment.empty());
    let removed = commitment.apply(&added.accumulator, &put(Some(&b"1"[..]), None));
    assert_eq!(removed.accumulator, commitment.empty());
}

#[test]
fn table_key_and_value_are_encoded_injectively() {
    let commitment = LatticeCommitment::new(CryptoSuite::Sm);
    let rows: [(StateTable, &[u8], &[u8]); 5] = [
        (StateTable::Account, b"ab", b"c"),
        (StateTable::Account, b"a", b"bc"),
        (StateTable::Storage, b"ab", b"c"),
        (StateTable::Account, b"abc", b""),
        (StateTable::Account, b"", b"abc"),
    ];
    let mut seeds: Vec<_> = commitment.row_seeds(rows.iter().copied()).into_iter().map(H256).collect();
    let mut leaves: Vec<_> = rows.iter().map(|(t, k, v)| commitment.change_leaf(*t, k, Some(v))).collect();
    leaves.push(commitment.change_leaf(StateTable::Account, b"abc", None));
    for list in [&mut seeds, &mut leaves] {
        let count = list.len();
        list.sort();
        list.dedup();
        assert_eq!(list.len(), count);
    }
}

#[test]
fn the_root_binds_the_block_and_the_whole_state() {
    let commitment = LatticeCommitment::new(CryptoSuite::Sm);
    let empty = commitment.empty();
    let set = |key, value| [Change { table: StateTable::Config, key, old: None, new: Some(value) }];
    let one = commitment.apply(&empty, &set(&b"k"[..], &b"v"[..]));
    let other_value = commitment.apply(&empty, &set(&b"k"[..], &b"w"[..]));
    let other_state = commitment.apply(&one.accumulator, &set(&b"l"[..], &b"v"[..]));
    let same_write_on_nothing = commitment.apply(&empty, &set(&b"l"[..], &b"v"[..]));
    assert_ne!(one.state_root, other_value.state_root);
    assert_eq!(other_state.changes_root, same_write_on_nothing.changes_root);
    assert_ne!(other_state.state_root, same_write_on_nothing.state_root);
    assert_eq!(one.state_root, commitment.state_root(&one.accumulator, &one.changes_root));
}

#[test]
fn a_write_that_changes_nothing_is_proved_but_leaves_the_sum_alone() {
    let commitment = LatticeCommitment::new(CryptoSuite::Sm);
    let same = Change { table: StateTable::Config, key: b"k", old: Some(b"v"), new: Some(b"v") };
    let update = commitment.apply(&commitment.empty(), &[same]);
    assert_eq!(update.accumulator, commitment.empty());
    assert_eq!(
        update.changes_root,
        merkle::root(CryptoSuite::Sm, &[commitment.change_leaf(same.table, b"k", same.new)])
    );
}

/// The definition at the head of the module, row by row.
#[test]
fn many_rows_at_once_are_the_sum_of_each() {
    for suite in [CryptoSuite::Sm, CryptoSuite::Std] {
        let commitment = LatticeCommitment::new(suite);
        let values: Vec<Vec<u8>> = (0..300usize).map(|i| vec![i as u8; i * 37 % 411]).collect();
        let changes: Vec<_> = values
            .windows(2)
            .enumerate()
            .map(|(i, pair)| Change {
                table: StateTable::Storage,
                key: &pair[0],
                old: (i % 5 != 0).then_some(&pair[0]),
                new: (i % 7 != 0).then_some(&pair[1]),
            })
            .collect();
        let mut sum = Sum::from_bytes(&commitment.empty());
        let element = |change: &Change<'_>, value: &[u8]| {
            let (key_length, value_length) = (length(change.key), length(value));
            let image = [ROW_DOMAIN, &[change.table as u8], &key_length, change.key, &value_length, value];
            commitment.expand(&suite.hash(&image).0)
        };
        for change in &changes {
            change.old.iter().for_each(|value| sum.remove(&element(change, value)));
            change.new.iter().for_each(|value| sum.add(&element(change, value)));
        }
        let update = commitment.apply(&commitment.empty(), &changes);
        assert_eq!(update.accumulator, sum.to_bytes());
        let leaves: Vec<_> = changes.iter().map(|c| commitment.change_leaf(c.table, c.key, c.new)).collect();
        assert_eq!(update.changes_root, merkle::root(suite, &leaves));
    }
}

/// The format is part of consensus: these digests may change only with a new protocol version.
#[test]
fn format_is_pinned() {
    let roots = [CryptoSuite::Sm, CryptoSuite::Std].map(|suite| {
        let commitment = LatticeCommitment::new(suite);
        let change = Change { table: StateTable::Storage, key: b"key", old: None, new: Some(b"value") };
        commitment.apply(&commitment.empty(), &[change]).state_root.to_hex()
    });
    assert_eq!(roots, PINNED_ROOTS);
}

/// The first was also computed from `FORMAT.md` by an independent program.
const PINNED_ROOTS: [&str; 2] = [
    "71b7503066f20688a35a4cd31adc2f19b7e20c6d53f8b0768e07dc73dc25ada5",
    "d24ab6882e4a8d81f883bfd150fdbba56319cef23eb26d96564cf55f6f0a257b",
];

/// Run with `--ignored --nocapture`: microseconds per replaced row (one element out, one in).
#[test]
#[ignore = "prints a measurement"]
#[expect(clippy::print_stderr, reason = "it prints a measurement")]
fn cost_of_one_update() {
    for suite in [CryptoSuite::Sm, CryptoSuite::Std] {
        let commitment = LatticeCommitment::new(suite);
        let keys: Vec<_> = (0..2_000u32).map(u32::to_be_bytes).collect();
        let changes: Vec<_> = keys
            .iter()
            .map(|key| Change { table: StateTable::Storage, key, old: Some(&[1; 32]), new: Some(&[2; 32]) })
            .collect();
        let start = Instant::now();
        commitment.apply(&commitment.empty(), &changes);
        let per_update_us = start.elapsed().as_secs_f64() * 1e6 / changes.len() as f64;
        eprintln!("{suite:?}: {per_update_us:.2} us per update");
    }
}
