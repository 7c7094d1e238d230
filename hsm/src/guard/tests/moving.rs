//! A validator from host to host: tickets, exports, imports, hosts.

use bixi_accel::sm2::{self, PrivateKey};

use super::officers::{TICKET, change, checkpoint, worked};
use super::*;
use crate::guard::export::{Export, ExportError, FILE_BYTES_MAX};

const OTHER_TICKET: Ticket = Ticket::new([6; 16]);

fn host(name: &str) -> Option<HostId> {
    Some(HostId::new(name.as_bytes()))
}

/// On host "b".
fn import(guard: &Guard, ticket: Ticket, overrulings: u64, marks: &[Mark]) -> Result<(), GuardError> {
    guard.import(&Moved { key: &KEY, ticket, overrulings, marks }, host("b"))
}

/// A fresh guard that waits for marks.
fn waiting(disk: &CrashDisk) -> Guard {
    let guard = create(disk);
    assert_eq!(guard.await_import(&KEY, TICKET, host("b")).unwrap(), TICKET);
    guard
}

#[test]
fn a_retired_key_is_granted_nothing_after_any_restart() {
    let disk = CrashDisk::new(1);
    let mut guard = worked(&disk);
    guard.retire(&KEY, TICKET).unwrap();
    guard.retire(&KEY, TICKET).expect("again, for a file that was lost");
    let marks = guard.mark_statements(&KEY);
    let successor = NodeId([9; 64]);
    for height in 0..2 {
        for claim in [prevote(8, 1), prevote(7, 1), checkpoint(6, 1), checkpoint(9, 1)] {
            assert!(matches!(guard.claim(&claim), Err(GuardError::Retired { .. })));
        }
        assert!(matches!(guard.overrule(&KEY, 1, &[change(6, 1, 2)]), Err(GuardError::Retired { .. })));
        assert!(matches!(guard.expect_ready(&KEY, None), Err(GuardError::Retired { .. })));
        guard.expect_ready(&successor, None).expect("the key after a rotation is another matter");
        guard.claim(&Claim { key: successor, ..prevote(1 + height, 1) }).unwrap();
        drop(guard);
        guard = open(&disk).unwrap();
        assert!(guard.is_retired(&KEY) && !guard.is_retired(&successor));
        assert_eq!(guard.mark_statements(&KEY), marks);
    }
}

#[test]
fn marks_leave_for_one_ticket_only() {
    let disk = CrashDisk::new(1);
    let guard = worked(&disk);
    guard.retire(&KEY, TICKET).unwrap();
    drop(guard);
    let guard = open(&disk).unwrap();
    let refused = guard.retire(&KEY, OTHER_TICKET).unwrap_err();
    assert!(matches!(refused, GuardError::RetiredFor { .. }) && refused.to_string().contains("05050505"), "{refused}");
    guard.retire(&KEY, TICKET).unwrap();
    assert!(
        matches!(waiting(&CrashDisk::new(2)).retire(&KEY, TICKET), Err(GuardError::Awaiting { .. })),
        "not its last word"
    );
}

#[test]
fn a_guard_that_waits_grants_nothing_before_the_marks_for_its_ticket_are_here() {
    let marks = worked(&CrashDisk::new(1)).mark_statements(&KEY);
    let disk = CrashDisk::new(2);
    let mut guard = waiting(&disk);
    for _ in 0..2 {
        assert!(matches!(guard.claim(&prevote(50, 1)), Err(GuardError::Awaiting { .. })));
        assert!(matches!(guard.expect_ready(&KEY, host("b")), Err(GuardError::Awaiting { .. })));
        assert!(matches!(import(&guard, OTHER_TICKET, 0, &marks), Err(GuardError::NotAwaited { .. })));
        assert_eq!(
            guard.await_import(&KEY, OTHER_TICKET, host("b")).unwrap(),
            TICKET,
            "the one that was carried to the other host"
        );
        drop(guard);
        guard = open(&disk).unwrap();
        assert!(guard.is_awaiting(&KEY));
    }
    import(&guard, TICKET, 0, &marks).unwrap();
    guard.expect_ready(&KEY, host("b")).unwrap();
    guard.claim(&prevote(50, 1)).unwrap();
    let again = import(&guard, TICKET, 0, &marks);
    assert!(matches!(again, Err(GuardError::NotAwaited { .. })), "once");
    let never = import(&create(&CrashDisk::new(3)), TICKET, 0, &marks);
    assert!(matches!(never, Err(GuardError::NotAwaited { .. })), "a guard that drew no ticket");
}

