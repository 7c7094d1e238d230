//! The one DER structure the TLS key signs: a request for a certificate for itself.
//!
//! The structure is parsed as far as it tells apart from every other structure that is signed over DER. A certificate of the
//! key's own making (RFC 5280 4.1: its third element is an issuer or an algorithm), a CRL or a CMS object has no key of ours
//! where a request has it; and what a handshake signs begins with a space, not with a SEQUENCE.

use crate::protocol::Refusal;

/// Longest CertificationRequestInfo.
const INFO_BYTES_MAX: usize = 16 * 1024;

const SEQUENCE: u8 = 0x30;
/// `[0] IMPLICIT`, constructed.
const ATTRIBUTES: u8 = 0xA0;
/// INTEGER 0: v1.
const VERSION: [u8; 3] = [0x02, 0x01, 0x00];
/// SubjectPublicKeyInfo of an SM2 key (GB/T 32918.5, RFC 5480 2.1.1) up to the uncompressed point's X ‖ Y.
const SM2_KEY: [u8; 27] = [
    0x30, 0x59, // SubjectPublicKeyInfo
    0x30, 0x13, // AlgorithmIdentifier
    0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, // id-ecPublicKey
    0x06, 0x08, 0x2A, 0x81, 0x1C, 0xCF, 0x55, 0x01, 0x82, 0x2D, // the SM2 curve
    0x03, 0x42, 0x00, 0x04, // BIT STRING, uncompressed point
];

/// Accepts a CertificationRequestInfo (RFC 2986 4.1) for this very key: version 0, any subject, the key, any attributes.
pub(super) fn check(info: &[u8], public_key: &[u8; 64]) -> Result<(), Refusal> {
    parse(info, public_key).map_err(|reason| Refusal::Foreign(format!("certificate request: {reason}")))
}

fn parse(info: &[u8], public_key: &[u8; 64]) -> Result<(), &'static str> {
    if info.len() > INFO_BYTES_MAX {
        return Err("too long");
    }
    let (content, after) = element(info, SEQUENCE).ok_or("not a DER sequence")?;
    let rest = content.strip_prefix(&VERSION).ok_or("not of version 0")?;
    let (_subject, rest) = element(rest, SEQUENCE).ok_or("without a subject")?;
    let key = rest.strip_prefix(&SM2_KEY).and_then(|rest| rest.split_first_chunk::<64>());
    let (_, rest) = key.filter(|(key, _)| *key == public_key).ok_or("it is not for the key that would sign it")?;
    let (_attributes, end) = element(rest, ATTRIBUTES).ok_or("without attributes")?;
    if end.is_empty() && after.is_empty() { Ok(()) } else { Err("something follows its end") }
}

/// Content of the DER element of that tag which begins here, and what follows it (X.690 8.1, 10.1: shortest lengths only).
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head_bytes, content_bytes) = match *der {
        [first, len @ 0..=0x7F, ..] if first == tag => (2, usize::from(len)),
        [first, 0x81, len @ 0x80..=0xFF, ..] if first == tag => (3, usize::from(len)),
        [first, 0x82, high @ 1..=0xFF, low, ..] if first == tag => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    der[head_bytes..].split_at_checked(content_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 64] = [0x5C; 64];

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let len = match content.len() {
            len @ 0..=0x7F => vec![len as u8],
            len @ 0x80..=0xFF => vec![0x81, len as u8],
            len => [&[0x82][..], &(len as u16).to_be_bytes()].concat(),
        };
        [&[tag][..], &len, &content].concat()
    }

    fn key() -> Vec<u8> {
        [&SM2_KEY[..], &KEY].concat()
    }

    fn request(subject: &[u8], key: &[u8], attributes: &[u8]) -> Vec<u8> {
        der(SEQUENCE, &[&VERSION, &der(SEQUENCE, &[subject]), key, &der(ATTRIBUTES, &[attributes])])
    }

    #[test]
    fn accepts_a_request_for_the_key_itself() {
        for (subject, attributes) in [(0, 0), (40, 0), (200, 100), (1_000, 3_000)] {
            let info = request(&vec![7; subject], &key(), &vec![8; attributes]);
            assert_eq!(check(&info, &KEY), Ok(()), "subject of {subject}, attributes of {attributes} bytes");
        }
    }

    #[test]
    fn refuses_every_other_structure_that_mentions_the_key() {
        let name = der(SEQUENCE, &[b"issuer"]);
        let algorithm = der(SEQUENCE, &[&[0x06, 0x08, 0x2A, 0x81, 0x1C, 0xCF, 0x55, 0x01, 0x83, 0x75]]);
        let validity = der(SEQUENCE, &[b"from", b"to"]);
        let other_key = [&SM2_KEY[..], &[9; 64]].concat();
        let extensions = der(0xA3, &[&key()]);
        let serial = [0x02, 0x01, 0x00];
        let (v3, v1) = (&[0xA0, 0x03, 0x02, 0x01, 0x02][..], &[][..]);
        for version in [v3, v1] {
            for subject_key in [&other_key, &key()] {
                let certificate =
                    der(SEQUENCE, &[version, &serial, &algorithm, &name, &validity, &name, subject_key, &extensions]);
                assert!(check(&certificate, &KEY).is_err(), "a certificate of its own making");
            }
        }
        let hidden = request(&key(), &other_key, &key());
        assert!(check(&hidden, &KEY).is_err(), "a request for another key that mentions ours");
        let whole = request(b"name", &key(), b"");
        for cut in 0..whole.len() {
            assert!(check(&whole[..cut], &KEY).is_err(), "cut at {cut}");
        }
        assert!(check(&[&whole[..], &[0]].concat(), &KEY).is_err());
        assert!(check(&request(&vec![0; INFO_BYTES_MAX], &key(), b""), &KEY).is_err());
    }
}
