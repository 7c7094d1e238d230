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
fn a_guard_that_was_retired_before_keys_were_told_apart_stays_retired_for_all() {
    let guard = read(include_bytes!("../../../tests/fixtures/guard-v1-retired"));
    for key in [KEY, NodeId([9; 64])] {
        assert!(matches!(guard.claim(&Claim { key, ..prevote(20, 1) }), Err(GuardError::Retired { .. })));
    }
    // Its marks left for whoever had the file.
    assert!(matches!(guard.await_import(TICKET, None), Err(GuardError::Retired { .. })));
    assert_eq!(guard.marks(&KEY).len(), 2);
}
