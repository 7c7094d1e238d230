//! A wrong PIN reaches the token once, whatever restarts the node.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bixi_tests::node::{Ended, RunningNode, make_chain};

/// `EX_NOPERM`, in the unit's RestartPreventExitStatus.
const WRONG_PIN: i32 = 77;

struct Node {
    config: PathBuf,
    right_pin: String,
}

impl Node {
    fn new(place: &Path) -> Self {
        let config = make_chain(place);
        let right_pin = fs::read_to_string(config.with_file_name("secrets/user.pin")).unwrap();
        Self { config, right_pin }
    }

    fn set_pin(&self, pin: &str) {
        let path = self.config.with_file_name("secrets/user.pin");
        fs::remove_file(&path).unwrap();
        fs::write(&path, pin).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    }

    /// The token's own count, as bytes.
    fn attempts(&self) -> Vec<u8> {
        fs::read(self.config.with_file_name("token/slot-0/attempts")).unwrap()
    }

    /// A start that the PIN ends; no secret is in its words.
    #[track_caller]
    fn refused(&self, pin: &str) -> Ended {
        let ended = RunningNode::try_start(&self.config).err().expect("a wrong PIN starts nothing");
        assert_eq!(ended.status.code(), Some(WRONG_PIN), "{}", ended.said);
        assert!(!ended.said.contains(pin) && !ended.said.contains(&self.right_pin), "{}", ended.said);
        ended
    }

    /// The same, and the token counted down to `left`.
    #[track_caller]
    fn spends(&self, pin: &str, left: u8) {
        let ended = self.refused(pin);
        let counted = format!("attempts left: {left}");
        assert_eq!(ended.said.matches("attempts left").count(), 1, "{}", ended.said);
        assert!(ended.said.contains(&counted), "{counted}: {}", ended.said);
    }
}

#[test]
fn a_wrong_pin_costs_one_attempt_however_often_the_node_is_started() {
    let place = tempfile::tempdir().unwrap();
    let node = Node::new(place.path());
    node.set_pin("00000000");
    node.spends("00000000", 4);
    let (counted, last) = (node.attempts(), node.right_pin.clone());
    for _ in 0..3 {
        let ended = node.refused("00000000");
        assert!(ended.last_words().contains("not tried"), "{}", ended.said);
        assert_eq!(node.attempts(), counted, "the token was asked again");
    }
    // Another PIN is another try.
    node.set_pin("11111111");
    node.spends("11111111", 3);
    // The right one gives all attempts back and is remembered nowhere.
    node.set_pin(&last);
    let running = RunningNode::start(&node.config);
    assert!(!running.said().contains(&last));
    drop(running);
    node.set_pin("22222222");
    node.spends("22222222", 4);
}

#[test]
fn a_locked_pin_is_told_and_the_right_one_does_not_open_it() {
    let place = tempfile::tempdir().unwrap();
    let node = Node::new(place.path());
    for (pin, left) in ["0000000a", "0000000b", "0000000c", "0000000d", "0000000e"].into_iter().zip((0..5).rev()) {
        node.set_pin(pin);
        node.spends(pin, left);
    }
    let counted = node.attempts();
    node.set_pin(&node.right_pin);
    let ended = RunningNode::try_start(&node.config).err().expect("a locked PIN starts nothing");
    assert_eq!(ended.status.code(), Some(WRONG_PIN), "{}", ended.said);
    assert!(ended.last_words().to_lowercase().contains("lock"), "{}", ended.last_words());
    assert_eq!(node.attempts(), counted);
}
