//! Frames of sessions, certificates and revocation lists.

use std::sync::LazyLock;

use bixi_accel::sm2::{DEFAULT_ID, PrivateKey, sign};
use bixi_network::frame::{self, Decoder as Frames, Kind};
use bixi_network::pki::{self, Certificate, CertificateParams, RevocationList, Role};
use bixi_network::tls::{P256Key, Trust, TrustParams};
use bixi_tests::wallet::Seeded;
use bixi_types::CryptoSuite;

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
    for authority in AUTHORITIES.iter() {
        let suite = authority.suite;
        let _ = pki::public_key(suite, &read);
        let _ = pki::verify(suite, &read, &authority.certificate, pki::not_after_s(&read));
        let _ = Trust::new(suite, &TrustParams { authorities: std::slice::from_ref(&read), ..TrustParams::default() });
    }
    true
}

fn revocation_list(bytes: &[u8]) -> bool {
    let lists: Vec<Vec<u8>> = pki::revocation_list_der(bytes).into_iter().collect();
    for Authority { suite, certificate, .. } in AUTHORITIES.iter() {
        let _ = RevocationList::from_pem(*suite, bytes, certificate);
        let trust = TrustParams {
            authorities: std::slice::from_ref(certificate),
            revocation_lists: &lists,
            ..TrustParams::default()
        };
        let _ = Trust::new(*suite, &trust);
    }
    !lists.is_empty()
}

type Sign = Box<dyn Fn(&[u8]) -> [u8; 64] + Send + Sync>;

/// Somebody to believe.
struct Authority {
    suite: CryptoSuite,
    certificate: Certificate,
    sign: Sign,
}

/// One of each suite.
static AUTHORITIES: LazyLock<[Authority; 2]> = LazyLock::new(|| {
    let sm = PrivateKey::generate(&mut Seeded(1)).expect("a seeded generator is not stuck");
    let std = P256Key::from_pkcs8(&P256Key::generate_pkcs8().expect("a key")).expect("the key");
    [
        Authority::new(CryptoSuite::Sm, sm.public_key().to_bytes(), move |message| {
            sign(&sm, DEFAULT_ID, message, &mut Seeded(2)).expect("signs").0
        }),
        Authority::new(CryptoSuite::Std, std.public_key(), move |message| std.sign_message(message).expect("signs")),
    ]
});

impl Authority {
    fn new(suite: CryptoSuite, key: [u8; 64], sign: impl Fn(&[u8]) -> [u8; 64] + Send + Sync + 'static) -> Self {
        let params = CertificateParams {
            suite,
            role: Role::Ca,
            subject: "CN=Authority".into(),
            issuer: "CN=Authority".into(),
            serial: [0x41; 16],
            not_before_s: 1_800_000_000,
            not_after_s: 1_900_000_000,
        };
        let certificate = pki::issue(&params, &key, &key, |message| Ok(sign(message))).expect("a certificate");
        Self { suite, certificate, sign: Box::new(sign) }
    }

    fn der(&self) -> Vec<u8> {
        let pem = pki::to_pem(&self.certificate).expect("PEM");
        openssl::x509::X509::from_pem(pem.as_bytes()).and_then(|known| known.to_der()).expect("a certificate")
    }

    /// A list, PEM.
    fn list(&self) -> Vec<u8> {
        let mut list = RevocationList { number: 3, revoked: Vec::new() };
        assert!(list.add(&self.certificate, 1_800_000_000));
        let valid_s = (1_800_000_000, 1_900_000_000);
        let text = list.to_pem(self.suite, &self.certificate, valid_s, |message| Ok((self.sign)(message)));
        text.expect("a list").into_bytes()
    }
}

/// All of them.
pub(crate) fn decoders() -> Vec<Decoder> {
    let stream: Vec<u8> =
        Kind::ALL.iter().flat_map(|kind| frame::encode(*kind, &vec![5; kind.body_bytes_max().min(8)])).collect();
    let mut lists: Vec<Vec<u8>> = AUTHORITIES.iter().map(Authority::list).collect();
    lists.extend(lists.clone().iter().map(|list| pki::revocation_list_der(list).expect("our own")));
    vec![
        Decoder::open_ended("frames", frames, vec![stream]),
        Decoder::new("certificate", certificate, AUTHORITIES.iter().map(Authority::der).collect()),
        Decoder::open_ended("revocation-list", revocation_list, lists),
    ]
}
