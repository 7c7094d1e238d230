//! Ceremonies and rotations whose process is killed before each of the calls that make something durable, and what the next attempt does.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::wallet::Wallet;
use bixi_tests::{binary, fixture, settings};
use serde_json::Value;

use crate::{bixi, json, said};

const SIGKILL: i32 = 9;
/// More calls than any command makes.
const CALLS_MAX: usize = 400;

/// A node's directory, copied for each attempt.
pub(crate) struct Ground {
    place: tempfile::TempDir,
    pub(crate) template: PathBuf,
    stop: PathBuf,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let template = make_chain(place.path()).parent().unwrap().to_owned();
        // A ring's calls go past the library.
        settings::set(&template.join("bixi.toml"), "storage", "io", "\"pread\"");
        let stop = fixture::library("stop.c", place.path());
        Self { place, template, stop }
    }

    /// What makes the node ready for the command under test.
    fn prepare(&self, arguments: &[&str]) -> Value {
        json(&bixi(arguments, &self.template))
    }

    fn set(&self, key: &str, value: &str) {
        settings::set(&self.template.join("bixi.toml"), "hsm", key, value);
    }

    /// Kills the command before its first call, its second, and so on to its end; `after` looks at each directory that is left in another
    /// shape than by the kill before.
    fn stop_everywhere(&self, arguments: &[&str], after: impl Fn(&Path, usize)) {
        self.stop_at_every(1, arguments, after);
    }

    /// The same before every `stride`-th call, of a command that makes many.
    pub(crate) fn stop_at_every(&self, stride: usize, arguments: &[&str], after: impl Fn(&Path, usize)) {
        let mut before = shape_of(&self.template, &self.template);
        let mut looked_at = 0;
        for at in (1..CALLS_MAX).step_by(stride) {
            let (node, ran) = self.run_until(arguments, at);
            if ran.status.signal() != Some(SIGKILL) {
                assert!(ran.status.success(), "{at}: {}", said(&ran));
                assert!(looked_at > 3, "{arguments:?} makes nothing durable");
                return;
            }
            // Killed between a PIN and its verdict: how long the next attempt waits then is not the matter here.
            drop(fs::remove_file(node.join("data/pin-state")));
            // A call that moved nothing, such as a sync, leaves after it what it found: a kill takes nothing from the kernel.
            let shape = shape_of(&node, &self.template);
            if shape != before {
                after(&node, at);
                looked_at += 1;
            }
            before = shape;
            fs::remove_dir_all(&node).unwrap();
        }
        panic!("{arguments:?} does not end");
    }

    /// A directory in which the command was killed before that call.
    pub(crate) fn killed_at(&self, arguments: &[&str], at: usize) -> PathBuf {
        let (node, ran) = self.run_until(arguments, at);
        assert_eq!(ran.status.signal(), Some(SIGKILL), "{}", said(&ran));
        drop(fs::remove_file(node.join("data/pin-state")));
        node
    }

    /// A copy of the node's directory.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let node = self.place.path().join(name);
        // With its empty directories and their modes.
        let copied = Command::new("cp").arg("-a").args([&self.template, &node]).status().unwrap();
        assert!(copied.success());
        node
    }

    fn run_until(&self, arguments: &[&str], at: usize) -> (PathBuf, Output) {
        let node = self.copy(&format!("node-{at}"));
        let mut command = Command::new(binary("bixi"));
        command.args(arguments).current_dir(&node).env("LD_PRELOAD", &self.stop).env("BIXI_STOP_AT", at.to_string());
        (node, command.output().unwrap())
    }
}

/// Every file's length, and whether the template has it with that content; nothing of what is remembered of a PIN.
fn shape_of(node: &Path, template: &Path) -> BTreeMap<PathBuf, (usize, bool)> {
    let mut shape = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(inside) = left.pop() {
        for entry in fs::read_dir(node.join(&inside)).unwrap() {
            let path = inside.join(entry.unwrap().file_name());
            if node.join(&path).is_dir() {
                left.push(path);
            } else if !path.to_string_lossy().contains("pin-state") {
                let content = fs::read(node.join(&path)).unwrap();
                let is_old = fs::read(template.join(&path)).is_ok_and(|before| before == content);
                shape.insert(path, (content.len(), is_old));
            }
        }
    }
    shape
}

