//! Guards that earlier versions wrote.

use super::officers::{TICKET, checkpoint};
use super::*;

fn read(bytes: &[u8]) -> Guard {
    let disk = CrashDisk::new(1);
    drop(create(&disk));
    disk.set_content(&path(), bytes.to_vec());
    open(&disk).unwrap()
}

#[test]
fn format_1_with_the_first_standing_opens() {
    let guard = read(include_bytes!("../../../tests/fixtures/guard-v1"));
    assert_eq!(guard.marks(&KEY), [prevote(8, 1).position, checkpoint(6, 2).position]);
    assert_eq!(guard.overrulings(), 1);
    assert_eq!(guard.claim(&prevote(7, 1)).unwrap(), Grant::Stored(signature(1)));
    assert_eq!(guard.claim(&checkpoint(6, 2)).unwrap(), Grant::Sign, "overruled, and not signed since");
    assert!(matches!(guard.claim(&checkpoint(6, 1)), Err(GuardError::Conflict { .. })));
    guard.claim(&prevote(9, 1)).unwrap();
}

#[test]
fn a_guard_that_was_retired_before_keys_were_told_apart_stays_retired() {
    let guard = read(include_bytes!("../../../tests/fixtures/guard-v1-retired"));
    assert!(matches!(guard.claim(&prevote(20, 1)), Err(GuardError::Retired { .. })));
    // Its marks left for whoever had the file: they leave for nobody else.
    let refused = guard.retire(&KEY, TICKET).unwrap_err();
    assert!(
        matches!(refused, GuardError::RetiredFor { .. }) && refused.to_string().contains("whoever had"),
        "{refused}"
    );
    assert_eq!(guard.marks(&KEY).len(), 2);
    let successor = Claim { key: NodeId([9; 64]), ..prevote(1, 1) };
    assert!(matches!(guard.claim(&successor), Err(GuardError::Retired { .. })), "it may have signed since, elsewhere");
    // The validator may come back from where it went.
    guard.await_import(&KEY, TICKET, None).unwrap();
    let marks = [(prevote(30, 1), None), (checkpoint(29, 1), None)];
    guard.import(&Moved { key: &KEY, ticket: TICKET, overrulings: 1, marks: &marks }, None).unwrap();
    guard.claim(&prevote(31, 1)).unwrap();
    assert!(guard.is_retired_unnamed(&successor.key) && !guard.is_retired_unnamed(&KEY));
    guard.adopt(None).unwrap();
    guard.claim(&successor).expect("an officer says that this host alone signs with it");
}

/// A validator may have moved before its first signature.
#[test]
fn a_guard_that_was_retired_with_no_marks_grants_nothing() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    {
        let mut inner = guard.lock();
        let mut lanes = inner.lanes.clone();
        lanes.retires_all = true;
        lanes.retire_all_if_said();
        inner.rewrite(lanes).unwrap();
    }
    drop(guard);
    for _ in 0..2 {
        let guard = open(&disk).unwrap();
        assert!(matches!(guard.claim(&prevote(1, 1)), Err(GuardError::Retired { .. })));
        assert!(matches!(guard.expect_ready(&KEY, None), Err(GuardError::Retired { .. })));
    }
}