#[test]
fn a_guard_is_raised_and_never_lowered() {
    let marks = worked(&CrashDisk::new(1)).mark_statements(&KEY);
    assert_eq!(marks, [(prevote(7, 1), Some(signature(1))), (checkpoint(6, 1), Some(signature(2)))]);
    let disk = CrashDisk::new(2);
    let fresh = waiting(&disk);
    import(&fresh, TICKET, 3, &marks).unwrap();
    drop(fresh);
    let fresh = open(&disk).unwrap();
    assert_eq!(fresh.overrulings(), 3, "an approval that was taken there is taken nowhere again");
    assert_eq!(fresh.marks(&KEY), [prevote(7, 1).position, checkpoint(6, 1).position]);
    assert_eq!(fresh.claim(&checkpoint(6, 1)).unwrap(), Grant::Stored(signature(2)));
    for refused in [prevote(7, 2), prevote(6, 1), checkpoint(5, 1)] {
        assert!(matches!(fresh.claim(&refused), Err(GuardError::Conflict { .. })));
    }
    let raised = |claim: &Claim, marks: &[Mark]| {
        let target = create(&CrashDisk::new(3));
        target.claim(claim).unwrap();
        target.await_import(&KEY, TICKET, None).unwrap();
        let done = import(&target, TICKET, 0, marks);
        assert!(done.is_ok() || target.marks(&KEY) == [claim.position] && target.is_awaiting(&KEY), "all or nothing");
        done
    };
    for (claim, what) in [(prevote(8, 1), "a higher mark"), (checkpoint(6, 9), "another statement")] {
        assert!(matches!(raised(&claim, &marks), Err(GuardError::Conflict { .. })), "{what}");
    }
    let missing = raised(&checkpoint(1, 1), &marks[..1]);
    assert!(matches!(missing, Err(GuardError::Conflict { .. })), "a lane the other never had");
    raised(&checkpoint(1, 1), &marks).unwrap();
}

#[test]
fn a_validator_moves_there_and_back() {
    let [home, away] = [1, 2].map(CrashDisk::new);
    let (a, b) = (worked(&home), waiting(&away));
    a.expect_ready(&KEY, host("a")).unwrap();
    a.retire(&KEY, TICKET).unwrap();
    import(&b, TICKET, 0, &a.mark_statements(&KEY)).unwrap();
    b.claim(&prevote(8, 1)).unwrap();
    assert_eq!(a.await_import(&KEY, OTHER_TICKET, host("a")).unwrap(), OTHER_TICKET);
    // What left it first does not bring it back.
    let stale = a.mark_statements(&KEY);
    assert!(matches!(import(&a, TICKET, 0, &stale), Err(GuardError::NotAwaited { .. })));
    b.retire(&KEY, OTHER_TICKET).unwrap();
    let marks = b.mark_statements(&KEY);
    a.import(&Moved { key: &KEY, ticket: OTHER_TICKET, overrulings: 0, marks: &marks }, host("a")).unwrap();
    assert!(matches!(a.claim(&prevote(8, 2)), Err(GuardError::Conflict { .. })), "what was signed away from home");
    a.claim(&prevote(9, 1)).unwrap();
    assert!(matches!(b.claim(&prevote(9, 2)), Err(GuardError::Retired { .. })));
    // Tickets of moves that have ended retire nothing.
    for spent in [TICKET, OTHER_TICKET] {
        assert!(matches!(a.retire(&KEY, spent), Err(GuardError::Spent { .. })));
    }
    a.claim(&prevote(10, 1)).unwrap();
}

#[test]
fn a_copy_of_a_waiting_guard_takes_no_marks_on_another_host() {
    let marks = worked(&CrashDisk::new(1)).mark_statements(&KEY);
    let disk = CrashDisk::new(2);
    let guard = waiting(&disk);
    assert!(matches!(guard.await_import(&KEY, OTHER_TICKET, host("c")), Err(GuardError::OtherHost { .. })));
    let moved = Moved { key: &KEY, ticket: TICKET, overrulings: 0, marks: &marks };
    assert!(matches!(guard.import(&moved, host("c")), Err(GuardError::OtherHost { .. })));
    guard.import(&moved, host("b")).unwrap();
}