/// The last words of a command that was refused.
fn refusal(output: &Output) -> String {
    // The second where an officer has to put right how the device is set up.
    assert!(matches!(output.status.code(), Some(1 | 78)), "{}: {}", output.status, said(output));
    said(output).lines().last().unwrap_or_default().to_owned()
}

/// The fingerprint that a refusal offers to take.
fn offered(words: &str) -> Option<&str> {
    words.split_once("--adopt ").and_then(|(_, rest)| rest.get(..16))
}

/// How a command came to its end after a kill.
struct Again {
    said: Value,
    /// Keys that the refusals had adopted.
    adopted: usize,
    /// Whether the token was initialised anew.
    is_remade: bool,
}

/// The command again; where it is refused, with what the refusal says done: a key adopted that an attempt left, or a token made ready that has
/// no PIN yet.
fn again(node: &Path, at: usize, arguments: &[&str], remake: fn(&Path)) -> Again {
    let mut adopted: Vec<String> = Vec::new();
    let mut is_remade = false;
    loop {
        let adopt: Vec<&str> = adopted.iter().flat_map(|fingerprint| ["--adopt", fingerprint]).collect();
        let ran = bixi(&[arguments, &adopt].concat(), node);
        if ran.status.success() {
            return Again { said: json(&ran), adopted: adopted.len(), is_remade };
        }
        let words = refusal(&ran);
        match offered(&words) {
            Some(fingerprint) => {
                assert!(!adopted.iter().any(|one| one == fingerprint), "{at}: {words}");
                adopted.push(fingerprint.to_owned());
            }
            None => {
                assert!(words.contains("initialise it again") && !is_remade, "{at}: {words}");
                remake(node);
                is_remade = true;
            }
        }
    }
}

/// The shipped token's directory removed, as the refusal says.
fn remove_token(node: &Path) {
    fs::remove_dir_all(node.join("token")).unwrap();
    fs::create_dir(node.join("token")).unwrap();
}

/// The token initialised again, as the refusal says, too.
fn initialise_token(node: &Path) {
    let init = ["hsm", "init", "--json", "--token-config", "token.conf", "--label", "bixi", "--destroy", "bixi"];
    json(&bixi(&[&init[..], &["--pin", "file:secrets/user.pin", "--so-pin", "file:secrets/so.pin"]].concat(), node));
}

fn never(_: &Path) {
    panic!("the token was ready");
}

/// The vault opens with the node's key, and the trail, if one was begun, holds.
fn verify(node: &Path, at: usize) {
    if !node.join("data/audit").is_dir() {
        return;
    }
    let verified = bixi(&["hsm", "verify-audit", "--json", "--config", "bixi.toml"], node);
    assert!(verified.status.success(), "{at}: {}", said(&verified));
}

#[test]
fn the_steps_of_a_new_node_are_taken_again() {
    let ground = Ground::new();
    for made in ["conf/keys.json", "conf/node.crt"] {
        fs::remove_file(ground.template.join(made)).unwrap();
    }
    for made in ["data", "token"] {
        fs::remove_dir_all(ground.template.join(made)).unwrap();
        fs::create_dir(ground.template.join(made)).unwrap();
    }
    let keys = ["chain", "keys", "--dir", "."];
    let (adopted, remade) = (Cell::new(0), Cell::new(0));
    ground.stop_everywhere(&keys, |node, at| {
        // Written at the very end: then there is nothing left to do.
        if !node.join("conf/keys.json").exists() {
            let done = again(node, at, &keys, remove_token);
            adopted.set(adopted.get() + done.adopted);
            remade.set(remade.get() + usize::from(done.is_remade));
        }
        let sealed = bixi(&["chain", "seal", "--dir", "."], node);
        assert!(sealed.status.success(), "{at}: {}", said(&sealed));
        verify(node, at);
    });
    assert!(adopted.get() > 0 && remade.get() > 0, "{adopted:?} adopted, {remade:?} made anew");
    let made = bixi(&keys, &ground.template);
    assert!(made.status.success(), "{}", said(&made));
    let seal = ["chain", "seal", "--dir", "."];
    ground.stop_everywhere(&seal, |node, at| {
        let sealed = bixi(&seal, node);
        if !sealed.status.success() {
            let words = said(&sealed);
            assert!(words.contains("sealed before") && words.contains("nothing is left to do"), "{at}: {words}");
        }
        verify(node, at);
        let shown = bixi(&["hsm", "guard", "show", "--config", "bixi.toml"], node);
        assert!(shown.status.success(), "{at}: {}", said(&shown));
    });
}

