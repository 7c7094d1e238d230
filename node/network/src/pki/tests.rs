use std::process::Command;

use bixi_accel::Seeded;
use bixi_accel::sm2::PrivateKey;

use super::*;

const DAY: u64 = 86_400;
const NOW: u64 = 1_800_000_000;

fn make(role: Role, subject: &str, key: &PrivateKey, issuer: &PrivateKey, serial: u8) -> Certificate {
    let params = CertificateParams {
        role,
        subject: subject.into(),
        issuer: "CN=Bixi test CA,O=chain0".into(),
        serial: [serial; 16],
        not_before_s: NOW - DAY,
        not_after_s: NOW + 365 * DAY,
    };
    let issuer_key = issuer.public_key().to_bytes();
    issue(&params, &key.public_key().to_bytes(), &issuer_key, |message| {
        Ok(sm2::sign(issuer, DEFAULT_ID, message, &mut Seeded::new(7)).expect("signs").0)
    })
    .expect("issues")
}

fn chain() -> (Certificate, Certificate) {
    let ca_key = PrivateKey::generate(&mut Seeded::new(1)).expect("key");
    let node_key = PrivateKey::generate(&mut Seeded::new(2)).expect("key");
    let ca = make(Role::Ca, "CN=Bixi test CA,O=chain0", &ca_key, &ca_key, 1);
    (make(Role::Node, "CN=node0,O=chain0", &node_key, &ca_key, 2), ca)
}

#[test]
fn chain_verifies_and_survives_pem() {
    let (node, ca) = chain();
    verify(&ca, &ca, NOW).expect("self-signed");
    let node = from_pem(&to_pem(&node).unwrap()).unwrap();
    verify(&node, &ca, NOW).expect("signed by the CA");
}

#[test]
fn a_file_gives_its_certificates_in_order_and_nothing_else() {
    let (node, ca) = chain();
    let both = [to_pem(&node).unwrap(), to_pem(&ca).unwrap()].concat();
    assert_eq!(chain_from_pem(both.as_bytes()).unwrap(), [node, ca]);
    for junk in [&b""[..], b"junk", &both.as_bytes()[..both.len() / 3]] {
        assert!(chain_from_pem(junk).is_err());
        assert!(revocation_list_der(junk).is_err());
    }
}

#[test]
fn refuses_wrong_issuer_expiry_and_changed_bytes() {
    let (node, ca) = chain();
    assert!(matches!(verify(&ca, &node, NOW), Err(PkiError::Signature { .. })));
    assert!(matches!(verify(&node, &ca, NOW - 2 * DAY), Err(PkiError::Expired { .. })));
    assert!(matches!(verify(&node, &ca, NOW + 366 * DAY), Err(PkiError::Expired { .. })));
    let mut der = node.to_der().unwrap();
    let at = der.windows(5).position(|window| window == b"node0").unwrap();
    der[at] = b'x';
    assert!(matches!(verify(&from_der(&der).unwrap(), &ca, NOW), Err(PkiError::Signature { .. })));
}

#[test]
fn openssl_accepts_the_chain() {
    let (node, ca) = chain();
    let dir = tempfile::tempdir().unwrap();
    let (ca_path, node_path) = (dir.path().join("ca.pem"), dir.path().join("node.pem"));
    std::fs::write(&ca_path, to_pem(&ca).unwrap()).unwrap();
    std::fs::write(&node_path, to_pem(&node).unwrap()).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-attime", &NOW.to_string(), "-vfyopt", "distid:1234567812345678", "-CAfile"])
        .args([&ca_path, &node_path])
        .output()
        .expect("openssl runs (packaging/dev/packages.sh --tests installs it)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn openssl_chain_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new("openssl").current_dir(dir.path()).args(args).output().expect("openssl runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let id = "distid:1234567812345678";
    run(&["genpkey", "-algorithm", "SM2", "-out", "ca.key"]);
    run(&[
        "req",
        "-x509",
        "-new",
        "-key",
        "ca.key",
        "-sm3",
        "-sigopt",
        id,
        "-subj",
        "/CN=openssl CA",
        "-days",
        "30",
        "-out",
        "ca.pem",
    ]);
    let ca = from_pem(&std::fs::read_to_string(dir.path().join("ca.pem")).unwrap()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    verify(&ca, &ca, now).expect("openssl's own signature");
}

#[test]
fn refuses_foreign_keys_and_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p256.pem");
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "/dev/null",
        ])
        .args(["-subj", "/CN=p256", "-out"])
        .arg(&path)
        .output()
        .expect("openssl runs");
    assert!(status.status.success());
    let foreign = from_pem(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(matches!(public_key(&foreign), Err(PkiError::Algorithm { .. })));
    assert!(matches!(verify(&foreign, &foreign, NOW), Err(PkiError::Algorithm { .. })));
    assert!(matches!(from_der(&[0x30; 100]), Err(PkiError::Encoding(_))));
    assert!(matches!(from_der(&vec![0; CERTIFICATE_BYTES_MAX + 1]), Err(PkiError::Encoding(_))));
}

#[test]
fn a_revocation_list_grows_and_is_believed_only_when_the_authority_signed_it() {
    let (node, ca) = chain();
    let ca_key = PrivateKey::generate(&mut Seeded::new(1)).expect("key");
    let write = |list: &RevocationList, key: &PrivateKey| {
        let sign = |message: &[u8]| Ok(sm2::sign(key, DEFAULT_ID, message, &mut Seeded::new(7)).expect("signs").0);
        list.to_pem(&ca, (NOW, NOW + DAY), sign).expect("a list")
    };
    let mut list = RevocationList { number: 1, revoked: Vec::new() };
    assert_eq!(RevocationList::from_pem(write(&list, &ca_key).as_bytes(), &ca).unwrap(), list, "nothing revoked");
    list.number = u64::MAX;
    assert!(list.add(&node, NOW) && !list.add(&node, NOW + 1), "once");
    let text = write(&list, &ca_key);
    assert_eq!(RevocationList::from_pem(text.as_bytes(), &ca).unwrap(), list);

    let of_another = write(&list, &PrivateKey::generate(&mut Seeded::new(3)).expect("key"));
    assert!(matches!(RevocationList::from_pem(of_another.as_bytes(), &ca), Err(PkiError::RevocationList(_))));
    assert!(RevocationList::from_pem(text.as_bytes(), &node).is_err(), "another issuer");
    assert!(RevocationList::from_pem(&text.as_bytes()[..text.len() / 2], &ca).is_err());

    // OpenSSL reads it; it has no option for the identifier under which a list is signed, so it cannot judge the signature.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, &text).unwrap();
    let ran = Command::new("openssl").args(["crl", "-noout", "-text", "-in"]).arg(file.path()).output();
    let said = String::from_utf8(ran.expect("openssl is installed").stdout).unwrap();
    for words in ["CN = Bixi test CA", "18446744073709551615", "Serial Number: 02020202020202020202020202020202"] {
        assert!(said.contains(words), "{words} in {said}");
    }
}
