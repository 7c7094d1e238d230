//! Heads that the device signed, in trails with and without them.

use bixi_accel::sm2::{self, PrivateKey};
use bixi_types::consensus::SignatureBytes;
use bixi_types::{H256, NodeId};

use super::*;
use crate::audit::signed::{HeadStatement, SignedHead};

struct Counter(u8);

impl bixi_accel::Random for Counter {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), bixi_accel::RandomError> {
        for byte in out {
            self.0 = self.0.wrapping_mul(29).wrapping_add(7);
            *byte = self.0;
        }
        Ok(())
    }
}

fn signed(head: Head) -> SignedHead {
    let key = PrivateKey::from_bytes(&[3; 32]).unwrap();
    let statement = HeadStatement { chain: H256([1; 32]), node: NodeId([2; 64]), head, at_ms: 9 };
    let signature = sm2::sign(&key, sm2::DEFAULT_ID, &statement.sign_bytes(), &mut Counter(1)).unwrap();
    SignedHead { statement, key: key.public_key().to_bytes(), signature: SignatureBytes(signature.0) }
}

/// A log of three entries, in which a signed head comes two entries later.
fn with(signed: impl Fn(Head) -> SignedHead) -> Result<Chain, AuditError> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    record(&log, 0);
    let head = log.head();
    record(&log, 1);
    record(&log, 2);
    let outcome = Outcome::HeadSigned(Box::new(signed(head)));
    log.record(&Event { outcome, ..event("head") }, Durability::AtOnce).unwrap();
    record(&log, 3);
    log.sync().unwrap();
    verify_chain(&PreadStorage::new(), dir.path(), &ring(), |_| {})
}

#[test]
fn a_signed_head_stands_for_the_entries_before_it() {
    assert_eq!(with(signed).unwrap().ends.entries, 6);
}

#[test]
fn a_signature_over_another_history_or_by_nobody_breaks_the_chain() {
    let broken = |make: fn(Head) -> SignedHead| with(make).unwrap_err().to_string();
    let others: [fn(Head) -> Head; 4] = [
        |head| Head { hash: [9; 32], ..head },
        |head| Head { entries: head.entries - 1, ..head },
        |head| Head { entries: head.entries + 1, ..head },
        |head| Head { entries: head.entries + 1_000, ..head },
    ];
    for other in others {
        let told = with(|head| signed(other(head))).unwrap_err().to_string();
        assert!(told.contains("entry 4 holds a signature over another history"), "{told}");
    }
    let forged = broken(|head| SignedHead { signature: SignatureBytes([1; 64]), ..signed(head) });
    assert!(forged.contains("does not verify"), "{forged}");
    let other_chain = broken(|head| {
        let mut moved = signed(head);
        moved.statement.chain = H256([8; 32]);
        moved
    });
    assert!(other_chain.contains("does not verify"), "{other_chain}");
}

#[test]
fn a_head_in_a_file_that_was_archived_is_left_to_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    record(&log, 0);
    let head = log.head();
    let mut number = 1;
    while log.usage().files < 2 {
        record(&log, number);
        log.sync().unwrap();
        number += 1;
    }
    let outcome = Outcome::HeadSigned(Box::new(signed(head)));
    log.record(&Event { outcome, ..event("head") }, Durability::AtOnce).unwrap();
    verify_chain(&PreadStorage::new(), dir.path(), &ring(), |_| {}).unwrap();
    std::fs::remove_file(file_path(dir.path(), 1)).unwrap();
    let rest = verify_chain(&PreadStorage::new(), dir.path(), &ring(), |_| {}).unwrap();
    assert!(rest.begins.entries > head.entries);
}

#[test]
fn a_head_is_written_in_one_way() {
    let head = Head { entries: 1_234, hash: [0xAB; 32] };
    let text = head.to_string();
    assert_eq!(text.parse(), Ok(head));
    for place in 0..text.len() {
        let mut flipped = text.clone().into_bytes();
        flipped[place] ^= 1;
        let read = String::from_utf8(flipped).unwrap().parse::<Head>();
        assert!(read != Ok(head), "byte {place}");
    }
    for wrong in [
        "",
        "1",
        ":",
        "1:ab",
        &text[1..].replace(':', ""),
        &text.to_uppercase(),
        &format!("0{text}"),
        &format!("+{text}"),
    ] {
        assert!(wrong.parse::<Head>().is_err(), "{wrong}");
    }
}
