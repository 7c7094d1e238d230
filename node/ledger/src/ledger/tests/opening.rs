//! What is refused when a ledger is opened.

use super::*;
use crate::Params;

fn reopen(engine: MemoryEngine) -> Result<Ledger, LedgerError> {
    Ledger::with_engine(Box::new(engine), CryptoSuite::Sm, None, 1 << 20)
}

fn refusal(result: Result<Ledger, LedgerError>) -> LedgerError {
    result.err().expect("the ledger opened")
}

/// Copies a grown ledger's records into an engine and lets `spoil` edit them.
fn spoilt(spoil: impl FnOnce(&mut Batch, &Ledger)) -> MemoryEngine {
    let ledger = ledger_in_memory();
    for value in ["a=1", "a=2", "a=3"] {
        grow(&ledger, &writes(&[value])).unwrap();
    }
    let copy = MemoryEngine::new();
    let mut batch = Batch::default();
    for column in Column::ALL {
        let mut visit = |key: &[u8], value: &[u8]| {
            batch.put(column, key, value);
            std::ops::ControlFlow::Continue(())
        };
        ledger.core.engine.scan(column, &[], &mut visit).unwrap();
    }
    spoil(&mut batch, &ledger);
    copy.write(batch).unwrap();
    copy
}

#[test]
fn an_untouched_copy_opens() {
    let ledger = reopen(spoilt(|_, _| ())).unwrap();
    assert_eq!((ledger.height(), read(&ledger, "a").as_deref()), (3, Some("3")));
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    type Spoil = fn(&mut Batch, &Ledger);
    let cases: [(&str, Spoil); 8] = [
        ("genesis", |batch, _| batch.delete(Column::Meta, keys::META_GENESIS)),
        ("head", |batch, _| batch.delete(Column::Meta, keys::META_HEAD)),
        ("schema", |batch, _| batch.delete(Column::Meta, keys::META_SCHEMA)),
        ("accumulator", |batch, _| batch.put(Column::Meta, keys::META_ACCUMULATOR, vec![0; 8])),
        ("state commitment", |batch, _| batch.put(Column::Meta, keys::META_ACCUMULATOR, vec![0; 2048])),
        ("header 2 is missing", |batch, _| batch.delete(Column::Chain, keys::header(2))),
        ("header 2", |batch, ledger| {
            let mut header = ledger.header(2).unwrap().unwrap();
            header.timestamp += 1;
            batch.put(Column::Chain, keys::header(2), header.encode());
        }),
        ("above the head", |batch, ledger| {
            batch.put(Column::Chain, keys::header(4), ledger.header(3).unwrap().unwrap().encode());
        }),
    ];
    for (named, spoil) in cases {
        let error = refusal(reopen(spoilt(spoil)));
        assert!(matches!(error, LedgerError::Damaged(_)), "{named}: {error}");
        assert!(error.to_string().contains(named), "{named}: {error}");
        assert_eq!(error.kind(), ErrorKind::Halt);
    }
}

#[test]
fn an_old_head_under_newer_headers_is_refused() {
    let error = refusal(reopen(spoilt(|batch, ledger| {
        let head = Head { number: 2, ..ledger.core.head().unwrap().head.clone() };
        batch.put(Column::Meta, keys::META_HEAD, records::encode(&head));
    })));
    assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
}

#[test]
fn another_schema_chain_or_suite_is_refused_by_name() {
    let schema = |version: u32| spoilt(|batch, _| batch.put(Column::Meta, keys::META_SCHEMA, version.to_le_bytes()));
    let newer = refusal(reopen(schema(keys::SCHEMA_VERSION + 1)));
    assert!(matches!(newer, LedgerError::Schema { .. }) && newer.to_string().contains("newer"), "{newer}");
    let older = refusal(reopen(schema(0)));
    assert!(matches!(older, LedgerError::Schema { found: 0, .. }) && older.to_string().contains("backup"), "{older}");

    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(params(dir.path())).unwrap();
    initialise(&ledger, "chain0", &writes(&["a=0"]));
    drop(ledger);
    let open = |genesis, suite| Ledger::open(Params { genesis, suite, ..params(dir.path()) });
    let other = refusal(open(Some(genesis("chain1").hash()), CryptoSuite::Sm));
    assert!(matches!(other, LedgerError::OtherChain { .. }), "{other}");
    let suite = refusal(open(None, CryptoSuite::Std));
    assert!(matches!(suite, LedgerError::OtherSuite { .. }), "{suite}");
    open(Some(genesis("chain0").hash()), CryptoSuite::Sm).unwrap();
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _open = Ledger::open(params(dir.path())).unwrap();
    let error = refusal(Ledger::open(params(dir.path())));
    assert!(matches!(error, LedgerError::Open { .. }) && error.to_string().contains("open"), "{error}");
}
