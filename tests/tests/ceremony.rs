//! The ceremony, and a start with a wrong file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bixi_tests::binary;
use serde_json::Value;

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

/// Whoever can write where a device keeps its keys between two steps could put a key there that he knows.
#[test]
fn nothing_is_sealed_under_a_key_that_the_ceremony_did_not_make() {
    let place = tempfile::tempdir().unwrap();
    let made = bixi(&["chain", "new", "--dir", "chain"], place.path());
    assert!(made.status.success(), "{}", said(&made));
    let node = place.path().join("chain/node0");
    let record = node.join("conf/keys.json");
    let good = fs::read_to_string(&record).unwrap();
    let fingerprint = serde_json::from_str::<Value>(&good).unwrap()["kek_fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(fingerprint.len(), 16);
    let made = ["vault", "guard"].map(|name| node.join("data").join(name));
    made.iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::write(&record, good.replace(&fingerprint, "0123456789abcdef")).unwrap();
    let refused = bixi(&["chain", "seal", "--dir", "chain/node0"], place.path());
    assert!(!refused.status.success());
    assert!(said(&refused).contains("another key was put in its place"), "{}", said(&refused));
    assert!(made.iter().all(|path| !path.exists()), "nothing was made");
    fs::write(&record, good).unwrap();
    let sealed = bixi(&["chain", "seal", "--dir", "chain/node0"], place.path());
    assert!(sealed.status.success(), "{}", said(&sealed));
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
fn openssl_verifies(place: &Path, authority: &str, certificate: &str) -> Output {
    Command::new("openssl")
        .args(["verify", "-x509_strict", "-vfyopt", "distid:1234567812345678", "-CAfile", authority, certificate])
        .current_dir(place)
        .output()
        .expect("openssl is installed")
}

#[test]
fn openssl_verifies_the_certificates_of_the_ceremony() {
    let place = tempfile::tempdir().unwrap();
    let made = bixi(&["chain", "new", "--dir", "chain"], place.path());
    assert!(made.status.success(), "{}", said(&made));
    let verify = |authority: &str, certificate: &str| openssl_verifies(place.path(), authority, certificate);
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

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts<'a>(made: &'a Value, name: &str) -> Vec<&'a str> {
    made["nodes"].as_array().unwrap().iter().map(|node| node[name].as_str().unwrap()).collect()
}

fn distinct(words: &[&str]) -> bool {
    words.iter().enumerate().all(|(index, word)| !words[..index].contains(word))
}

/// Path and content of every file below.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = bixi_tests::disk::files(directory).unwrap();
    files.into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

#[test]
fn four_nodes_share_genesis_and_authority_and_a_fifth_joins_them() {
    let place = tempfile::tempdir().unwrap();
    let nodes = "127.0.0.1:30300,127.0.0.1:30301,10.0.0.3:30300,node-d.example:30300";
    let made = json(&bixi(&["chain", "new", "--dir", "chain", "--json", "--nodes", nodes], place.path()));
    assert_eq!(texts(&made, "node"), ["node0", "node1", "node2", "node3"]);
    assert_eq!(texts(&made, "p2p"), nodes.split(',').collect::<Vec<_>>());
    assert_eq!(texts(&made, "rpc"), ["127.0.0.1:20200", "127.0.0.1:20201", "127.0.0.1:20200", "127.0.0.1:20200"]);
    assert_eq!(texts(&made, "directory"), ["chain/node0", "chain/node1", "chain/node2", "chain/node3"]);
    assert!(distinct(&texts(&made, "id")), "{made}");

    let genesis = fs::read_to_string(place.path().join("chain/node0/genesis.toml")).unwrap();
    let members: Vec<&str> = genesis.lines().filter_map(|line| line.strip_prefix("id = ")).collect();
    assert_eq!(members, texts(&made, "id").iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>());
    let before = contents(&place.path().join("chain"));

    // Wrong wishes leave the chain as it is.
    for (nodes, word) in [("10.0.0.3:30300", "two nodes"), ("2", "is not on this machine"), ("a:1,a:2,a:", "host:port")]
    {
        let refused = bixi(&["chain", "new", "--expand", "chain", "--nodes", nodes], place.path());
        assert!(!refused.status.success() && said(&refused).contains(word), "{nodes}: {}", said(&refused));
    }
    let nowhere = bixi(&["chain", "new", "--expand", "nowhere", "--nodes", "a:1"], place.path());
    assert!(said(&nowhere).contains("genesis.toml is missing"), "{}", said(&nowhere));
    assert_eq!(contents(&place.path().join("chain")), before);

    let joined =
        json(&bixi(&["chain", "new", "--expand", "chain", "--nodes", "10.0.0.3:30301", "--json"], place.path()));
    assert_eq!((texts(&joined, "node"), texts(&joined, "rpc")), (vec!["node4"], vec!["127.0.0.1:20201"]));
    assert_eq!(joined["genesis"], made["genesis"]);
    for node in 0..5 {
        let home = format!("chain/node{node}");
        assert_eq!(fs::read_to_string(place.path().join(&home).join("genesis.toml")).unwrap(), genesis, "{home}");
        let verified = openssl_verifies(place.path(), "chain/ca/ca.crt", &format!("{home}/conf/node.crt"));
        assert!(verified.status.success(), "{home}: {}", said(&verified));
        assert_eq!(mode(&place.path().join(&home).join("secrets/user.pin")), 0o400);
        assert!(place.path().join(&home).join("data/guard").exists(), "{home}");
    }
    // Only the authority's own store knows of the new one.
    let own = place.path().join("chain/ca");
    for (file, content) in before.iter().filter(|(file, _)| !file.starts_with(&own)) {
        assert_eq!(fs::read(file).unwrap(), *content, "{}", file.display());
    }
}

#[test]
fn certificates_are_taken_back_replaced_and_never_forgotten() {
    let place = tempfile::tempdir().unwrap();
    for chain in [&["chain", "new", "--nodes", "2", "--dir", "chain"][..], &["chain", "new", "--dir", "other"]] {
        let made = bixi(chain, place.path());
        assert!(made.status.success(), "{}", said(&made));
    }
    let revoke = |files: &[&str]| {
        let ran = bixi(&[&["chain", "revoke", "--json", "--dir", "chain"], files].concat(), place.path());
        (ran.status.code(), serde_json::from_slice::<Value>(&ran.stdout).unwrap_or_default(), said(&ran))
    };
    let (own, next) = ("chain/node0/conf/node.crt", "chain/node1/conf/node.crt");
    let (_, first, words) = revoke(&[own]);
    assert_eq!((&first["number"], &first["certificates"]), (&2.into(), &1.into()), "{words}");
    let (_, second, words) = revoke(&[own, next]);
    assert_eq!((&second["number"], &second["certificates"]), (&3.into(), &2.into()), "{words}");

    // Somebody else's certificate, no certificate, no file: each is named, and the list stays.
    let list = place.path().join("chain/ca/ca.crl");
    let before = fs::read(&list).unwrap();
    fs::write(place.path().join("junk.crt"), "junk").unwrap();
    for wrong in ["other/node0/conf/node.crt", "junk.crt", "absent.crt"] {
        let (status, _, words) = revoke(&[own, wrong]);
        assert_eq!(status, Some(1), "{words}");
        assert!(words.contains(wrong), "{words}");
    }
    assert_eq!(fs::read(&list).unwrap(), before);

    // Neither a spoilt list nor one that is gone is gone on with: what was taken back would count again.
    for lost in [Some(&before[..before.len() / 2]), None] {
        fs::remove_file(&list).unwrap();
        lost.iter().for_each(|bytes| fs::write(&list, bytes).unwrap());
        let (status, _, words) = revoke(&[own]);
        assert_eq!(status, Some(1), "{words}");
        assert!(words.contains("ca.crl"), "{words}");
        fs::write(&list, &before).unwrap();
    }

    // A new certificate for the same key, in the place of the one that was taken back.
    let old = fs::read(place.path().join(own)).unwrap();
    fs::remove_file(place.path().join(own)).unwrap();
    let refused = bixi(&["chain", "certify", "--dir", "chain"], place.path());
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("--key-is-safe"), "{}", said(&refused));
    let certified = bixi(&["chain", "certify", "--key-is-safe", "--dir", "chain"], place.path());
    assert!(certified.status.success(), "{}", said(&certified));
    assert_ne!(fs::read(place.path().join(own)).unwrap(), old);
    // The copy that the authority keeps serves when the node and its directory are gone.
    let issued = fs::read_dir(place.path().join("chain/ca/issued")).unwrap();
    let issued: Vec<String> = issued.map(|entry| entry.unwrap().path().to_string_lossy().into_owned()).collect();
    assert_eq!(issued.len(), 3, "{issued:?}");
    let (_, all, words) = revoke(&issued.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(all["certificates"], 3, "{words}");
}
