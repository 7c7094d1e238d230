//! Tokens and stores made ready, and not made ready twice.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bixi_tests::{binary, swtpm_or_skip};
use serde_json::Value;

use crate::bench::{json, refused};

fn pin(place: &Path, name: &str, pin: &str) -> String {
    let path = place.join(name);
    fs::write(&path, pin).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    format!("file:{}", path.display())
}

fn init(arguments: &[&str]) -> Output {
    Command::new(binary("bixi")).args(["hsm", "init", "--json"]).args(arguments).output().unwrap()
}

/// A configuration of the shipped module with an empty store.
fn token_config(place: &Path) -> PathBuf {
    fs::create_dir(place.join("token")).unwrap();
    let path = place.join("token.conf");
    fs::write(&path, "directory = token\n").unwrap();
    path
}

#[test]
fn a_token_is_destroyed_only_by_its_name() {
    let place = tempfile::tempdir().unwrap();
    let config = token_config(place.path());
    let (so, user) = (pin(place.path(), "so", "so-pin-87654321"), pin(place.path(), "user", "user-pin-12345678"));
    let common = ["--token-config", config.to_str().unwrap(), "--so-pin", &so, "--slot", "0"];
    let with = |more: &[&str]| init(&[&common[..], more].concat());
    let words = refused(1, &with(&["--label", "first", "--pin", &so]));
    assert!(words.contains("are one"), "{words}");
    let made = json(&with(&["--label", "first", "--pin", &user]));
    assert!(!made["serial"].as_str().unwrap().is_empty());
    for more in
        [&["--label", "second", "--pin", &user][..], &["--label", "second", "--pin", &user, "--destroy", "secnd"]]
    {
        let words = refused(1, &with(more));
        assert!(words.contains("its label is \"first\""), "{words}");
    }
    json(&with(&["--label", "second", "--pin", &user, "--destroy", "first"]));
    // A PIN is not taken from the command line, nor repeated.
    let words = refused(1, &with(&["--label", "third", "--pin", "12345678"]));
    assert!(words.contains("never given on the command line") && !words.contains("12345678"), "{words}");
}

#[test]
fn a_tpms_store_is_made_once() {
    let swtpm = swtpm_or_skip!();
    let place = tempfile::tempdir().unwrap();
    let user = pin(place.path(), "user", "user-pin-12345678");
    let (socket, store) = (swtpm.socket(), place.path().join("tpm"));
    let arguments =
        ["--tpm", socket.to_str().unwrap(), "--dir", store.to_str().unwrap(), "--label", "x", "--pin", &user];
    let made: Value = json(&init(&arguments));
    assert_eq!(made["attestation_key"].as_str().unwrap().len(), 2 * 34, "{made}");
    let words = refused(1, &init(&arguments));
    assert!(words.contains("there is a store"), "{words}");
}
