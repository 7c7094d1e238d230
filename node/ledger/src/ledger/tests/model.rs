//! Random chains against a map.

use std::collections::BTreeMap;

use bixi_types::state::StateKey;
use proptest::prelude::*;

use super::*;

type Model = BTreeMap<StateKey, Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    /// Commit a block that writes this.
    Grow(WriteSet),
    /// Prepare a block, then stop without committing it.
    Crash(WriteSet),
    /// Close and open.
    Reopen,
}

fn write_set() -> impl Strategy<Value = WriteSet> {
    let table = prop::sample::select(&StateTable::ALL[..]);
    let key = (table, prop::collection::vec(0u8..4, 0..3)).prop_map(|(table, key)| StateKey { table, key });
    prop::collection::btree_map(key, prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 0..12)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => write_set().prop_map(Op::Grow),
        1 => write_set().prop_map(Op::Crash),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..16)
}

fn apply(model: &mut Model, writes: &WriteSet) {
    for (key, value) in writes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn rows(ledger: &Ledger) -> Model {
    let mut rows = Model::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.insert(keys::parse_state(key).expect("state key"), value.to_vec());
        std::ops::ControlFlow::Continue(())
    };
    ledger.core.engine.scan(Column::State, &[], &mut visit).unwrap();
    rows
}

fn check(ledger: &Ledger, model: &Model, hashes: &[H256]) {
    assert_eq!(ledger.height() as usize + 1, hashes.len());
    assert_eq!(&rows(ledger), model);
    for (number, hash) in (0u64..).zip(hashes) {
        assert_eq!(ledger.hash_of(number).unwrap(), Some(*hash));
        assert_eq!(ledger.header(number).unwrap().unwrap().hash(CryptoSuite::Sm), *hash);
    }
    let view = ledger.view();
    for (key, value) in model {
        assert_eq!(view.get(key.table, &key.key).unwrap().as_ref(), Some(value));
    }
    let creations: WriteSet = model.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let whole = ledger.core.commitment.apply(&ledger.core.commitment.empty(), &super::creations(&creations));
    assert_eq!(&*ledger.core.head().unwrap().accumulator, &whole.accumulator[..]);
}

fn run(ops: &[Op]) {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(params(dir.path())).unwrap();
    let first = writes(&["a=0"]);
    initialise(&ledger, "chain0", &first);
    let mut model = Model::new();
    apply(&mut model, &first);
    let mut hashes = vec![ledger.head_hash().unwrap()];
    for op in ops {
        match op {
            Op::Grow(writes) => {
                hashes.push(grow(&ledger, writes).unwrap());
                apply(&mut model, writes);
            }
            Op::Crash(writes) => {
                ledger.prepare(ledger.height() + 1, writes).unwrap();
                drop(ledger);
                ledger = Ledger::open(params(dir.path())).unwrap();
            }
            Op::Reopen => {
                drop(ledger);
                ledger = Ledger::open(params(dir.path())).unwrap();
            }
        }
    }
    check(&ledger, &model, &hashes);
    drop(ledger);
    check(&Ledger::open(params(dir.path())).unwrap(), &model, &hashes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_reopened_ledger_equals_a_model(ops in ops()) {
        run(&ops);
    }
}
