use super::super::*;
use super::bytes;
use crate::Seeded;
use proptest::prelude::*;

/// The signature and its DER form in the test data of the crate `sm2` 0.14 (made by OpenSSL).
const DER: &str = "304502201d09df0f021b8c9aa7a437c713f11f9bc5ef49b5f053de912d6a3a8b68d49688022100c8acda282cb69bd4734b9c164925772f8f5cb23b273c222d69a4a49bb40a8701";

#[test]
fn der_matches_openssl() {
    let der = hex::decode(DER).unwrap();
    let signature = Signature::from_der(&der).unwrap();
    assert_eq!(signature.0[..32], der[4..36]);
    assert_eq!(signature.0[32..], der[39..]);
    assert_eq!(signature.to_der(), der);
}

#[test]
fn der_refuses_every_other_form() {
    let refused = [
        "",
        "30",
        "3000",
        "3003020101",
        "30060201010201",
        "300602010102010100",    // trailing byte
        "30070201010201 0100",   // trailing byte inside
        "30810602010102 0101",   // long length
        "3080020101020101 0000", // indefinite length
        "3007020200010201 01",   // padded r
        "300702010102020001",    // padded s
        "300602018102 0101",     // negative r
        "30060201010201ff",      // negative s
        "3005020002 0101",       // empty r
        "310602010102 0101",     // a set
        "3006030101020101",      // a bit string
    ];
    for text in refused {
        let der = hex::decode(text.replace(' ', "")).unwrap();
        assert_eq!(Signature::from_der(&der), Err(SignatureError::Der), "{text}");
    }
    let long = format!("302602210100{}020101", "00".repeat(31));
    assert_eq!(Signature::from_der(&hex::decode(long).unwrap()), Err(SignatureError::Der));
    assert!(Signature::from_der(&hex::decode("3006020100020100").unwrap()).is_ok());
}

#[test]
fn bad_points_are_refused_with_the_reason() {
    let p = bytes::<32>("FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF");
    let good = PrivateKey::generate(&mut Seeded::new(5)).unwrap().public_key().to_bytes();
    for half in [0, 32] {
        let mut bad = good;
        bad[half..half + 32].copy_from_slice(&p);
        assert_eq!(PublicKey::from_bytes(&bad), Err(PublicKeyError::Range));
    }
    let mut off = good;
    off[63] ^= 1;
    assert_eq!(PublicKey::from_bytes(&off), Err(PublicKeyError::NotOnCurve));
    assert_eq!(PublicKey::from_bytes(&[0; 64]), Err(PublicKeyError::NotOnCurve));
    let hybrid = [&[6 + (good[63] & 1)], &good[..]].concat();
    assert_eq!(PublicKey::from_sec1(&hybrid), Err(PublicKeyError::Hybrid));
    assert_eq!(PublicKey::from_sec1(&[0]), Err(PublicKeyError::Infinity));
    for bad in [&[][..], &[0, 0], &[4], &[6], &good, &hybrid[..64], &[2; 32], &[3; 34]] {
        assert_eq!(PublicKey::from_sec1(bad), Err(PublicKeyError::Encoding));
    }
    let no_root =
        (0u8..=255).map(|x| [&[2], &[0; 31][..], &[x]].concat()).find(|sec1| PublicKey::from_sec1(sec1).is_err());
    assert_eq!(PublicKey::from_sec1(&no_root.unwrap()), Err(PublicKeyError::NotOnCurve));
}

proptest! {
    #[test]
    fn der_round_trips(raw in prop::collection::vec(any::<u8>(), 64), zeros in (0usize..33, 0usize..33)) {
        let mut signature = Signature(raw.try_into().unwrap());
        signature.0[..zeros.0].fill(0);
        signature.0[32..32 + zeros.1.min(32)].fill(0);
        let der = signature.to_der();
        prop_assert_eq!(Signature::from_der(&der), Ok(signature));
        for length in 0..der.len() {
            prop_assert!(Signature::from_der(&der[..length]).is_err());
        }
    }

    #[test]
    fn der_has_one_form_per_value(der in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(signature) = Signature::from_der(&der) {
            prop_assert_eq!(signature.to_der(), der);
        }
    }

    #[test]
    fn points_round_trip_in_every_form(seed: u64) {
        let key = PrivateKey::generate(&mut Seeded::new(seed >> 1)).unwrap().public_key();
        prop_assert_eq!(PublicKey::from_bytes(&key.to_bytes()), Ok(key));
        prop_assert_eq!(PublicKey::from_sec1(&key.to_sec1()), Ok(key));
        prop_assert_eq!(PublicKey::from_sec1(&key.to_sec1_compressed()), Ok(key));
    }
}
