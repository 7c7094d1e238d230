//! Officers at a service: its guard exported, imported and overruled, and heads of its trail signed.

use bixi_accel::sm2::PrivateKey;
use bixi_platform::io::{MemoryDisk, Storage};

use super::*;
use crate::audit::{AuditLog, verify_chain};
use crate::guard::HostId;
use crate::guard::export::Export;
use crate::officer::key::OfficerKey;
use crate::officer::{Approval, Change, Override};
use crate::random::System;

fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).unwrap()
}

/// A bench with a trail on a disk of its own.
fn bench_with_trail() -> (Bench, Arc<MemoryDisk>, Arc<AuditLog>) {
    let disk = Arc::new(MemoryDisk::new());
    let log = Arc::new(AuditLog::open(disk.clone() as Arc<dyn Storage>, "/audit", ring()).unwrap());
    (bench_with(0, log.clone()), disk, log)
}

/// Requests, subjects and outcomes in a trail that holds.
fn told(disk: &MemoryDisk) -> Vec<(String, String, Outcome)> {
    let mut told = Vec::new();
    verify_chain(disk, std::path::Path::new("/audit"), &ring(), |entry| {
        told.push((entry.event.request, entry.event.subject, entry.event.outcome));
    })
    .unwrap();
    told
}

#[test]
fn a_node_that_stops_has_the_head_of_its_trail_signed_once() {
    let (bench, disk, log) = bench_with_trail();
    let client = Client::connect(InProcess(bench.service.clone())).unwrap();
    bench.service.sign(&Statement::Vote(bench.vote(3, None))).unwrap();
    let signed = |disk: &MemoryDisk| {
        let heads = told(disk).into_iter().filter_map(|(_, _, outcome)| match outcome {
            Outcome::HeadSigned(signed) => Some(*signed),
            _ => None,
        });
        heads.collect::<Vec<_>>()
    };
    client.tell_due().unwrap();
    assert_eq!(signed(&disk), [], "not due yet");
    client.settle().unwrap();
    let heads = signed(&disk);
    let [head] = &heads[..] else { panic!("{heads:?}") };
    assert_eq!(head.statement.head.entries + 1, log.head().entries, "it covers all entries before it");
    assert!(head.verifies());
    assert_eq!((head.statement.chain, head.statement.node), (CHAIN, bench.node()));
    assert_eq!(head.key, bench.service.tls.as_ref().unwrap().bytes());
    // A device that is away signs none and stops nothing; the next one covers everything.
    bench.device.set_pulled(true);
    client.settle().unwrap();
    assert_eq!(signed(&disk).len(), 1);
    bench.device.set_pulled(false);
    client.settle().unwrap();
    assert_eq!(signed(&disk).len(), 2);
}

#[test]
fn a_head_is_due_by_time_while_entries_come() {
    let (bench, disk, _log) = bench_with_trail();
    let begin = Instant::now();
    let heads = || told(&disk).iter().filter(|(request, ..)| request == "audit-head").count();
    let at = |minutes: u64| bench.service.handle_at(&Request::TellDue, begin + Duration::from_secs(60 * minutes));
    bench.service.sign(&Statement::Vote(bench.vote(3, None))).unwrap();
    for (minutes, count) in [(9_u64, 0), (11, 1), (60, 1)] {
        assert_eq!(at(minutes), Response::Settled);
        assert_eq!(heads(), count, "after {minutes} minutes");
    }
}

#[test]
fn a_guard_moves_to_where_its_key_is_and_nowhere_else() {
    let (source, disk, _log) = bench_with_trail();
    source.service.sign(&Statement::Vote(source.vote(3, None))).unwrap();
    source.service.sign(&Statement::Checkpoint(Box::new(source.header(2, 1)))).unwrap();
    // The seeded device makes the same keys: one device, two hosts.
    let (target, ..) = bench_with_trail();
    let host = |name: &str| Some(HostId::new(name.as_bytes()));
    assert!(source.service.guard().expect_ready(&source.service.node_id(), host("a")).unwrap());
    source.service.tell_home().unwrap();
    assert!(told(&disk).iter().any(|(request, ..)| request == "guard-home"));
    let ticket = target.service.await_guard_import(None).unwrap();
    assert_eq!(target.service.await_guard_import(None).unwrap(), ticket, "asked again");
    let waits = target.service.sign(&Statement::Vote(target.vote(4, None))).unwrap_err();
    assert!(waits.to_string().contains("waits for the marks"), "{waits}");
    let mistyped = source.service.export_guard(&ticket.replace(&ticket[..2], "zz"), host("a")).unwrap_err().to_string();
    assert!(mistyped.contains("no ticket"), "{mistyped}");
    source.service.sign(&Statement::Vote(source.vote(3, None))).expect("a wrong ticket retires nothing");
    let elsewhere = source.service.export_guard(&ticket, host("c")).unwrap_err().to_string();
    assert!(elsewhere.contains("another host"), "marks of a copy are not the last word: {elsewhere}");
    let (exported, file) = source.service.export_guard(&ticket, host("a")).unwrap();
    let refused = source.service.sign(&Statement::Vote(source.vote(4, None))).unwrap_err();
    assert!(refused.to_string().contains("was retired"), "{refused}");
    let (again, _) = source.service.export_guard(&ticket, host("a")).unwrap();
    assert_eq!(again.marks, exported.marks, "a lost file is made again");
    let third = bench_with_trail().0.service.await_guard_import(None).unwrap();
    let second = source.service.export_guard(&third, host("a")).unwrap_err().to_string();
    assert!(second.contains("signed for no other"), "{second}");
    assert!(told(&disk).iter().any(|(request, ..)| request == "guard-export"));
    let stranger = target.service.import_guard(&file, Some([1; 64]), None).unwrap_err().to_string();
    assert!(stranger.contains("not the key to be trusted"), "{stranger}");
    let export = target.service.import_guard(&file, None, None).unwrap();
    assert_eq!(export.marks.len(), 2);
    for statement in [Statement::Vote(target.vote(3, Some(H256([1; 32])))), Statement::Vote(target.vote(2, None))] {
        assert!(matches!(target.service.sign(&statement), Err(SignError::Conflict(_))));
    }
    target.service.sign(&Statement::Vote(target.vote(4, None))).unwrap();
    let late = target.service.import_guard(&file, None, None).unwrap_err();
    assert!(late.to_string().contains("waits for no marks"), "{late}");
}

