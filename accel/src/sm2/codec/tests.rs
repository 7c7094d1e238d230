use super::*;
use crate::Seeded;
use crate::sm2::encryption::Ciphertext;
use crate::sm2::{PrivateKey, PublicKey};
use proptest::prelude::*;

/// A pair written by OpenSSL, from `tests/examples` of the crate `sm2` 0.14.
const PKCS8: &str = "308187020100301306072a8648ce3d020106082a811ccf5501822d046d306b0201010420\
                     4bb8df505722299592cbed4283b354a13ff5d3feeb3a0660c5bdf3c87c559499a14403420004\
                     08d77ae04c01cc4c1104360dd8af6b6f7df334283d7c1a6afd5652407b87bee5\
                     014e2a57c36c150d16324dc664e31e6432359609c4e79847a5b161c8c7364c8a";
const SPKI: &str = "3059301306072a8648ce3d020106082a811ccf5501822d03420004\
                    08d77ae04c01cc4c1104360dd8af6b6f7df334283d7c1a6afd5652407b87bee5\
                    014e2a57c36c150d16324dc664e31e6432359609c4e79847a5b161c8c7364c8a";
const D: &str = "4bb8df505722299592cbed4283b354a13ff5d3feeb3a0660c5bdf3c87c559499";

const CURVE_OID: &str = "06082a811ccf5501822d";
/// P-256's identifier.
const OTHER_OID: &str = "06082a8648ce3d030107";

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn private_key() -> PrivateKey {
    PrivateKey::from_bytes(&unhex(D).try_into().unwrap()).unwrap()
}

/// `ECPrivateKey` of the parts, each in hexadecimal.
fn sec1(version: &str, d: &str, rest: &str) -> Vec<u8> {
    let body = unhex(&format!("0201{version}04{:02x}{d}{rest}", d.len() / 2));
    der::sequence(body)
}

fn refused(key: Result<PrivateKey, CodecError>) -> CodecError {
    key.expect_err("refused")
}

#[test]
fn keys_are_written_as_openssl_writes_them() {
    let private = private_key();
    assert_eq!(private.to_pkcs8_der()[..], unhex(PKCS8));
    assert_eq!(private.public_key().to_spki_der()[..], unhex(SPKI));
    let read = PrivateKey::from_pkcs8_der(&unhex(PKCS8)).unwrap();
    assert_eq!((read.to_bytes(), read.public_key()), (private.to_bytes(), private.public_key()));
    assert_eq!(PublicKey::from_spki_der(&unhex(SPKI)), Ok(private.public_key()));
    let read = PrivateKey::from_sec1_der(&*private.to_sec1_der()).unwrap();
    assert_eq!(read.to_bytes(), private.to_bytes());
}

#[test]
fn a_compressed_point_is_read_in_a_public_key() {
    let key = private_key().public_key();
    let point = hex::encode(key.to_sec1_compressed());
    let der = unhex(&format!("3039301306072a8648ce3d0201{CURVE_OID}032200{point}"));
    assert_eq!(PublicKey::from_spki_der(&der), Ok(key));
}

#[test]
fn optional_parts_of_a_private_key_may_be_missing_but_not_wrong() {
    let point = hex::encode(private_key().public_key().to_sec1());
    let other = hex::encode(PrivateKey::generate(&mut Seeded::new(1)).unwrap().public_key().to_sec1());
    let curve = format!("a00a{CURVE_OID}");
    let public = |point: &str| format!("a144034200{point}");
    for accepted in [curve.clone(), format!("{curve}{}", public(&point))] {
        assert!(PrivateKey::from_sec1_der(&sec1("01", D, &accepted)).is_ok(), "{accepted}");
    }
    let cases = [
        ("01", D, String::new(), CodecError::Algorithm),
        ("01", D, public(&point), CodecError::Algorithm),
        ("01", D, format!("a00a{OTHER_OID}"), CodecError::Algorithm),
        ("01", D, format!("{curve}{}", public(&other)), CodecError::Mismatch),
        ("01", D, format!("{}{curve}", public(&point)), CodecError::Algorithm), // wrong order
        ("01", D, format!("{curve}{curve}"), CodecError::Malformed),
        ("01", D, format!("{curve}a144034201{point}"), CodecError::Malformed), // unused bits
        ("01", D, format!("a00c{CURVE_OID}0500"), CodecError::Malformed),
        ("00", D, curve.clone(), CodecError::Malformed),
        ("01", &D[2..], curve.clone(), CodecError::Malformed),
        ("01", &"00".repeat(32), curve.clone(), CodecError::PrivateKeyRange),
        ("01", &"ff".repeat(32), curve.clone(), CodecError::PrivateKeyRange),
        ("01", D, format!("{curve}{}", public(&format!("04{}", "00".repeat(64)))), PublicKeyError::NotOnCurve.into()),
        ("01", D, format!("{curve}{}", public(&point.replacen("04", "06", 1))), PublicKeyError::Hybrid.into()),
        ("01", D, format!("{curve}a10403020000"), PublicKeyError::Infinity.into()),
        ("01", D, "00".repeat(200), CodecError::Length),
    ];
    for (version, d, rest, reason) in cases {
        assert_eq!(refused(PrivateKey::from_sec1_der(&sec1(version, d, &rest))), reason, "{rest}");
    }
}

