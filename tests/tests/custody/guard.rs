//! A validator that moves: its guard retired here, its marks imported there.

use bixi_tests::disk::copy;
use bixi_tests::node::RunningNode;
use bixi_tests::wallet::Wallet;

use crate::bench::{Bench, hsm, json, refused};

#[test]
fn a_guard_is_retired_before_its_marks_are_anywhere_else() {
    let bench = Bench::new();
    // Another host that reaches the same device: its guard has signed nothing.
    let other = bench.path("other-host");
    copy(bench.config.parent().unwrap(), &other).unwrap();
    let other = other.join("bixi.toml");
    assert_eq!(bench.json(&["guard", "show"])["marks"], serde_json::json!([]));
    let node = RunningNode::start(&bench.config);
    let transaction = Wallet::new(5).user_add("anna", 1, 500).encode();
    node.connect().unwrap().submit(&transaction).expect("final");
    let words = bench.refused(1, &["guard", "show"]);
    assert!(words.contains("stop both first"), "{words}");
    assert!(node.stop().status.success());
    let shown = bench.json(&["guard", "show"]);
    assert_eq!((shown["marks"].as_array().unwrap().len(), &shown["retired"]), (2, &false.into()), "{shown}");

    let file = bench.path("marks");
    let file = file.to_str().unwrap();
    assert_eq!(bench.hsm(&["guard", "export", "--out", file]).status.code(), Some(2), "retiring has to be said");
    let exported = bench.hsm(&["guard", "export", "--retire", "--out", file]);
    assert!(exported.status.success());
    let ended = RunningNode::try_start(&bench.config).err().expect("a retired guard starts nothing");
    assert!(ended.last_words().contains("was retired"), "{}", ended.said);
    let again = bench.path("marks-again");
    assert!(bench.hsm(&["guard", "export", "--retire", "--out", again.to_str().unwrap()]).status.success());
    let words = bench.refused(1, &["guard", "import", file]);
    assert!(words.contains("was retired"), "{words}");

    let other_key = "11".repeat(64);
    let words = refused(1, &hsm(&["guard", "import", file, "--tls-key", &other_key], &other));
    assert!(words.contains("not the key to be trusted"), "{words}");
    assert!(hsm(&["guard", "import", file], &other).status.success());
    let moved = json(&hsm(&["guard", "show", "--json"], &other));
    assert_eq!((&moved["marks"], &moved["retired"]), (&shown["marks"], &false.into()), "{moved}");
    let mut bytes = std::fs::read(file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&again, bytes).unwrap();
    let words = refused(1, &hsm(&["guard", "import", again.to_str().unwrap()], &other));
    assert!(words.contains("export of a sign-once guard") || words.contains("signature is wrong"), "{words}");
}
