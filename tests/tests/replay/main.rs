//! `bixi db replay` on the files of real nodes: what can be executed again, what cannot, that a running node is left alone, and the way out
//! for one whose result differed.

mod differing;
mod meddler;
#[path = "../support/opened.rs"]
mod opened;
mod overruled;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bixi_tests::binary;
use bixi_tests::disk::copy;
use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::wallet::Wallet;
use serde_json::Value;

pub(crate) fn replay(config: &Path, height: u64, more: &[&str]) -> Output {
    let mut command = Command::new(binary("bixi"));
    command.args(["db", "replay", "--height", &height.to_string(), "--config"]).arg(config).args(more);
    command.output().expect("bixi starts")
}

pub(crate) fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A few blocks, one transaction each.
pub(crate) fn commit(node: &RunningNode, wallet: &mut Wallet, names: std::ops::Range<u32>) {
    for name in names {
        let transaction = wallet.user_add(&format!("user-{name}"), 100, node.height() + 500);
        let receipt = node.connect().and_then(|mut to| to.submit(&transaction.encode())).expect("a receipt");
        assert_eq!(receipt["status"], 0, "{receipt}");
    }
}

#[test]
fn decided_heights_are_executed_again_and_committed_ones_are_not() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let data = config.with_file_name("data");
    let mut wallet = Wallet::new(17);
    let node = RunningNode::start(&config);
    commit(&node, &mut wallet, 0..2);
    let head = node.height() as u64;
    assert!(node.stop().status.success());
    let old = place.path().join("old-ledger");
    copy(&data.join("ledger"), &old).unwrap();

    let node = RunningNode::start(&config);
    // As many as may be decided and not committed.
    commit(&node, &mut wallet, 2..4);
    let last = node.height() as u64;
    let refused = replay(&config, head, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("the node runs"), "{}", words(&refused));
    assert!(node.stop().status.success());
    let refused = replay(&config, last, &["--accept"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("the state before it is gone"), "{}", words(&refused));

    // A ledger that lacks its last blocks, as after a halt; the ordering log has them.
    fs::remove_dir_all(data.join("ledger")).unwrap();
    fs::rename(&old, data.join("ledger")).unwrap();
    let done = replay(&config, head + 1, &["--json", "--accept"]);
    assert!(done.status.success(), "{}", words(&done));
    let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!((told["head"].as_u64(), told["divergent"].as_array().map(Vec::len)), (Some(head), Some(0)));
    let heights = told["heights"].as_array().expect("heights");
    assert_eq!(heights.len() as u64, last - head);
    for height in heights {
        assert_eq!(height["verdict"], "equal", "{told}");
        assert_eq!(height["header"], height["signed"]);
    }
    // Nothing was changed: the node executes the same heights and has them again.
    let node = RunningNode::start(&config);
    assert_eq!(node.height() as u64, last);
    assert!(node.stop().status.success());
}
