//! Frames of sessions, certificates and revocation lists.

use std::sync::LazyLock;

use bixi_accel::sm2::{DEFAULT_ID, PrivateKey, sign};
use bixi_network::frame::{self, Decoder as Frames, Kind};
use bixi_network::pki::{self, Certificate, CertificateParams, RevocationList, Role};
use bixi_network::tls::{Trust, TrustParams};
use bixi_tests::wallet::Seeded;

use crate::plan::Decoder;

/// A stream of frames is cut where the wire pleases: byte by byte and in one piece it is the same frames.
fn frames(bytes: &[u8]) -> bool {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut decoder, mut frames) = (Frames::default(), Vec::new());
        for mut piece in pieces {
            while !piece.is_empty() {
                match decoder.next(&mut piece) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => {}
                    Err(_) => return (frames, false),
                }
            }
        }
        (frames, !decoder.is_inside())
    };
    let (whole, is_whole) = read(&mut std::iter::once(bytes));
    assert_eq!(read(&mut bytes.chunks(1)), (whole.clone(), is_whole));
    let again: Vec<u8> = whole.iter().flat_map(|frame| frame::encode(frame.kind, &frame.body)).collect();
    assert_eq!(again, bytes[..again.len()]);
    is_whole && again.len() == bytes.len()
}

fn certificate(bytes: &[u8]) -> bool {
    let Ok(read) = pki::from_der(bytes) else { return false };
    let pem = pki::to_pem(&read).expect("what was read can be written");
    assert_eq!(pki::from_pem(&pem), Ok(read.clone()));
    let _ = pki::public_key(&read);
    let _ = pki::verify(&read, &AUTHORITY.0, pki::not_after_s(&read));
    let _ = Trust::new(&TrustParams { authorities: std::slice::from_ref(&read), ..TrustParams::default() });
    true
}

fn revocation_list(bytes: &[u8]) -> bool {
    let authority = &AUTHORITY.0;
    let _ = RevocationList::from_pem(bytes, authority);
    let Ok(der) = pki::revocation_list_der(bytes) else { return false };
    let trust = TrustParams {
        authorities: std::slice::from_ref(authority),
        revocation_lists: &[der],
        ..TrustParams::default()
    };
    let _ = Trust::new(&trust);
    true
}

/// Somebody to believe.
static AUTHORITY: LazyLock<(Certificate, PrivateKey)> = LazyLock::new(|| {
    let key = PrivateKey::generate(&mut Seeded(1)).expect("a seeded generator is not stuck");
    let params = CertificateParams {
        role: Role::Ca,
        subject: "CN=Authority".into(),
        issuer: "CN=Authority".into(),
        serial: [0x41; 16],
        not_before_s: 1_800_000_000,
        not_after_s: 1_900_000_000,
    };
    let public = key.public_key().to_bytes();
    let issued = pki::issue(&params, &public, &public, |message| Ok(signed(&key, message)));
    (issued.expect("a certificate"), key)
});

fn signed(key: &PrivateKey, message: &[u8]) -> [u8; 64] {
    sign(key, DEFAULT_ID, message, &mut Seeded(2)).expect("signs").0
}

/// All of them.
pub(crate) fn decoders() -> Vec<Decoder> {
    let stream: Vec<u8> =
        Kind::ALL.iter().flat_map(|kind| frame::encode(*kind, &vec![5; kind.body_bytes_max().min(8)])).collect();
    let (authority, key) = &*AUTHORITY;
    let pem = pki::to_pem(authority).expect("PEM");
    let der = openssl::x509::X509::from_pem(pem.as_bytes()).and_then(|known| known.to_der()).expect("a certificate");
    let mut list = RevocationList { number: 3, revoked: Vec::new() };
    assert!(list.add(authority, 1_800_000_000));
    let list = list.to_pem(authority, (1_800_000_000, 1_900_000_000), |message| Ok(signed(key, message)));
    let list = list.expect("a list").into_bytes();
    let list_der = pki::revocation_list_der(&list).expect("our own");
    vec![
        Decoder::open_ended("frames", frames, vec![stream]),
        Decoder::new("certificate", certificate, vec![der]),
        Decoder::open_ended("revocation-list", revocation_list, vec![list, list_der]),
    ]
}
