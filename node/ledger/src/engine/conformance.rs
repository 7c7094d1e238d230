//! One conformance suite, run by every engine.

use std::ops::ControlFlow;

use super::memory::MemoryEngine;
use super::{Batch, Engine, Reader};
use crate::keys::Column;

fn put(engine: &dyn Engine, column: Column, pairs: &[(&[u8], &[u8])]) {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(column, *key, *value);
    }
    engine.write(batch).expect("write");
}

fn collect(reader: &dyn Reader, column: Column, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    reader
        .scan(column, prefix, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("scan");
    found
}

fn reads_what_was_written(engine: &dyn Engine) {
    put(engine, Column::State, &[(b"a", b"1"), (b"b", b""), (b"", b"empty key")]);
    assert_eq!(engine.get(Column::State, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(engine.get(Column::State, b"b").unwrap().as_deref(), Some(&b""[..]), "empty is not absent");
    assert_eq!(engine.get(Column::State, b"").unwrap().as_deref(), Some(&b"empty key"[..]));
    assert_eq!(engine.get(Column::State, b"c").unwrap(), None);
    let many = engine.multi_get(Column::State, &[b"c".to_vec(), b"a".to_vec(), b"a".to_vec()]).unwrap();
    assert_eq!(many, [None, Some(b"1".to_vec()), Some(b"1".to_vec())]);
    assert!(engine.multi_get(Column::State, &[]).unwrap().is_empty());
}

fn columns_are_separate(engine: &dyn Engine) {
    for column in Column::ALL {
        put(engine, column, &[(b"same", column.name().as_bytes())]);
    }
    for column in Column::ALL {
        assert_eq!(engine.get(column, b"same").unwrap().as_deref(), Some(column.name().as_bytes()));
    }
}

fn later_writes_of_a_batch_win(engine: &dyn Engine) {
    let mut batch = Batch::default();
    batch.put(Column::Index, "k", "1");
    batch.delete(Column::Index, "k");
    batch.delete(Column::Index, "never there");
    batch.put(Column::Index, "l", "1");
    batch.put(Column::Index, "l", "2");
    engine.write(batch).unwrap();
    assert_eq!(engine.get(Column::Index, b"k").unwrap(), None);
    assert_eq!(engine.get(Column::Index, b"l").unwrap().as_deref(), Some(&b"2"[..]));
}

fn scans_a_prefix_in_order(engine: &dyn Engine) {
    put(engine, Column::Chain, &[(b"p\x01", b"b"), (b"p", b"a"), (b"p\xff", b"c"), (b"q", b"d"), (b"o", b"e")]);
    let found: Vec<_> = collect(engine, Column::Chain, b"p").into_iter().map(|(_, value)| value).collect();
    assert_eq!(found, [b"a", b"b", b"c"]);
    put(engine, Column::Chain, &[(b"\xff\xff", b"x"), (b"\xff\xff\x00", b"y")]);
    assert_eq!(collect(engine, Column::Chain, b"\xff\xff").len(), 2);
    let mut seen = 0;
    engine
        .scan(Column::Chain, b"p", &mut |_, _| {
            seen += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(seen, 1, "a scan ends when asked to");
}

fn a_walk_goes_on_to_the_end(engine: &dyn Engine) {
    put(engine, Column::Index, &[(b"w3", b"c"), (b"w1", b"a"), (b"w2", b"b")]);
    let walked = |reader: &dyn Reader, first: &[u8]| {
        let mut values = Vec::new();
        let mut visit = |_: &[u8], value: &[u8]| {
            values.push(value.to_vec());
            ControlFlow::Continue(())
        };
        reader.walk(Column::Index, first, &mut visit).unwrap();
        values
    };
    assert_eq!(walked(engine, b"w2"), [b"b", b"c"]);
    let snapshot = engine.snapshot();
    put(engine, Column::Index, &[(b"w4", b"d")]);
    assert_eq!(walked(&*snapshot, b"w11"), [b"b", b"c"]);
    assert_eq!(walked(engine, b"w3"), [b"c", b"d"]);
    assert_eq!(walked(engine, b"w5").len(), 0);
}

fn snapshots_do_not_see_later_writes(engine: &dyn Engine) {
    put(engine, Column::State, &[(b"t1", b"old"), (b"t2", b"old")]);
    let snapshot = engine.snapshot();
    let mut batch = Batch::default();
    batch.put(Column::State, "t1", "new");
    batch.delete(Column::State, "t2");
    batch.put(Column::State, "t3", "new");
    engine.write(batch).unwrap();
    let old = [(b"t1".to_vec(), b"old".to_vec()), (b"t2".to_vec(), b"old".to_vec())];
    assert_eq!(collect(&*snapshot, Column::State, b"t"), old);
    assert_eq!(snapshot.get(Column::State, b"t2").unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(snapshot.multi_get(Column::State, &[b"t3".to_vec()]).unwrap(), [None]);
    assert_eq!(engine.get(Column::State, b"t1").unwrap().as_deref(), Some(&b"new"[..]));
}

/// Runs every statement on an empty engine.
pub(crate) fn check(engine: &dyn Engine) {
    reads_what_was_written(engine);
    columns_are_separate(engine);
    later_writes_of_a_batch_win(engine);
    scans_a_prefix_in_order(engine);
    a_walk_goes_on_to_the_end(engine);
    snapshots_do_not_see_later_writes(engine);
}

#[test]
fn memory_engine_conforms() {
    check(&MemoryEngine::new());
}