#[test]
fn what_never_signed_is_moved_nowhere_and_what_signs_here_is_not_moved_here() {
    let fresh = create(&CrashDisk::new(1));
    assert!(matches!(fresh.retire(&KEY, TICKET), Err(GuardError::NeverSigned { .. })));
    let guard = waiting(&CrashDisk::new(2));
    assert!(
        matches!(import(&guard, TICKET, 0, &[]), Err(GuardError::NotAwaited { .. })),
        "of a guard that never signed"
    );
    assert!(guard.is_awaiting(&KEY));
    let working = worked(&CrashDisk::new(3));
    assert!(working.expect_ready(&KEY, host("a")).unwrap(), "it has a home now");
    assert!(!working.expect_ready(&KEY, host("a")).unwrap());
    assert!(matches!(working.await_import(&KEY, TICKET, host("a")), Err(GuardError::SignsHere { .. })));
    working.claim(&prevote(8, 1)).expect("it was not told to wait");
}

#[test]
fn a_guard_waits_for_one_key_and_signs_with_another() {
    let guard = waiting(&CrashDisk::new(1));
    let successor = NodeId([9; 64]);
    guard.claim(&Claim { key: successor, ..prevote(1, 1) }).expect("the way out when the marks never come");
    let marks = [(Claim { key: successor, ..prevote(5, 1) }, None)];
    let other = Moved { key: &successor, ticket: TICKET, overrulings: 0, marks: &marks };
    assert!(
        matches!(guard.import(&other, host("b")), Err(GuardError::NotAwaited { .. })),
        "it waits for another key's"
    );
    assert!(guard.is_awaiting(&KEY));
}

#[test]
fn a_file_that_was_lost_is_made_again_while_the_guard_waits_to_get_the_validator_back() {
    let guard = worked(&CrashDisk::new(1));
    guard.expect_ready(&KEY, host("a")).unwrap();
    guard.retire(&KEY, TICKET).unwrap();
    guard.await_import(&KEY, OTHER_TICKET, host("a")).unwrap();
    guard.retire(&KEY, TICKET).expect("for the same ticket");
}

#[test]
fn a_checkpoint_that_officers_changed_after_the_copy_comes_along() {
    let source = worked(&CrashDisk::new(1));
    let disk = CrashDisk::new(2);
    let copy = worked(&disk);
    source.overrule(&KEY, 1, &[change(5, 1, 2), change(6, 1, 2)]).unwrap();
    source.retire(&KEY, TICKET).unwrap();
    copy.await_import(&KEY, TICKET, host("b")).unwrap();
    import(&copy, TICKET, source.overrulings(), &source.mark_statements(&KEY)).unwrap();
    drop(copy);
    let copy = open(&disk).unwrap();
    assert_eq!(copy.checkpoint(&KEY, 6), Some([2; 32]));
    assert!(
        matches!(copy.claim(&checkpoint(5, 1)), Err(GuardError::Conflict { .. })),
        "what was overruled is not given out"
    );
    assert!(matches!(copy.claim(&checkpoint(6, 1)), Err(GuardError::Conflict { .. })));
    copy.claim(&checkpoint(6, 2)).unwrap();
}

#[test]
fn a_guard_signs_on_the_host_where_it_began() {
    let disk = CrashDisk::new(1);
    let guard = worked(&disk);
    guard.expect_ready(&KEY, None).expect("hosts without an identity bind nothing");
    guard.expect_ready(&KEY, host("a")).unwrap();
    drop(guard);
    let guard = open(&disk).unwrap();
    guard.expect_ready(&KEY, host("a")).unwrap();
    for elsewhere in [host("b"), None] {
        assert!(matches!(guard.expect_ready(&KEY, elsewhere), Err(GuardError::OtherHost { .. })));
        assert!(matches!(guard.expect_at_home(elsewhere), Err(GuardError::OtherHost { .. })));
    }
    guard.adopt(host("b")).unwrap();
    guard.expect_ready(&KEY, host("b")).unwrap();
    assert!(matches!(guard.expect_ready(&KEY, host("a")), Err(GuardError::OtherHost { .. })));
    // A copy that is to take over waits for the marks of the original.
    guard.await_import(&KEY, TICKET, host("c")).unwrap();
    let marks = guard.mark_statements(&KEY);
    let moved = Moved { key: &KEY, ticket: TICKET, overrulings: 0, marks: &marks };
    guard.import(&moved, host("c")).unwrap();
    guard.expect_ready(&KEY, host("c")).unwrap();
}

