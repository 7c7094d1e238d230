//! The ceremony, and a start with a wrong file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use bixi_tests::binary;

fn bixi(arguments: &[&str], directory: &Path) -> Output {
    Command::new(binary("bixi")).args(arguments).current_dir(directory).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_chain_is_made_once_and_its_secrets_are_private() {
    let place = tempfile::tempdir().unwrap();
    let made = bixi(&["chain", "new", "--dir", "chain"], place.path());
    assert!(made.status.success(), "{}", said(&made));
    let node = place.path().join("chain/node0");
    assert_eq!(mode(&node.join("secrets")), 0o700);
    assert_eq!(mode(&node.join("secrets/user.pin")), 0o400);
    assert_eq!(mode(&node.join("secrets/so.pin")), 0o400);
    let keys = fs::read(node.join("conf/keys.json")).unwrap();
    let again = bixi(&["chain", "new", "--dir", "chain"], place.path());
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("left as it is"), "{}", said(&again));
    let keys_again = bixi(&["chain", "keys", "--dir", "chain/node0"], place.path());
    assert_eq!(keys_again.status.code(), Some(1), "{}", said(&keys_again));
    assert_eq!(fs::read(node.join("conf/keys.json")).unwrap(), keys);
}

#[test]
fn a_wrong_node_file_has_its_own_status() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("bixi.toml"), "nmae = \"x\"\n").unwrap();
    let ran = bixi(&["run", "--config", "bixi.toml"], place.path());
    assert_eq!(ran.status.code(), Some(78), "{}", said(&ran));
    assert!(said(&ran).contains("bixi.toml:1"), "{}", said(&ran));
    assert_eq!(bixi(&["run", "--config", "absent.toml"], place.path()).status.code(), Some(78));
}

/// OpenSSL 3.0 verifies SM2 certificates only when told the signers' ID (GB/T 32918.2 5.5's default).
#[test]
fn openssl_verifies_the_certificates_of_the_ceremony() {
    let place = tempfile::tempdir().unwrap();
    let made = bixi(&["chain", "new", "--dir", "chain"], place.path());
    assert!(made.status.success(), "{}", said(&made));
    let verify = |authority: &str, certificate: &str| {
        Command::new("openssl")
            .args(["verify", "-x509_strict", "-vfyopt", "distid:1234567812345678", "-CAfile", authority, certificate])
            .current_dir(place.path())
            .output()
            .expect("openssl is installed")
    };
    for (authority, certificate) in [
        ("chain/ca/ca.crt", "chain/ca/ca.crt"),
        ("chain/ca/ca.crt", "chain/node0/conf/node.crt"),
        ("chain/node0/conf/ca.crt", "chain/node0/conf/node.crt"),
    ] {
        let verified = verify(authority, certificate);
        assert!(verified.status.success(), "{certificate}: {}", said(&verified));
    }
    let other = bixi(&["chain", "new", "--dir", "other"], place.path());
    assert!(other.status.success(), "{}", said(&other));
    assert!(!verify("other/ca/ca.crt", "chain/node0/conf/node.crt").status.success());

    // The certified key is the one the token made.
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-pubkey", "-in", "chain/node0/conf/node.crt"])
        .current_dir(place.path())
        .output()
        .unwrap();
    let key = openssl::pkey::PKey::public_key_from_pem(&shown.stdout).unwrap().public_key_to_der().unwrap();
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path().join("chain/node0/conf/keys.json")).unwrap()).unwrap();
    let tls = record["keys"].as_array().unwrap().iter().find(|key| key["role"] == "tls").unwrap();
    assert_eq!(hex::encode(&key[key.len() - 64..]), tls["public_key"].as_str().unwrap());
}
