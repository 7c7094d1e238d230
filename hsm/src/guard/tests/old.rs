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
fn a_guard_that_was_retired_before_keys_were_told_apart_stays_retired_for_those_it_had() {
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
    guard.claim(&successor).expect("a key that it never saw is another matter");
    // The validator may come back from where it went.
    guard.await_import(&KEY, TICKET, None).unwrap();
    let marks = [(prevote(30, 1), None), (checkpoint(29, 1), None)];
    guard.import(&Moved { key: &KEY, ticket: TICKET, overrulings: 1, marks: &marks }, None).unwrap();
    guard.claim(&prevote(31, 1)).unwrap();
}