#[test]
fn an_escrow_is_made_or_was_made_and_says_so() {
    let ground = Ground::new();
    let create = |out: &'static str| {
        let words =
            ["hsm", "escrow", "create", "--json", "--config", "bixi.toml", "--officers", "2", "--threshold", "2"];
        [&words[..], &["--out", out]].concat()
    };
    ground.stop_everywhere(&create("pages"), |node, at| {
        let ran = bixi(&create("again"), node);
        if !ran.status.success() {
            let words = refusal(&ran);
            assert!(words.contains("choose another label, or remove that slot first"), "{at}: {words}");
            // The slot was written, so every page was given out before, and is good.
            for index in 1..=2 {
                let page = format!("pages/share-{index}.txt");
                json(&bixi(&["hsm", "escrow", "check", "--json", "--config", "bixi.toml", "--share", &page], node));
            }
        }
        verify(node, at);
    });
}

#[test]
fn a_recovery_is_gone_on_with() {
    let ground = Ground::new();
    let words = ["hsm", "escrow", "create", "--json", "--config", "bixi.toml", "--officers", "2", "--threshold", "2"];
    ground.prepare(&[&words[..], &["--out", "pages"]].concat());
    let token = ground.template.join("token");
    fs::remove_dir_all(&token).unwrap();
    fs::create_dir(&token).unwrap();
    let recover =
        ["hsm", "recover", "--json", "--config", "bixi.toml", "--share=pages/share-1.txt", "--share=pages/share-2.txt"];
    let (adopted, remade) = (Cell::new(0), Cell::new(0));
    ground.stop_everywhere(&recover, |node, at| {
        if !node.join("data/recovery").exists() && node.join("token/slot-0/token").exists() {
            // The note of it is the last thing to go.
            assert!(refusal(&bixi(&recover, node)).contains("nothing is lost"), "{at}");
            return verify(node, at);
        }
        let done = again(node, at, &recover, initialise_token);
        adopted.set(adopted.get() + done.adopted);
        remade.set(remade.get() + usize::from(done.is_remade));
        assert_ne!(done.said["lost"], done.said["node"], "{at}");
        assert!(!node.join("data/recovery").exists(), "{at}");
        verify(node, at);
    });
    assert!(adopted.get() > 0 && remade.get() > 0, "{adopted:?} adopted, {remade:?} made anew");
}

#[test]
fn rotations_are_begun_and_finished_again() {
    let ground = Ground::new();
    let rotate = |words: &[&'static str]| [&["hsm", "rotate"], words, &["--json", "--config", "bixi.toml"]].concat();
    let begin = rotate(&["kek"]);
    let finish = rotate(&["kek", "--finish"]);
    ground.stop_everywhere(&begin, |node, at| {
        verify(node, at);
        let made = again(node, at, &begin, never).said;
        // Whatever the killed attempt made ends with the last step.
        settings::set(&node.join("bixi.toml"), "hsm", "kek", &made["label"].to_string());
        json(&bixi(&finish, node));
        expect_only(node, &made["label"], at);
    });
    ground.prepare(&begin);
    ground.set("kek", "\"kek-2\"");
    ground.stop_everywhere(&finish, |node, at| {
        verify(node, at);
        again(node, at, &finish, never);
        expect_only(node, &"kek-2".into(), at);
    });
    let consensus = rotate(&["consensus"]);
    ground.stop_everywhere(&consensus, |node, at| {
        verify(node, at);
        again(node, at, &consensus, never);
    });
    ground.prepare(&consensus);
    ground.set("consensus_key", "\"consensus-2\"");
    let finish = rotate(&["consensus", "--finish"]);
    ground.stop_everywhere(&finish, |node, at| {
        let done = again(node, at, &finish, never).said;
        assert_eq!(done["former"].as_array().unwrap().len(), 1, "{at}: {done}");
        verify(node, at);
    });
}

/// The vault opens with the key of that label and with no other.
fn expect_only(node: &Path, label: &Value, at: usize) {
    let slots = json(&bixi(&["hsm", "slots", "list", "--json", "--config", "bixi.toml"], node));
    let keys: Vec<&str> = slots["slots"].as_array().unwrap().iter().filter_map(|slot| slot["kek"].as_str()).collect();
    let named = format!("object={};", label.as_str().unwrap());
    assert!(keys.len() == 1 && keys[0].contains(&named), "{at}: {label}, {slots}");
}

/// The files of a node by the data keys' epochs that their headers name.
fn epochs(directory: &Path) -> BTreeMap<u32, Vec<PathBuf>> {
    let mut epochs: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for (epoch, mut files) in self::epochs(&path) {
                epochs.entry(epoch).or_default().append(&mut files);
            }
        } else if let Some(header) = fs::read(&path).unwrap().get(..20).filter(|head| head.starts_with(b"BIXISEAL")) {
            epochs.entry(u32::from_le_bytes(header[16..].try_into().unwrap())).or_default().push(path);
        }
    }
    epochs
}