#[test]
fn marks_with_a_signature_that_the_validator_never_made_are_refused() {
    let (source, ..) = bench_with_trail();
    let vote = |height| source.service.sign(&Statement::Vote(source.vote(height, None)));
    vote(3).unwrap();
    let (target, ..) = bench_with_trail();
    let ticket = target.service.await_guard_import(None).unwrap();
    let (mut export, _) = source.service.export_guard(&ticket, None).unwrap();
    let officer = PrivateKey::from_bytes(&[5; 32]).unwrap();
    export.signer = officer.public_key().to_bytes();
    let encoded = |export: &Export| {
        let signature = sm2::sign(&officer, sm2::DEFAULT_ID, &export.sign_bytes(), &mut System).unwrap();
        export.encode(&SignatureBytes(signature.0))
    };
    // Its own key is trusted here; its marks are not.
    let sound = export.clone();
    export.marks[0].0.digest[0] ^= 1;
    let refused = target.service.import_guard(&encoded(&export), Some(export.signer), None).unwrap_err().to_string();
    assert!(refused.contains("not this validator's"), "{refused}");
    target.service.import_guard(&encoded(&sound), Some(sound.signer), None).unwrap();
}

fn approvals(statement: &Override, keys: &[&OfficerKey]) -> Vec<Approval> {
    keys.iter().map(|key| key.approve(statement).unwrap()).collect()
}

#[test]
fn two_officers_have_another_header_signed_and_the_trail_names_both() {
    let (bench, disk, _log) = bench_with_trail();
    let (signed, right) = (bench.header(9, 1), bench.header(9, 2));
    bench.service.sign(&Statement::Checkpoint(Box::new(signed.clone()))).unwrap();
    assert!(bench.service.sign(&Statement::Checkpoint(Box::new(right.clone()))).is_err());
    let hash = |header: &BlockHeader| header.hash(CryptoSuite::Sm);
    let statement = Override {
        chain: CHAIN,
        node: bench.node(),
        number: 1,
        changes: vec![Change { height: 9, old: hash(&signed), new: hash(&right) }],
        reason: "faulty build".into(),
        at_ms: 1,
    };
    let [a, b] = [(); 2].map(|()| OfficerKey::generate().unwrap());
    let officers = [a.public_key(), b.public_key()];
    let alone = bench.service.overrule(&statement, &approvals(&statement, &[&a, &a]), &officers).unwrap_err();
    assert!(alone.to_string().contains("1 officers approved"), "{alone}");
    let foreign = Override { chain: H256([1; 32]), ..statement.clone() };
    assert!(bench.service.overrule(&foreign, &approvals(&foreign, &[&a, &b]), &officers).is_err());
    assert!(!bench.service.stands_for(9, &hash(&right)));
    let calls = bench.device.calls();
    bench.service.overrule(&statement, &approvals(&statement, &[&a, &b]), &officers).unwrap();
    assert_eq!(bench.device.calls(), calls, "overruling asks the device for nothing");
    assert!(bench.service.stands_for(9, &hash(&right)) && !bench.service.stands_for(9, &hash(&signed)));
    bench.service.sign(&Statement::Checkpoint(Box::new(right))).unwrap();
    assert!(matches!(bench.service.sign(&Statement::Checkpoint(Box::new(signed))), Err(SignError::Conflict(_))));
    let again = bench.service.overrule(&statement, &approvals(&statement, &[&a, &b]), &officers).unwrap_err();
    assert!(again.to_string().contains("the next one of this guard is 2"), "{again}");
    let told = told(&disk);
    for officer in officers {
        let subject = format!("approved by officer {}", NodeId(officer).to_hex());
        assert!(told.iter().any(|(request, found, _)| request == "guard-override" && *found == subject), "{subject}");
    }
}
