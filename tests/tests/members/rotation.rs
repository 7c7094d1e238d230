//! The consensus key of a validator of a live chain is put in the place of another, by the steps that `bixi hsm rotate` prints.

use std::path::Path;
use std::process::Command;

use bixi_tests::chain::{Chain, start, wait_equal, wait_until};
use bixi_tests::console::{Console, MEMBERS_AFTER, check_effect, header, is_proposed_by, is_signed_by};
use bixi_tests::node::RunningNode;
use bixi_tests::{binary, settings};
use serde_json::Value;

use crate::turn;

/// Each validator proposes in its turn: far more blocks than four need.
const BLOCKS_MAX: usize = 60;

fn rotate(config: &Path, more: &[&str]) -> Value {
    let mut command = Command::new(binary("bixi"));
    let ran = command.args(["hsm", "rotate", "consensus", "--json"]).args(more).arg("--config").arg(config).output();
    let ran = ran.expect("bixi starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

/// Makes blocks until one is as wanted.
fn make_blocks_until(console: &mut Console, through: &RunningNode, what: &str, holds: impl Fn(&Value) -> bool) {
    let found = (0..BLOCKS_MAX).any(|_| {
        let height = console.make_block(through);
        holds(&header(through, height))
    });
    assert!(found, "in no block of {BLOCKS_MAX}: {what}");
}

/// The chain is one as `bixi chain new` makes it by itself, whose contracts see SM3: the printed calls have to be for that.
#[test]
fn a_validator_goes_on_with_another_consensus_key() {
    let _turn = turn();
    let place = tempfile::tempdir().unwrap();
    let chain = Chain::make_by_default(&place.path().join("chain"), "4");
    let (config, old) = (&chain.configs[3], &chain.ids[3]);
    let mut nodes = start(&chain.configs);
    let mut console = Console::new(77);
    make_blocks_until(&mut console, &nodes[0], "the old key's signature", |header| is_signed_by(header, old));

    let stopped = nodes.pop().expect("four nodes").stop();
    assert!(stopped.status.success(), "{}", stopped.said);
    let made = rotate(config, &[]);
    let new = made["public_key"].as_str().expect("a key").to_owned();
    let calls: Vec<Vec<u8>> = made["calls"].as_array().expect("calls").iter().map(data).collect();
    assert_eq!((calls.len(), made["calls"][0]["to"].as_str().map(|to| &to[38..])), (3, Some("1003")));

    let last = RunningNode::start(config);
    assert_eq!(console.send_to_consensus(&nodes[0], calls[0].clone()).code, 0);
    let removed = console.send_to_consensus(&nodes[0], calls[1].clone());
    for _ in 0..MEMBERS_AFTER {
        console.make_block(&nodes[0]);
    }
    check_effect(&nodes.iter().collect::<Vec<_>>(), removed, old, Some(1), None);
    let stopped = last.stop();
    assert!(stopped.status.success(), "{}", stopped.said);
    settings::set(config, "hsm", "consensus_key", &made["label"].to_string());

    let last = RunningNode::start(config);
    let reached = nodes[0].height();
    wait_until("the new key following", || last.height() >= reached);
    let admitted = console.send_to_consensus(&last, calls[2].clone());
    nodes.push(last);
    for _ in 0..MEMBERS_AFTER {
        console.make_block(&nodes[0]);
    }
    check_effect(&nodes.iter().collect::<Vec<_>>(), admitted, &new, None, Some(1));
    make_blocks_until(&mut console, &nodes[0], "the new key's signature", |header| is_signed_by(header, &new));
    make_blocks_until(&mut console, &nodes[3], "the new key's proposal", |header| is_proposed_by(header, &new));
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "with the new key");

    let stopped = nodes.pop().expect("four nodes").stop();
    assert!(stopped.status.success(), "{}", stopped.said);
    let finished = rotate(config, &["--finish"]);
    assert_eq!(finished["node"], made["public_key"]);
    assert_eq!(finished["former"][0]["public_key"].as_str(), Some(old.as_str()));
    nodes.push(RunningNode::start(config));
    make_blocks_until(&mut console, &nodes[0], "the new key's signature after the last step", |header| {
        is_signed_by(header, &new)
    });
}

fn data(call: &Value) -> Vec<u8> {
    let digits = call["data"].as_str().expect("call data");
    hex::decode(digits.trim_start_matches("0x")).expect("hexadecimal")
}
