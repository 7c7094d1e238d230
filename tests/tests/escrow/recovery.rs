//! A validator whose device is destroyed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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

/// A chain of four at work, whose last validator is stopped.
struct Stopped {
    place: tempfile::TempDir,
    chain: Chain,
    others: Vec<RunningNode>,
    wallet: Wallet,
    /// Of the stopped one, when it was.
    height: i64,
}

impl Stopped {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let chain = Chain::make(&place.path().join("chain"), "4");
        let mut others = start(&chain.configs);
        let mut wallet = Wallet::new(21);
        add_users(&mut wallet, &others[0], &["first", "second", "third"]);
        wait_equal(&others.iter().collect::<Vec<_>>(), "before the loss");
        let last = others.pop().unwrap();
        let height = last.height();
        assert!(last.stop().status.success());
        Self { place, chain, others, wallet, height }
    }

    fn home(&self) -> &Path {
        self.chain.configs[3].parent().unwrap()
    }

    /// The node has the new key that `recovered` names: the chain takes it for the lost one, and it validates.
    fn admit(mut self, recovered: &Value) {
        let (lost, new) = (recovered["lost"].as_str().unwrap(), recovered["node"].as_str().unwrap());
        assert_eq!((lost, lost == new), (self.chain.ids[3].as_str(), false));
        assert!(self.home().join(recovered["old_certificate"].as_str().unwrap()).is_file());
        self.chain.certify();
        let membership = || examined(&self.chain.configs[3], "membership");
        let (verdict, words) = membership();
        assert!(verdict == "BAD" && words.contains(new) && words.contains("addObserver(string)"), "{verdict}: {words}");
        // The chain does not know the new key yet: what the node has is what was on its disk.
        let last = RunningNode::start(&self.chain.configs[3]);
        assert!(last.height() >= self.height, "{} of {}", last.height(), self.height);
        let mut console = Console::new(22);
        assert_eq!(console.add_observer(&self.others[0], new).code, 0);
        assert_eq!(console.remove(&self.others[0], lost).code, 0);
        assert_eq!(console.add_sealer(&self.others[0], new, 1).code, 0);
        // A chain at rest makes no blocks, and a change of members holds from a later one.
        add_users(&mut self.wallet, &self.others[0], &["fourth", "fifth", "sixth"]);
        wait_until("the new key among the validators", || listed(&last, "getSealerList", new));
        wait_until("the lost one gone", || !listed(&last, "getSealerList", lost));
        let (verdict, words) = membership();
        assert!(verdict == "ok" && words.starts_with("validator"), "beside the node that runs: {verdict}: {words}");
        add_users(&mut self.wallet, &last, &["seventh"]);
        self.others.push(last);
        wait_equal(&self.others.iter().collect::<Vec<_>>(), "after the recovery");
    }
}

fn add_users(wallet: &mut Wallet, node: &RunningNode, names: &[&str]) {
    for name in names {
        let transaction = wallet.user_add(name, 1, node.height() + 500);
        node.connect().unwrap().submit(&transaction.encode()).expect("final");
    }
}

#[test]
fn a_validator_comes_back_on_another_device_with_three_of_its_five_officers() {
    let stopped = Stopped::new();
    let home = stopped.home();
    let made = create(home);
    assert_eq!((made["threshold"].as_u64(), made["officers"].as_array().unwrap().len()), (Some(3), 5));
    fs::remove_dir_all(home.join("token")).unwrap();
    assert!(RunningNode::try_start(&stopped.chain.configs[3]).is_err(), "no device, no node");

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
    assert_eq!(recovered["officers"], value!(["officer 5", "officer 1", "officer 4"]));
    let again = recover(home, &[1, 2, 3]);
    assert!(said(&again).contains("nothing is lost"), "{}", said(&again));
    stopped.admit(&recovered);
}