#[test]
fn a_crash_during_an_import_leaves_the_guard_before_or_after() {
    let marks = [(prevote(9, 3), None), (checkpoint(9, 3), None)];
    let mut seen = [0; 2];
    for (seed, operations) in (0..8).flat_map(|seed| (1..16).map(move |operations| (seed, operations))) {
        let mut disk = CrashDisk::new(seed);
        let guard = waiting(&disk);
        disk.dies_after(operations);
        let done = import(&guard, TICKET, 0, &marks).is_ok();
        drop(guard);
        disk = disk.crash();
        let guard = open(&disk).unwrap();
        assert_ne!(guard.is_awaiting(&KEY), guard.marks(&KEY).len() == 2, "seed {seed}, {operations}");
        assert!(!done || !guard.is_awaiting(&KEY), "done and then lost");
        seen[usize::from(guard.is_awaiting(&KEY))] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn a_ticket_reads_back_for_its_validator_and_with_no_wrong_digit() {
    let text = TICKET.text(&CHAIN, &KEY);
    assert_eq!(text.len(), 40);
    assert_eq!(Ticket::parse(&format!(" {text}\n"), &CHAIN, &KEY), Ok(TICKET));
    for place in 0..text.len() {
        let mut wrong = text.clone().into_bytes();
        wrong[place] = if wrong[place] == b'0' { b'1' } else { b'0' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert_eq!(Ticket::parse(&wrong, &CHAIN, &KEY), Err(TicketError), "digit {place}");
        assert_eq!(Ticket::parse(&text[..place], &CHAIN, &KEY), Err(TicketError));
    }
    for (chain, node) in [(H256([8; 32]), KEY), (CHAIN, NodeId([2; 64]))] {
        assert_eq!(Ticket::parse(&text, &chain, &node), Err(TicketError), "another validator's");
    }
}

fn exported() -> (Export, Vec<u8>) {
    let key = PrivateKey::from_bytes(&[5; 32]).unwrap();
    let marks = worked(&CrashDisk::new(1)).mark_statements(&KEY);
    let signer = key.public_key().to_bytes();
    let export = Export { chain: CHAIN, node: KEY, signer, ticket: TICKET, overrulings: 1, at_ms: 3, marks };
    let file = export.encode(&sign(&key, &export));
    (export, file)
}

fn sign(key: &PrivateKey, export: &Export) -> SignatureBytes {
    struct Dull(u8);
    impl bixi_accel::Random for Dull {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), bixi_accel::RandomError> {
            out.iter_mut().for_each(|byte| {
                self.0 = self.0.wrapping_mul(13).wrapping_add(11);
                *byte = self.0;
            });
            Ok(())
        }
    }
    SignatureBytes(sm2::sign(key, sm2::DEFAULT_ID, &export.sign_bytes(), &mut Dull(1)).unwrap().0)
}

#[test]
fn an_export_reads_back_and_no_flipped_or_missing_byte_does() {
    let (export, file) = exported();
    assert_eq!(Export::decode(&file).unwrap(), export);
    for place in 0..file.len() {
        let mut flipped = file.clone();
        flipped[place] ^= 1;
        assert!(Export::decode(&flipped).is_err(), "byte {place}");
        assert!(Export::decode(&file[..place]).is_err(), "cut at {place}");
    }
    assert!(Export::decode(&[&file[..], &[0]].concat()).is_err());
    assert!(Export::decode(&vec![0; FILE_BYTES_MAX + 1]).is_err());
    let older = [b"BIXIGRD1", &file[8..]].concat();
    assert!(Export::decode(&older).unwrap_err().to_string().contains("named no importer"), "{older:?}");
    let other = Export { signer: PrivateKey::from_bytes(&[6; 32]).unwrap().public_key().to_bytes(), ..export.clone() };
    let forged = other.encode(&sign(&PrivateKey::from_bytes(&[5; 32]).unwrap(), &other));
    assert_eq!(Export::decode(&forged), Err(ExportError::Signature));
}

#[test]
fn an_export_of_marks_that_do_not_fit_together_is_none() {
    let (export, _) = exported();
    let key = PrivateKey::from_bytes(&[5; 32]).unwrap();
    let twice = vec![(prevote(7, 1), None), (prevote(8, 1), None)];
    let foreign = vec![(Claim { key: NodeId([9; 64]), ..prevote(7, 1) }, None)];
    for marks in [twice, foreign, vec![(prevote(7, 1), None); 3]] {
        let wrong = Export { marks, ..export.clone() };
        assert!(matches!(Export::decode(&wrong.encode(&sign(&key, &wrong))), Err(ExportError::Malformed(_))));
    }
}
