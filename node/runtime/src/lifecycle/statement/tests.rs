use bixi_hsm::soft::SoftDevice;
use bixi_hsm::{KeyDevice as _, KeySpec};

use super::*;

fn statement() -> KeyStatement {
    of(KeyKind::Sm2Sign)
}

fn of(kind: KeyKind) -> KeyStatement {
    let device = SoftDevice::seeded("test", 5);
    let key = device.generate(&KeySpec::new("consensus", kind)).unwrap();
    let attestation = device.attest(&key).unwrap();
    let fingerprint = fingerprint_of(&device, &attestation).unwrap();
    let (chain, node, role) = (H256([1; 32]), "node0".into(), Some("consensus".into()));
    KeyStatement { at_ms: 7, chain, node, role, attestation, fingerprint }
}

#[test]
fn reads_what_it_wrote_and_calls_a_library_s_word_by_its_name() {
    let statement = statement();
    let read = KeyStatement::parse(statement.render().as_bytes()).unwrap();
    assert_eq!(read, statement);
    assert_eq!(read.judge(None), Worth::SelfReported);
    assert_eq!(read.judge(Some(&[0; 34])), Worth::SelfReported, "a key to check with makes it no better");
}

/// Statements without one went through the broker; of a pair it is that of the public half beside it.
#[test]
fn a_key_encryption_key_has_a_fingerprint_and_a_pair_only_its_own() {
    let mut kek = of(KeyKind::Kek);
    assert_eq!(kek.fingerprint.as_deref().map(str::len), Some(16));
    assert_eq!(KeyStatement::parse(kek.render().as_bytes()).unwrap(), kek);
    kek.fingerprint = None;
    assert_eq!(KeyStatement::parse(kek.render().as_bytes()).unwrap(), kek);
    for other in [None, Some("0123456789abcdef".to_owned())] {
        let forged = KeyStatement { fingerprint: other, ..statement() };
        assert!(KeyStatement::parse(forged.render().as_bytes()).is_err());
    }
}

#[test]
fn every_flipped_and_every_missing_byte_is_refused() {
    let text = statement().render().into_bytes();
    for place in 0..text.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut flipped = text.clone();
            flipped[place] ^= bit;
            assert!(KeyStatement::parse(&flipped).is_err(), "byte {place}");
        }
        assert!(KeyStatement::parse(&text[..place]).is_err(), "cut at {place}");
    }
    assert!(KeyStatement::parse(&[&text[..], b"\n"].concat()).is_err());
    assert!(KeyStatement::parse(&vec![b' '; FILE_BYTES_MAX + 1]).unwrap_err().contains("more than"));
}

#[test]
fn evidence_of_a_tpm_is_checked_and_not_believed() {
    let mut claimed = statement();
    claimed.attestation.format = attestation::FORMAT.into();
    claimed.attestation.trust = Trust::Signed;
    let read = KeyStatement::parse(claimed.render().as_bytes()).unwrap();
    assert_eq!(read.judge(None), Worth::Unchecked);
    assert!(matches!(read.judge(Some(&[0; 34])), Worth::Refused(_)));
}