/// As the manual has it: a token with a key encryption key and nothing else, which is given a slot in good time.
#[test]
fn a_validator_comes_back_on_its_standby_without_officers() {
    let stopped = Stopped::new();
    let home = stopped.home();
    let spare = stopped.place.path().join("spare");
    fs::create_dir_all(spare.join("token")).unwrap();
    fs::write(spare.join("token.conf"), "directory = token\n").unwrap();
    let pin = |name: &str, digits: &str| {
        let path = spare.join(name);
        fs::write(&path, digits).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        format!("file:{}", path.display())
    };
    let (so, user) = (pin("so", "so-pin-87654321"), pin("user", "user-pin-12345678"));
    let token_conf = spare.join("token.conf");
    let token_conf = token_conf.to_str().unwrap();
    let init = ["hsm", "init", "--token-config", token_conf, "--label", "spare", "--so-pin", &so, "--pin", &user];
    assert!(bixi(&init, home).status.success());

    // The node file after a loss, and the same with another data directory for the time before the slot is there.
    let (primary, standby, prepared) = (home.join("bixi.toml"), home.join("standby.toml"), home.join("prepare.toml"));
    fs::copy(&primary, &standby).unwrap();
    for (key, value) in [("token_config", token_conf), ("pin", &user), ("token", "spare")] {
        bixi_tests::settings::set(&standby, "hsm", key, &format!("{value:?}"));
    }
    fs::copy(&standby, &prepared).unwrap();
    bixi_tests::settings::set(&prepared, "", "data_dir", "\"prepare\"");
    fs::create_dir(home.join("prepare")).unwrap();
    let generate = ["hsm", "generate", "--json", "--config", "prepare.toml", "--kind", "kek", "--label", "kek"];
    let made = json(&bixi(&generate, home));
    let fingerprint = made["fingerprint"].as_str().unwrap();
    let add = ["hsm", "slots", "add-standby", "--config", "bixi.toml", "--device", "standby.toml"];
    let added = bixi(&[&add[..], &["--fingerprint", fingerprint]].concat(), home);
    assert!(added.status.success(), "{}", said(&added));

    fs::remove_dir_all(home.join("token")).unwrap();
    fs::rename(&standby, &primary).unwrap();
    let early = RunningNode::try_start(&stopped.chain.configs[3]).err().expect("no signing keys, no node").said;
    assert!(early.contains("bixi hsm recover"), "{early}");
    let recovered = json(&recover(home, &[]));
    assert_eq!((&recovered["standby"], &recovered["officers"]), (&value!("standby"), &value!([])));
    let slots = json(&bixi(&["hsm", "slots", "list", "--json", "--config", "bixi.toml"], home));
    assert_eq!(slots["slots"].as_array().unwrap().len(), 1, "{slots}");
    stopped.admit(&recovered);
}

/// What `bixi doctor` says of one thing.
fn examined(config: &Path, name: &str) -> (String, String) {
    let asked = bixi(&["doctor", "--json", "--config", config.to_str().unwrap()], Path::new("."));
    let report: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == name).unwrap();
    let text = |name: &str| check[name].as_str().unwrap().to_owned();
    (text("verdict"), text("detail"))
}

/// No other node can send what would have the chain take the new key.
#[test]
fn the_doctor_says_that_a_chain_of_one_ended_with_its_key() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let home = config.parent().unwrap();
    create(home);
    let (verdict, words) = examined(&config, "membership");
    assert!(verdict == "ok" && words.contains("no ledger yet"), "{verdict}: {words}");
    let node = RunningNode::start(&config);
    let transaction = Wallet::new(23).user_add("only", 1, node.height() + 500);
    node.connect().unwrap().submit(&transaction.encode()).expect("final");
    assert_eq!(examined(&config, "membership").0, "ok");
    assert!(node.stop().status.success());
    let (verdict, words) = examined(&config, "membership");
    assert!(verdict == "ok" && words == "validator (by the ledger at height 1)", "{verdict}: {words}");

    fs::remove_dir_all(home.join("token")).unwrap();
    let recovered = json(&recover(home, &[1, 2, 3]));
    let (verdict, words) = examined(&config, "membership");
    assert_eq!(verdict, "BAD", "{words}");
    for part in ["the chain has ended", recovered["lost"].as_str().unwrap(), recovered["node"].as_str().unwrap()] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let offline = bixi(&["doctor", "--json", "--offline", "--config", "bixi.toml"], home);
    assert!(String::from_utf8_lossy(&offline.stdout).contains("genesis does not know this node's consensus key"));
    fs::remove_dir_all(home.join("data/ledger")).unwrap();
    let (verdict, words) = examined(&config, "membership");
    assert!(verdict == "BAD" && words.starts_with("genesis does not know"), "{verdict}: {words}");
}

#[test]
fn an_escrow_that_is_refused_leaves_no_directory_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let home = config.parent().unwrap();
    let create = |threshold: &str| {
        let words = ["hsm", "escrow", "create", "--config", "bixi.toml", "--out", "pages", "--officers", "3"];
        bixi(&[&words[..], &["--threshold", threshold]].concat(), home)
    };
    assert_eq!(create("4").status.code(), Some(1));
    assert!(!home.join("pages").exists());
    fs::create_dir(home.join("pages")).unwrap();
    assert_eq!(create("4").status.code(), Some(1));
    assert!(home.join("pages").is_dir(), "one that was there before stays");
    let made = create("2");
    assert!(made.status.success(), "{}", said(&made));
    assert!(home.join(page(3)).is_file());
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
    let added = json(&with(&["--fingerprint", fingerprint, "--json"]));
    assert_eq!((&added["label"], &added["fingerprint"]), (&"standby".into(), &fingerprint.into()), "{added}");
    assert!(added["kek"].as_str().unwrap().contains("object=kek;"), "{added}");
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
