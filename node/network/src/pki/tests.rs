use std::path::Path;
use std::process::{Command, Output};

use bixi_types::CryptoSuite;

use super::*;
use crate::tls::fixtures::{Key, in_both_suites};

const DAY: u64 = 86_400;
const NOW: u64 = 1_800_000_000;
/// The default identifier, as openssl is told it.
const SM2_ID: &str = "distid:1234567812345678";

fn make(suite: CryptoSuite, role: Role, subject: &str, key: &Key, issuer: &Key, serial: u8) -> Certificate {
    let params = CertificateParams {
        suite,
        role,
        subject: subject.into(),
        issuer: "CN=Bixi test CA,O=chain0".into(),
        serial: [serial; 16],
        not_before_s: NOW - DAY,
        not_after_s: NOW + 365 * DAY,
    };
    issue(&params, &key.public_key(), &issuer.public_key(), |message| Ok(issuer.sign(message))).expect("issues")
}

fn chain(suite: CryptoSuite) -> (Certificate, Certificate) {
    let (ca_key, node_key) = (Key::new(suite), Key::new(suite));
    let ca = make(suite, Role::Ca, "CN=Bixi test CA,O=chain0", &ca_key, &ca_key, 1);
    (make(suite, Role::Node, "CN=node0,O=chain0", &node_key, &ca_key, 2), ca)
}

fn openssl(dir: &Path, args: &[&str]) -> Output {
    let output = Command::new("openssl").current_dir(dir).args(args).output();
    output.expect("openssl runs (packaging/dev/packages.sh --tests installs it)")
}

