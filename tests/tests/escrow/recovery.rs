//! A validator whose device is destroyed.

use std::fs;
use std::path::Path;

use bixi_tests::chain::{Chain, start, wait_equal, wait_until};
use bixi_tests::console::Console;
use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::wallet::Wallet;
use serde_json::{Value, json as value};

use crate::{bixi, json, said};

fn create(directory: &Path) -> Value {
    let words = ["hsm", "escrow", "create", "--json", "--config", "bixi.toml", "--out", "pages"];
    json(&bixi(&[&words[..], &["--officers", "5", "--threshold", "3"]].concat(), directory))
}

fn page(index: usize) -> String {
    format!("pages/share-{index}.txt")
}

fn recover(directory: &Path, pages: &[usize]) -> std::process::Output {
    let pages: Vec<String> = pages.iter().map(|index| format!("--share={}", page(*index))).collect();
    let words = ["hsm", "recover", "--json", "--config", "bixi.toml"];
    bixi(&words.into_iter().chain(pages.iter().map(String::as_str)).collect::<Vec<_>>(), directory)
}

fn listed(node: &RunningNode, method: &str, id: &str) -> bool {
    node.call(method, value!(["group0", ""])).expect("a list").to_string().contains(id)
}

#[test]
fn a_validator_comes_back_on_another_device_with_three_of_its_five_officers() {
    let place = tempfile::tempdir().unwrap();
    let chain = Chain::make(&place.path().join("chain"), "4");
    let mut nodes = start(&chain.configs);
    let mut wallet = Wallet::new(21);
    for name in ["first", "second", "third"] {
        let transaction = wallet.user_add(name, 1, nodes[0].height() + 500);
        nodes[0].connect().unwrap().submit(&transaction.encode()).expect("final");
    }
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "before the loss");
    let last = nodes.pop().unwrap();
    let height = last.height();
    assert!(last.stop().status.success());

    let home = chain.configs[3].parent().unwrap();
    let made = create(home);
    assert_eq!((made["threshold"].as_u64(), made["officers"].as_array().unwrap().len()), (Some(3), 5));
    fs::remove_dir_all(home.join("token")).unwrap();
    assert!(RunningNode::try_start(&chain.configs[3]).is_err(), "no device, no node");

    let before = fs::read(home.join("data/vault")).unwrap();
    let refused = recover(home, &[2, 5]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("1 more needed, of 1 (officer 1), 3 (officer 3), 4 (officer 4)"),
        "{}",
        said(&refused)
    );
    assert_eq!(fs::read(home.join("data/vault")).unwrap(), before);

    let recovered = json(&recover(home, &[5, 1, 4]));
    let (lost, new) = (recovered["lost"].as_str().unwrap(), recovered["node"].as_str().unwrap().to_owned());
    assert_eq!((lost, lost == new), (chain.ids[3].as_str(), false));
    assert_eq!(recovered["officers"], value!(["officer 5", "officer 1", "officer 4"]));
    assert!(home.join(recovered["old_certificate"].as_str().unwrap()).is_file());
    let again = recover(home, &[1, 2, 3]);
    assert!(said(&again).contains("nothing is lost"), "{}", said(&again));
    chain.certify();

    // The chain does not know the new key yet: what the node has is what was on its disk.
    let last = RunningNode::start(&chain.configs[3]);
    assert!(last.height() >= height, "{} of {height}", last.height());
    let mut console = Console::new(22);
    assert_eq!(console.add_observer(&nodes[0], &new).code, 0);
    assert_eq!(console.remove(&nodes[0], lost).code, 0);
    assert_eq!(console.add_sealer(&nodes[0], &new, 1).code, 0);
    // A chain at rest makes no blocks, and a change of members holds from a later one.
    for name in ["fourth", "fifth", "sixth"] {
        let transaction = wallet.user_add(name, 1, nodes[0].height() + 500);
        nodes[0].connect().unwrap().submit(&transaction.encode()).expect("final");
    }
    wait_until("the new key among the validators", || listed(&last, "getSealerList", &new));
    wait_until("the lost one gone", || !listed(&last, "getSealerList", lost));
    let transaction = wallet.user_add("seventh", 1, nodes[0].height() + 500);
    last.connect().unwrap().submit(&transaction.encode()).expect("final");
    nodes.push(last);
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "after the recovery");
}

