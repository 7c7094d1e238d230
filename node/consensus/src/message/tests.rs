//! Encodings: round trips, bounds, and bytes nobody should send.

use proptest::prelude::*;

use super::*;
use crate::log::{LOG_FORMAT, LogEntry};

fn value(batches: usize) -> Value {
    let batches = (0..batches).map(|index| H256([index as u8; 32])).collect();
    Value { height: 1, parent: H256::ZERO, timestamp_ms: 2, builder: 0, protocol_version: 1, batches }
}

fn commit(signatures: usize) -> CommitCertificate {
    let signatures = (0..signatures).map(|index| (NodeId([index as u8; 64]), SignatureBytes([0; 64]))).collect();
    CommitCertificate { height: 1, round: 0, value: H256::ZERO, signatures }
}

#[test]
fn lists_are_bounded_by_the_shared_limits() {
    for (batches, signatures, accepted) in [
        (VALUE_BATCHES_MAX, VALIDATORS_MAX, true),
        (VALUE_BATCHES_MAX + 1, VALIDATORS_MAX, false),
        (VALUE_BATCHES_MAX, VALIDATORS_MAX + 1, false),
    ] {
        let message = Message::Decided { value: value(batches), certificate: commit(signatures) };
        let decoded = Message::decode(&message.encode());
        assert_eq!(decoded.is_ok(), accepted, "{batches} batches, {signatures} signatures");
        let entry = LogEntry::Decided { value: value(batches), certificate: commit(signatures) };
        assert_eq!(LogEntry::decode(&entry.encode()).is_ok(), accepted);
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = Message::Status { decided: 1, certified: 1 }.encode();
    assert!(Message::decode(&bytes).is_ok());
    bytes.push(0);
    assert!(matches!(Message::decode(&bytes), Err(DecodeError::Malformed { .. })));
}

#[test]
fn a_message_above_the_limit_is_refused_before_it_is_read() {
    let bytes = vec![0; MESSAGE_BYTES_MAX + 1];
    assert!(matches!(Message::decode(&bytes), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn a_log_entry_of_another_format_is_named() {
    let mut bytes = LogEntry::Decided { value: value(0), certificate: commit(0) }.encode();
    bytes[0] = LOG_FORMAT + 1;
    let error = DecodeError::Version { found: LOG_FORMAT + 1, known: LOG_FORMAT };
    assert_eq!(LogEntry::decode(&bytes), Err(error));
    assert!(LogEntry::decode(&[]).is_err());
}

#[test]
fn the_log_format_is_pinned() {
    // Version 1, variant 5 (decided), value, certificate: a change here needs a new LOG_FORMAT and a migration.
    let bytes = LogEntry::Decided { value: value(1), certificate: commit(0) }.encode();
    let expected = [
        &[1, 5][..],
        &1u64.to_le_bytes(),
        &[0; 32],
        &2u64.to_le_bytes(),
        &0u32.to_le_bytes(),
        &1u32.to_le_bytes(),
        &1u32.to_le_bytes(),
        &[0; 32],
        &1u64.to_le_bytes(),
        &0u32.to_le_bytes(),
        &[0; 32],
        &0u32.to_le_bytes(),
    ]
    .concat();
    assert_eq!(bytes, expected);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes.clone());
        }
        if let Ok(entry) = LogEntry::decode(&bytes) {
            prop_assert_eq!(entry.encode(), bytes);
        }
    }

    #[test]
    fn a_flipped_bit_never_panics_and_never_passes_unnoticed(at in 0usize..10_000, bit in 0u8..8) {
        let message = Message::Decided { value: value(5), certificate: commit(3) };
        let mut bytes = message.encode();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Message::decode(&bytes) {
            prop_assert_ne!(other, message);
        }
    }
}