/// A certificate of openssl's for a key of its own.
fn openssl_authority(suite: CryptoSuite) -> Certificate {
    let dir = tempfile::tempdir().unwrap();
    let (key, request): (&[&str], &[&str]) = match suite {
        CryptoSuite::Sm => (&["-algorithm", "SM2"], &["-sm3", "-sigopt", SM2_ID]),
        CryptoSuite::Std => (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], &["-sha256"]),
    };
    let ca: &[&str] = &["-subj", "/CN=openssl CA", "-days", "30", "-key", "ca.key", "-out", "ca.pem"];
    for args in [[&["genpkey", "-out", "ca.key"], key, &[]], [&["req", "-x509", "-new"], request, ca]] {
        let output = openssl(dir.path(), &args.concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    from_pem(&std::fs::read_to_string(dir.path().join("ca.pem")).unwrap()).unwrap()
}

fn chain_verifies_and_survives_pem(suite: CryptoSuite) {
    let (node, ca) = chain(suite);
    verify(suite, &ca, &ca, NOW).expect("self-signed");
    let node = from_pem(&to_pem(&node).unwrap()).unwrap();
    verify(suite, &node, &ca, NOW).expect("signed by the CA");
}

fn a_file_gives_its_certificates_in_order_and_nothing_else(suite: CryptoSuite) {
    let (node, ca) = chain(suite);
    let both = [to_pem(&node).unwrap(), to_pem(&ca).unwrap()].concat();
    assert_eq!(chain_from_pem(both.as_bytes()).unwrap(), [node, ca]);
    for junk in [&b""[..], b"junk", &both.as_bytes()[..both.len() / 3]] {
        assert!(chain_from_pem(junk).is_err());
        assert!(revocation_list_der(junk).is_err());
    }
}

fn refuses_wrong_issuer_expiry_and_changed_bytes(suite: CryptoSuite) {
    let (node, ca) = chain(suite);
    assert!(matches!(verify(suite, &ca, &node, NOW), Err(PkiError::Signature { .. })));
    assert!(matches!(verify(suite, &node, &ca, NOW - 2 * DAY), Err(PkiError::Expired { .. })));
    assert!(matches!(verify(suite, &node, &ca, NOW + 366 * DAY), Err(PkiError::Expired { .. })));
    let mut der = node.to_der().unwrap();
    let at = der.windows(5).position(|window| window == b"node0").unwrap();
    der[at] = b'x';
    assert!(matches!(verify(suite, &from_der(&der).unwrap(), &ca, NOW), Err(PkiError::Signature { .. })));
}

fn openssl_accepts_the_chain(suite: CryptoSuite) {
    let (node, ca) = chain(suite);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), to_pem(&ca).unwrap()).unwrap();
    std::fs::write(dir.path().join("node.pem"), to_pem(&node).unwrap()).unwrap();
    let id: &[&str] = if suite == CryptoSuite::Sm { &["-vfyopt", SM2_ID] } else { &[] };
    let now = NOW.to_string();
    let args = [&["verify", "-x509_strict", "-attime", &now], id, &["-CAfile", "ca.pem", "node.pem"]].concat();
    let output = openssl(dir.path(), &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn openssl_chain_is_accepted(suite: CryptoSuite) {
    let ca = openssl_authority(suite);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    verify(suite, &ca, &ca, now).expect("openssl's own signature");
}

fn refuses_foreign_keys_and_garbage(suite: CryptoSuite) {
    let other = if suite == CryptoSuite::Sm { CryptoSuite::Std } else { CryptoSuite::Sm };
    let foreign = openssl_authority(other);
    public_key(other, &foreign).expect("of its own suite");
    let refused = public_key(suite, &foreign).expect_err("foreign");
    assert!(matches!(refused, PkiError::Algorithm { .. }), "{refused}");
    assert!(matches!(verify(suite, &foreign, &foreign, NOW), Err(PkiError::Algorithm { .. })));
    assert!(matches!(from_der(&[0x30; 100]), Err(PkiError::Encoding(_))));
    assert!(matches!(from_der(&vec![0; CERTIFICATE_BYTES_MAX + 1]), Err(PkiError::Encoding(_))));
}

fn a_revocation_list_grows_and_is_believed_only_when_the_authority_signed_it(suite: CryptoSuite) {
    let (ca_key, node_key) = (Key::new(suite), Key::new(suite));
    let ca = make(suite, Role::Ca, "CN=Bixi test CA,O=chain0", &ca_key, &ca_key, 1);
    let node = make(suite, Role::Node, "CN=node0,O=chain0", &node_key, &ca_key, 2);
    let write = |list: &RevocationList, key: &Key| {
        list.to_pem(suite, &ca, (NOW, NOW + DAY), |message| Ok(key.sign(message))).expect("a list")
    };
    let read = |text: &str, issuer| RevocationList::from_pem(suite, text.as_bytes(), issuer);
    let mut list = RevocationList { number: 1, revoked: Vec::new() };
    assert_eq!(read(&write(&list, &ca_key), &ca).unwrap(), list, "nothing revoked");
    list.number = u64::MAX;
    assert!(list.add(&node, NOW) && !list.add(&node, NOW + 1), "once");
    let text = write(&list, &ca_key);
    assert_eq!(read(&text, &ca).unwrap(), list);

    assert!(matches!(read(&write(&list, &Key::new(suite)), &ca), Err(PkiError::RevocationList(_))), "of another");
    assert!(read(&text, &node).is_err(), "another issuer");
    assert!(read(&text[..text.len() / 2], &ca).is_err());

    // OpenSSL reads it; it has no option for SM2's identifier under which a list is signed, so it cannot judge that signature.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("list"), &text).unwrap();
    std::fs::write(directory.path().join("ca.pem"), to_pem(&ca).unwrap()).unwrap();
    let judged: &[&str] = if suite == CryptoSuite::Std { &["-CAfile", "ca.pem"] } else { &[] };
    let ran = openssl(directory.path(), &[&["crl", "-noout", "-text", "-in", "list"], judged].concat());
    let (said, verdict) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(verdict.contains("verify OK"), suite == CryptoSuite::Std, "{verdict}");
    for words in ["CN = Bixi test CA", "18446744073709551615", "Serial Number: 02020202020202020202020202020202"] {
        assert!(said.contains(words), "{words} in {said}");
    }
}

in_both_suites!(
    chain_verifies_and_survives_pem,
    a_file_gives_its_certificates_in_order_and_nothing_else,
    refuses_wrong_issuer_expiry_and_changed_bytes,
    openssl_accepts_the_chain,
    openssl_chain_is_accepted,
    refuses_foreign_keys_and_garbage,
    a_revocation_list_grows_and_is_believed_only_when_the_authority_signed_it,
);