/// The primary's token ends, and the node runs on the standby's keys with what is on its disk.
#[test]
fn a_standby_of_the_same_module_opens_the_vault() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let home = config.parent().unwrap();
    let spare = place.path().join("spare");
    let made = bixi(&["chain", "new", "--rpc-port", "0", "--dir", "spare"], place.path());
    assert!(made.status.success(), "{}", said(&made));
    // A node file beside the node's own, whose device is the other chain's token.
    fs::copy(&config, home.join("standby.toml")).unwrap();
    for (key, file) in [("token_config", "token.conf"), ("pin", "secrets/user.pin")] {
        let path = spare.join("node0").join(file);
        let value = if key == "pin" { format!("\"file:{}\"", path.display()) } else { format!("{path:?}") };
        bixi_tests::settings::set(&home.join("standby.toml"), "hsm", key, &value);
    }
    let of_spare: Value = serde_json::from_slice(&fs::read(spare.join("node0/conf/keys.json")).unwrap()).unwrap();
    let fingerprint = of_spare["kek_fingerprint"].as_str().unwrap();
    let add = ["hsm", "slots", "add-standby", "--config", "bixi.toml", "--device", "standby.toml"];
    let with = |more: &[&str]| bixi(&[&add[..], more].concat(), home);
    let unconfirmed = with(&[]);
    assert!(said(&unconfirmed).contains("name it with --fingerprint"), "{}", said(&unconfirmed));
    let other = with(&["--fingerprint", "0123456789abcdef"]);
    assert!(said(&other).contains("another key than is meant"), "{}", said(&other));
    let added = with(&["--fingerprint", fingerprint]);
    assert!(added.status.success(), "{}", said(&added));
    let again = with(&["--fingerprint", fingerprint]);
    assert!(said(&again).contains("choose another label"), "{}", said(&again));
    let twice = with(&["--fingerprint", fingerprint, "--label", "second"]);
    assert!(said(&twice).contains("opens it already, by its slot \"standby\""), "{}", said(&twice));
    let own: Value = serde_json::from_slice(&fs::read(home.join("conf/keys.json")).unwrap()).unwrap();
    let itself = ["hsm", "slots", "add-standby", "--config", "bixi.toml", "--device", "bixi.toml", "--label", "own"];
    let itself = bixi(&[&itself[..], &["--fingerprint", own["kek_fingerprint"].as_str().unwrap()]].concat(), home);
    assert!(said(&itself).contains("opens it already, by its slot \"primary\""), "{}", said(&itself));
    let slots = json(&bixi(&["hsm", "slots", "list", "--json", "--config", "bixi.toml"], home));
    assert_eq!(slots["slots"][1]["kind"], "standby");

    fs::remove_dir_all(home.join("token")).unwrap();
    // The vault opens: what is refused then is its only primary slot's end, by the standby's own node file.
    let opened = bixi(&["hsm", "slots", "remove", "--config", "standby.toml", "primary"], home);
    assert!(said(&opened).contains("is the one this node opens it with"), "{}", said(&opened));
}

#[test]
fn an_officers_page_is_checked_and_a_slot_ends() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let home = config.parent().unwrap();
    let running = RunningNode::start(&config);
    let refused = bixi(
        &["hsm", "escrow", "create", "--config", "bixi.toml", "--officers", "2", "--threshold", "2", "--out", "x"],
        home,
    );
    assert!(said(&refused).contains("stop both first"), "{}", said(&refused));
    assert!(running.stop().status.success());

    let made = create(home);
    let check = |index: usize| {
        bixi(&["hsm", "escrow", "check", "--json", "--config", "bixi.toml", "--share", &page(index)], home)
    };
    for index in 1..=5 {
        let checked = json(&check(index));
        assert_eq!(
            (&checked["escrow"], checked["officer"].as_str()),
            (&made["escrow"], Some(&*format!("officer {index}")))
        );
    }
    let text = fs::read_to_string(home.join(page(2))).unwrap();
    let line = text.lines().find(|line| line.starts_with("04")).unwrap();
    let wrong = line.replacen(line.chars().nth(4).unwrap(), if line.contains("04  7") { "8" } else { "7" }, 1);
    fs::remove_file(home.join(page(2))).unwrap();
    fs::write(home.join(page(2)), text.replace(line, &wrong)).unwrap();
    let refused = check(2);
    assert!(said(&refused).contains("line 4 of the share"), "{}", said(&refused));

    let slots = || json(&bixi(&["hsm", "slots", "list", "--json", "--config", "bixi.toml"], home));
    assert_eq!(slots()["slots"][1]["kind"], "escrow");
    let removed = bixi(&["hsm", "slots", "remove", "--config", "bixi.toml", "officers"], home);
    assert!(removed.status.success(), "{}", said(&removed));
    assert_eq!(slots()["slots"].as_array().unwrap().len(), 1);
    assert!(said(&check(1)).contains("this vault has no escrow"));
    assert_eq!(RunningNode::start(&config).height(), 0);
}
