//! A validator from host to host: tickets, exports, imports, hosts.

use bixi_accel::sm2::{self, PrivateKey};

use super::officers::{TICKET, change, checkpoint, worked};
use super::*;
use crate::guard::export::{Export, ExportError, FILE_BYTES_MAX};

const OTHER_TICKET: Ticket = Ticket::new([6; 16]);

fn host(name: &str) -> Option<HostId> {
    Some(HostId::new(name.as_bytes()))
}

/// A fresh guard that waits for marks.
fn waiting(disk: &CrashDisk) -> Guard {
    let guard = create(disk);
    assert_eq!(guard.await_import(TICKET, host("b")).unwrap(), TICKET);
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
        assert!(matches!(guard.import(&KEY, OTHER_TICKET, 0, &marks), Err(GuardError::NotAwaited { .. })));
        assert_eq!(
            guard.await_import(OTHER_TICKET, host("b")).unwrap(),
            TICKET,
            "the one that was carried to the other host"
        );
        drop(guard);
        guard = open(&disk).unwrap();
        assert!(guard.is_awaiting());
    }
    guard.import(&KEY, TICKET, 0, &marks).unwrap();
    guard.expect_ready(&KEY, host("b")).unwrap();
    guard.claim(&prevote(50, 1)).unwrap();
    let again = guard.import(&KEY, TICKET, 0, &marks);
    assert!(matches!(again, Err(GuardError::NotAwaited { .. })), "once");
    let never = create(&CrashDisk::new(3)).import(&KEY, TICKET, 0, &marks);
    assert!(matches!(never, Err(GuardError::NotAwaited { .. })), "a guard that drew no ticket");
}

#[test]
fn a_guard_is_raised_and_never_lowered() {
    let marks = worked(&CrashDisk::new(1)).mark_statements(&KEY);
    assert_eq!(marks, [(prevote(7, 1), Some(signature(1))), (checkpoint(6, 1), Some(signature(2)))]);
    let disk = CrashDisk::new(2);
    let fresh = waiting(&disk);
    fresh.import(&KEY, TICKET, 3, &marks).unwrap();
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
        target.await_import(TICKET, None).unwrap();
        let done = target.import(&KEY, TICKET, 0, marks);
        assert!(done.is_ok() || target.marks(&KEY) == [claim.position] && target.is_awaiting(), "all or nothing");
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
    b.import(&KEY, TICKET, 0, &a.mark_statements(&KEY)).unwrap();
    b.claim(&prevote(8, 1)).unwrap();
    assert_eq!(a.await_import(OTHER_TICKET, host("a")).unwrap(), OTHER_TICKET);
    // What left it first does not bring it back.
    let stale = a.mark_statements(&KEY);
    assert!(matches!(a.import(&KEY, TICKET, 0, &stale), Err(GuardError::NotAwaited { .. })));
    b.retire(&KEY, OTHER_TICKET).unwrap();
    a.import(&KEY, OTHER_TICKET, 0, &b.mark_statements(&KEY)).unwrap();
    assert!(matches!(a.claim(&prevote(8, 2)), Err(GuardError::Conflict { .. })), "what was signed away from home");
    a.claim(&prevote(9, 1)).unwrap();
    assert!(matches!(b.claim(&prevote(9, 2)), Err(GuardError::Retired { .. })));
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
    guard.await_import(TICKET, host("c")).unwrap();
    guard.import(&KEY, TICKET, 0, &guard.mark_statements(&KEY)).unwrap();
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
        let done = guard.import(&KEY, TICKET, 0, &marks).is_ok();
        drop(guard);
        disk = disk.crash();
        let guard = open(&disk).unwrap();
        assert_ne!(guard.is_awaiting(), guard.marks(&KEY).len() == 2, "seed {seed}, {operations}");
        assert!(!done || !guard.is_awaiting(), "done and then lost");
        seen[usize::from(guard.is_awaiting())] += 1;
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
    assert!(Export::decode(&older).unwrap_err().to_string().contains("export again"), "one that named no importer");
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