fn expect_epoch(node: &Path, epoch: u32) {
    let mut epochs = epochs(&node.join("data"));
    assert!(epochs.remove(&epoch).is_some_and(|files| files.len() > 5) && epochs.is_empty(), "{epoch}: {epochs:?}");
}

#[test]
fn an_exchange_of_the_data_keys_is_gone_on_with() {
    let ground = Ground::new();
    let config = ground.template.join("bixi.toml");
    let running = RunningNode::start(&config);
    let mut wallet = Wallet::new(5);
    for name in ["first", "second", "third", "fourth"] {
        let transaction = wallet.user_add(name, 1, running.height() + 500);
        running.connect().unwrap().submit(&transaction.encode()).expect("final");
    }
    let height = running.height();
    assert!(running.stop().status.success());
    expect_epoch(&ground.template, 1);
    let rotate = ["db", "rotate-key", "--json", "--config", "bixi.toml"];
    let go_on = [&rotate[..], &["--drop", "--go-on"]].concat();
    let begun = Cell::new(0);
    // With another cipher, which is in the same write of the vault as the epoch.
    ground.stop_at_every(7, &[&rotate[..], &["--drop", "--cipher", "aes-256-gcm"]].concat(), |node, at| {
        let done = json(&bixi(&go_on, node));
        let epoch = done["epoch"].as_u64().unwrap();
        let none = serde_json::json!([]);
        assert!(epoch <= 2 && done["left"] == none && done["kept"] == none, "{at}: {done}");
        expect_epoch(node, epoch as u32);
        let cipher = if epoch == 2 { "aes-256-gcm" } else { "sm4-gcm" };
        assert_eq!(done["cipher"], cipher, "{at}: {done}");
        let report = json(&bixi(&["db", "verify", "--files-only", "--json", "--config", "bixi.toml"], node));
        let ciphers = report["ciphers"].as_array().unwrap();
        assert!(ciphers.len() == 1 && ciphers[0]["cipher"] == cipher, "{at}: {report}");
        begun.set(begun.get() + u32::from(epoch == 2));
        verify(node, at);
        let running = RunningNode::start(&node.join("bixi.toml"));
        assert_eq!(running.height(), height, "{at}");
        assert!(running.stop().status.success(), "{at}");
    });
    assert!(begun.get() > 3, "{begun:?} of the kills came behind the write of the vault");
    // What officers moved elsewhere is read with the older epoch, until they say that nothing is left to read.
    let done = ground.prepare(&rotate);
    let told = |done: &Value| ["epoch", "dropped", "kept", "left"].map(|name| done[name].to_string()).join(" ");
    assert_eq!(told(&done), "2 [] [1] []");
    assert!(done["bytes"].as_u64().unwrap() > 0, "{done}");
    expect_epoch(&ground.template, 2);
    let audit = ground.template.join("data/audit/audit-000001.log");
    let sealed = fs::read(&audit).unwrap();
    let mut spoilt = sealed.clone();
    spoilt[0] ^= 1;
    fs::write(&audit, spoilt).unwrap();
    let refused = bixi(&go_on, &ground.template);
    assert!(!refused.status.success(), "{}", said(&refused));
    fs::write(&audit, sealed).unwrap();
    fs::write(ground.template.join("data/recovery"), b"").unwrap();
    let refused = bixi(&rotate, &ground.template);
    assert!(said(&refused).contains("nothing is sealed anew") && said(&refused).contains("a recovery is under way"));
    fs::remove_file(ground.template.join("data/recovery")).unwrap();
    assert_eq!(told(&ground.prepare(&go_on)), "2 [1] [] []");
    let running = RunningNode::start(&config);
    assert_eq!(running.height(), height);
    let transaction = wallet.user_add("fifth", 1, height + 500);
    running.connect().unwrap().submit(&transaction.encode()).expect("final");
}
