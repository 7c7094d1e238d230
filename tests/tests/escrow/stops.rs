//! Ceremonies and rotations whose process is killed before each of the calls that make something durable, and what the next attempt does.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bixi_tests::node::make_chain;
use bixi_tests::{binary, fixture, settings};
use serde_json::Value;

use crate::{bixi, json, said};

const SIGKILL: i32 = 9;
/// More calls than any command makes.
const CALLS_MAX: usize = 400;

/// A node's directory, copied for each attempt.
struct Ground {
    place: tempfile::TempDir,
    template: PathBuf,
    stop: PathBuf,
}

impl Ground {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let template = make_chain(place.path()).parent().unwrap().to_owned();
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

    /// Kills the command before its first call, its second, and so on to its end; `after` looks at each directory it leaves.
    fn stop_everywhere(&self, arguments: &[&str], after: impl Fn(&Path, usize)) {
        for at in 1..CALLS_MAX {
            let node = self.place.path().join(format!("node-{at}"));
            // With its empty directories and their modes.
            let copied = Command::new("cp").arg("-a").args([&self.template, &node]).status().unwrap();
            assert!(copied.success());
            let mut command = Command::new(binary("bixi"));
            command
                .args(arguments)
                .current_dir(&node)
                .env("LD_PRELOAD", &self.stop)
                .env("BIXI_STOP_AT", at.to_string());
            let ran = command.output().unwrap();
            if ran.status.signal() != Some(SIGKILL) {
                assert!(ran.status.success(), "{at}: {}", said(&ran));
                assert!(at > 3, "{arguments:?} makes nothing durable");
                return;
            }
            // Killed between a PIN and its verdict: how long the next attempt waits then is not the matter here.
            drop(fs::remove_file(node.join("data/pin-state")));
            after(&node, at);
            fs::remove_dir_all(&node).unwrap();
        }
        panic!("{arguments:?} does not end");
    }
}

/// The last words of a command that was refused.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    said(output).lines().last().unwrap_or_default().to_owned()
}

/// The fingerprint that a refusal offers to take.
fn offered(words: &str) -> Option<&str> {
    words.split_once("--adopt ").and_then(|(_, rest)| rest.get(..16))
}

/// The command again; where it is refused for a key that an attempt left, with that key adopted, as it says.
fn again(node: &Path, at: usize, arguments: &[&str]) -> Value {
    let mut adopted: Vec<String> = Vec::new();
    loop {
        let adopt: Vec<&str> = adopted.iter().flat_map(|fingerprint| ["--adopt", fingerprint]).collect();
        let ran = bixi(&[arguments, &adopt].concat(), node);
        if ran.status.success() {
            return json(&ran);
        }
        let words = refusal(&ran);
        let fingerprint = offered(&words).unwrap_or_else(|| panic!("{at}: {words}")).to_owned();
        assert!(!adopted.contains(&fingerprint), "{at}: {words}");
        adopted.push(fingerprint);
    }
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
fn rotations_are_begun_and_finished_again() {
    let ground = Ground::new();
    let rotate = |words: &[&'static str]| [&["hsm", "rotate"], words, &["--json", "--config", "bixi.toml"]].concat();
    let begin = rotate(&["kek"]);
    ground.stop_everywhere(&begin, |node, at| {
        verify(node, at);
        again(node, at, &begin);
    });
    ground.prepare(&begin);
    ground.set("kek", "\"kek-2\"");
    let finish = rotate(&["kek", "--finish"]);
    ground.stop_everywhere(&finish, |node, at| {
        verify(node, at);
        again(node, at, &finish);
        let slots = json(&bixi(&["hsm", "slots", "list", "--json", "--config", "bixi.toml"], node));
        assert_eq!(slots["slots"].as_array().unwrap().len(), 1, "{at}: {slots}");
    });
    let consensus = rotate(&["consensus"]);
    ground.stop_everywhere(&consensus, |node, at| {
        verify(node, at);
        again(node, at, &consensus);
    });
    ground.prepare(&consensus);
    ground.set("consensus_key", "\"consensus-2\"");
    let finish = rotate(&["consensus", "--finish"]);
    ground.stop_everywhere(&finish, |node, at| {
        let done = again(node, at, &finish);
        assert_eq!(done["former"].as_array().unwrap().len(), 1, "{at}: {done}");
        verify(node, at);
    });
}