#[test]
fn other_algorithms_curves_versions_and_attributes_are_refused() {
    let p256 = SPKI.replacen(CURVE_OID, OTHER_OID, 1);
    let rsa = SPKI.replacen("06072a8648ce3d0201", "06072a8648ce3d0202", 1);
    for other in [&p256, &rsa] {
        assert_eq!(PublicKey::from_spki_der(&unhex(other)), Err(CodecError::Algorithm));
    }
    assert_eq!(
        refused(PrivateKey::from_pkcs8_der(&unhex(&PKCS8.replacen(CURVE_OID, OTHER_OID, 1)))),
        CodecError::Algorithm
    );
    let version = PKCS8.replacen("020100", "020101", 1);
    assert_eq!(refused(PrivateKey::from_pkcs8_der(&unhex(&version))), CodecError::Malformed);
    let attributes = format!("{}a000", PKCS8.replacen("308187", "308189", 1));
    assert_eq!(refused(PrivateKey::from_pkcs8_der(&unhex(&attributes))), CodecError::Malformed);
}

#[test]
fn ciphertexts_have_one_der_form() {
    let point = private_key().public_key().to_bytes();
    let (x, y) = (hex::encode(&point[..32]), hex::encode(&point[32..]));
    let c3 = format!("0420{}", "5c".repeat(32));
    let good = format!("0220{x}0220{y}{c3}0401aa");
    let wrap = |body: &str| der::sequence(unhex(body));
    assert!(Ciphertext::from_der(&wrap(&good)).is_ok());
    let cases = [
        (format!("022100{x}0220{y}{c3}0401aa"), CodecError::Malformed), // padded
        (format!("0220{y}0220{x}{c3}0401aa"), PublicKeyError::NotOnCurve.into()),
        (format!("0220{x}0220{y}041f{}0401aa", "5c".repeat(31)), CodecError::Malformed),
        (format!("0220{x}0220{y}{c3}0400"), CodecError::Length),
        (format!("0220{x}0220{y}{c3}048101aa"), CodecError::Malformed), // long length
        (format!("{good}00"), CodecError::Malformed),
        (format!("0220{x}0220{y}0401aa{c3}"), CodecError::Malformed),
    ];
    for (body, reason) in cases {
        assert_eq!(Ciphertext::from_der(&wrap(&body)), Err(reason), "{body}");
    }
    assert_eq!(Ciphertext::from_der(&[wrap(&good), vec![0]].concat()), Err(CodecError::Malformed));
    assert_eq!(Ciphertext::from_der(&vec![0x30; 2 << 20]), Err(CodecError::Length));
}

/// Every decoder of this module as a function from bytes to the bytes it stands for.
fn decode_each(bytes: &[u8]) -> [Result<Vec<u8>, CodecError>; 6] {
    [
        PublicKey::from_spki_der(bytes).map(|key| key.to_spki_der().to_vec()),
        PrivateKey::from_pkcs8_der(bytes).map(|key| key.to_pkcs8_der().to_vec()),
        PrivateKey::from_sec1_der(bytes).map(|key| key.to_sec1_der().to_vec()),
        Ciphertext::from_der(bytes).map(|ciphertext| ciphertext.to_der()),
        Ciphertext::from_bytes(bytes, Layout::C1C3C2).map(|ciphertext| ciphertext.to_bytes(Layout::C1C3C2)),
        Ciphertext::from_bytes(bytes, Layout::C1C2C3).map(|ciphertext| ciphertext.to_bytes(Layout::C1C2C3)),
    ]
}

/// A valid encoding of each kind.
fn encodings(seed: u64, text: &[u8]) -> [Vec<u8>; 6] {
    let key = PrivateKey::generate(&mut Seeded::new(seed << 32)).unwrap();
    let ciphertext = crate::sm2::encryption::encrypt(&key.public_key(), text, &mut Seeded::new(seed)).unwrap();
    [
        key.public_key().to_spki_der().to_vec(),
        key.to_pkcs8_der().to_vec(),
        key.to_sec1_der().to_vec(),
        ciphertext.to_der(),
        ciphertext.to_bytes(Layout::C1C3C2),
        ciphertext.to_bytes(Layout::C1C2C3),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_decoder_reads_its_encoding_and_no_part_of_it(seed in 0u64..1 << 20, text in prop::collection::vec(any::<u8>(), 1..200)) {
        for (kind, encoding) in encodings(seed, &text).iter().enumerate() {
            prop_assert_eq!(&decode_each(encoding)[kind], &Ok(encoding.clone()));
            for cut in 0..encoding.len().min(97) {
                prop_assert!(decode_each(&encoding[..cut])[kind].is_err(), "kind {} cut at {}", kind, cut);
            }
        }
    }

    /// What a decoder makes of a damaged encoding, it writes back as a value it reads as the same.
    #[test]
    fn what_decoders_accept_is_stable_under_writing(
        seed in 0u64..64,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for mut bytes in encodings(seed, b"some text") {
            let length = bytes.len();
            edits.iter().for_each(|(at, value)| bytes[at.index(length)] = *value);
            let end = if seed % 4 == 0 { cut.index(length) } else { length };
            for (kind, decoded) in decode_each(&bytes[..end]).into_iter().enumerate() {
                if let Ok(written) = decoded {
                    prop_assert_eq!(&decode_each(&written)[kind], &Ok(written.clone()));
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // A point on the curve, a matching algorithm or a valid key does not come about by chance.
        let accepted = decode_each(&bytes).iter().filter(|decoded| decoded.is_ok()).count();
        prop_assert!(accepted == 0 || matches!(bytes[0], 2 | 3));
    }
}
