use bixi_platform::secret::Secret;

use super::key::{FILE_BYTES, OfficerKey, OfficerKeyError};
use super::*;

fn statement() -> Override {
    let change = |height, old| Change { height, old: H256([old; 32]), new: H256([old + 1; 32]) };
    Override {
        chain: H256([1; 32]),
        node: NodeId([2; 64]),
        number: 1,
        changes: vec![change(7, 10), change(8, 20)],
        reason: "executed by a faulty build".into(),
        at_ms: 5,
    }
}

fn officers() -> [OfficerKey; 3] {
    std::array::from_fn(|_| OfficerKey::generate().unwrap())
}

#[test]
fn two_different_officers_of_the_node_are_wanted() {
    let [a, b, stranger] = officers();
    let known = [a.public_key(), b.public_key()];
    let statement = statement();
    let of = |key: &OfficerKey| key.approve(&statement).unwrap();
    let both = statement.approved_by(&known, &[of(&a), of(&b)]).unwrap();
    assert_eq!(both, BTreeSet::from(known));
    assert_eq!(statement.approved_by(&known, &[of(&a), of(&a)]), Err(OverrideError::TooFew { found: 1 }));
    assert_eq!(statement.approved_by(&known, &[]), Err(OverrideError::TooFew { found: 0 }));
    let unknown = OverrideError::Stranger(NodeId(stranger.public_key()));
    assert_eq!(statement.approved_by(&known, &[of(&a), of(&b), of(&stranger)]), Err(unknown));
    let node = Override { node: NodeId(b.public_key()), ..statement.clone() };
    let approvals = [a.approve(&node).unwrap(), b.approve(&node).unwrap()];
    assert!(matches!(node.approved_by(&known, &approvals), Err(OverrideError::Stranger(_))), "the node's own key");
}

#[test]
fn an_approval_counts_for_its_statement_only() {
    let [a, b, _] = officers();
    let known = [a.public_key(), b.public_key()];
    let statement = statement();
    let approvals = [&a, &b].map(|key| key.approve(&statement).unwrap());
    let mut others = vec![statement.clone(); 5];
    others[0].chain = H256([9; 32]);
    others[1].number = 2;
    others[2].changes[1].new = H256([9; 32]);
    others[3].reason.push('!');
    others[4].changes.pop();
    for other in others {
        assert!(matches!(other.approved_by(&known, &approvals), Err(OverrideError::OtherStatement(_))));
        // Nor with the fingerprint exchanged.
        let forged = approvals.map(|approval| Approval { statement: other.fingerprint().0, ..approval });
        assert!(matches!(other.approved_by(&known, &forged), Err(OverrideError::Signature(_))));
    }
    for place in 0..APPROVAL_BYTES {
        let mut flipped = approvals[0].encode();
        flipped[place] ^= 1;
        let counts =
            Approval::decode(&flipped).is_ok_and(|one| statement.approved_by(&known, &[one, approvals[1]]).is_ok());
        assert!(!counts, "byte {place}");
    }
}

#[test]
fn a_statement_reads_back_and_every_flipped_byte_is_another_one_or_none() {
    let bytes = statement().encode();
    assert_eq!(Override::decode(&bytes).unwrap(), statement());
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        assert!(
            Override::decode(&flipped).is_ok_and(|read| read != statement()) || Override::decode(&flipped).is_err()
        );
        assert!(Override::decode(&bytes[..place]).is_err(), "cut at {place}");
    }
    assert!(Override::decode(&vec![0; STATEMENT_BYTES_MAX + 1]).is_err());
}

#[test]
fn statements_that_nobody_should_sign_are_none() {
    let mut wrong = vec![statement(); 7];
    wrong[0].changes.clear();
    wrong[1].changes.reverse();
    wrong[2].changes[0].new = wrong[2].changes[0].old;
    wrong[3].reason = "  ".into();
    wrong[4].reason = "a\u{1b}[2Jb".into();
    wrong[5].reason = "x".repeat(REASON_BYTES_MAX + 1);
    wrong[6].changes = vec![wrong[6].changes[0]; CHANGES_MAX + 1];
    for statement in wrong {
        assert!(matches!(Override::decode(&statement.encode()), Err(OverrideError::Malformed { .. })), "{statement:?}");
    }
}

#[test]
fn a_key_file_opens_with_its_passphrase_and_with_no_flipped_byte() {
    let key = OfficerKey::generate().unwrap();
    let passphrase = Secret::from_slice(b"correct horse battery");
    let file = key.seal(&passphrase).unwrap();
    assert_eq!((file.len(), key::public_key_of(&file)), (FILE_BYTES, Ok(key.public_key())));
    assert_eq!(OfficerKey::open(&file, &passphrase).unwrap().public_key(), key.public_key());
    let other = Secret::from_slice(b"correct horse batterz");
    assert_eq!(OfficerKey::open(&file, &other).err(), Some(OfficerKeyError::Refused));
    assert_eq!(key.seal(&Secret::from_slice(b"short")).err(), Some(OfficerKeyError::Weak));
    // One byte of each field: every try costs a second of an old machine.
    for place in [0, 7, 8, 71, 72, 76, 80, 111, 112, 124, 156, FILE_BYTES - 1] {
        let mut flipped = file.clone();
        flipped[place] ^= 1;
        assert!(OfficerKey::open(&flipped, &passphrase).is_err(), "byte {place}");
    }
    for cut in [0, 8, 71, FILE_BYTES - 1] {
        assert!(matches!(OfficerKey::open(&file[..cut], &passphrase), Err(OfficerKeyError::Malformed(_))));
    }
    assert!(OfficerKey::open(&[&file[..], &[0]].concat(), &passphrase).is_err());
}

/// Written by the release before.
#[test]
fn a_key_file_of_the_format_before_opens_and_is_not_written() {
    let file = include_bytes!("../../tests/fixtures/officer-key-v1");
    let passphrase = Secret::from_slice(b"correct horse battery");
    let key = OfficerKey::open(file, &passphrase).unwrap();
    assert_eq!(key::public_key_of(file), Ok(key.public_key()));
    assert!(key.seal(&passphrase).unwrap().starts_with(b"BIXIOFK2"));
    for place in [0, 8, 72, 88, 120, file.len() - 1] {
        let mut flipped = *file;
        flipped[place] ^= 1;
        assert!(OfficerKey::open(&flipped, &passphrase).is_err(), "byte {place}");
    }
}

#[test]
fn a_key_file_that_asks_for_more_than_any_that_was_written_is_refused_before_it_is_paid() {
    let mut file = OfficerKey::generate().unwrap().seal(&Secret::from_slice(b"correct horse battery")).unwrap();
    file[72 + 3] = 1;
    let refused = OfficerKey::open(&file, &Secret::from_slice(b"correct horse battery")).err();
    assert!(matches!(refused, Some(OfficerKeyError::Malformed(words)) if words.contains("more time or memory")));
}
