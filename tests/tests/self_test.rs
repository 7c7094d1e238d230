//! A key device is tested before it is used: one whose random bit generator is broken starts no node and no broker, by name and with an
//! exit status of its own, and starts both once it is sound again.
#![allow(missing_docs)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use bixi_tests::broker::{self, RunningBroker};
use bixi_tests::node::{Ended, RunningNode, make_chain};
use bixi_tests::process::service;
use bixi_tests::settings::set;
use bixi_tests::{binary, fixture};
use serde_json::Value;

/// The status of a device that failed its self-test, in the unit's RestartPreventExitStatus.
const UNSOUND_DEVICE: i32 = 79;

/// A chain of one on a device that loses the highest bit of every random byte while a file exists.
struct Weak {
    place: tempfile::TempDir,
    config: PathBuf,
}

impl Weak {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let config = make_chain(place.path());
        let module = fixture::library("device.c", place.path());
        set(&config, "hsm", "module", &format!("{:?}", module.display().to_string()));
        let weak = Self { place, config };
        weak.set_weak(true);
        weak
    }

    fn switch(&self) -> PathBuf {
        self.place.path().join("weak")
    }

    fn set_weak(&self, is_weak: bool) {
        if is_weak {
            fs::write(self.switch(), "").unwrap();
        } else {
            fs::remove_file(self.switch()).unwrap();
        }
    }

    fn surround(&self, command: &mut Command) {
        command.env("BIXI_DEVICE_MODULE", binary("libbixi_token.so")).env("BIXI_DEVICE_WEAK", self.switch());
    }

    fn start(&self) -> Result<RunningNode, Ended> {
        RunningNode::try_start_with(&self.config, |command| self.surround(command))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = service();
        self.surround(command.args(arguments).arg("--config").arg(&self.config));
        command.output().expect("bixi starts")
    }
}

#[track_caller]
fn assert_refused(ended: &Ended) {
    assert_eq!(ended.status.code(), Some(UNSOUND_DEVICE), "{}", ended.said);
    assert!(ended.said.contains("random bit generator failed its power-on test"), "{}", ended.said);
    assert!(ended.said.contains("poker (m=2) failed by"), "{}", ended.said);
}

fn verdict(report: &Value, name: &str) -> String {
    let checks = report["checks"].as_array().expect("checks");
    let check =
        checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no check {name}: {report}"));
    check["verdict"].as_str().expect("a word").to_owned()
}

#[test]
fn a_broken_generator_starts_no_node_until_it_is_sound_or_nobody_asks() {
    let weak = Weak::new();
    assert_refused(&weak.start().err().expect("a broken generator starts nothing"));
    set(&weak.config, "hsm", "random_test", "\"off\"");
    let running = weak.start().unwrap_or_else(|ended| panic!("{}", ended.said));
    assert!(running.said().contains("hsm.random_test is \"off\""), "{}", running.said());
    drop(running);
    set(&weak.config, "hsm", "random_test", "\"power-on\"");
    weak.set_weak(false);
    let running = weak.start().unwrap_or_else(|ended| panic!("{}", ended.said));
    assert!(running.said().contains("random bit generator"), "{}", running.said());
}

#[test]
fn a_broken_generator_ends_the_broker_and_no_other_worker_is_started() {
    let weak = Weak::new();
    broker::configure(&weak.config);
    let mut command = service();
    weak.surround(&mut command);
    let ended = RunningBroker::try_start_by(command, &weak.config).err().expect("a broken generator answers nobody");
    assert_refused(&ended);
    assert_eq!(ended.said.matches("failed its power-on test").count(), 1, "{}", ended.said);
}

#[test]
fn the_doctors_name_a_broken_generator_and_pass_a_sound_one() {
    let weak = Weak::new();
    let asked = |arguments: &[&str]| {
        let ran = weak.run(arguments);
        let report: Value = serde_json::from_slice(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)));
        (ran.status.code(), report)
    };
    let (status, report) = asked(&["doctor", "--json"]);
    assert_eq!((status, verdict(&report, "random bit generator").as_str()), (Some(1), "BAD"), "{report}");
    let (status, report) = asked(&["hsm", "doctor", "--json", "--samples", "10"]);
    assert_eq!((status, verdict(&report, "random bit generator").as_str()), (Some(1), "BAD"), "{report}");
    assert_eq!(verdict(&report, "known answers"), "ok", "{report}");
    let poker = report["random"]["items"].as_array().unwrap().iter().find(|item| item["test"] == "poker").unwrap();
    assert_eq!((poker["passed"].as_u64(), poker["verdict"].as_str()), (Some(0), Some("BAD")), "{poker}");

    weak.set_weak(false);
    let (status, report) = asked(&["hsm", "doctor", "--json", "--samples", "10"]);
    assert_eq!(status, Some(0), "{report}");
    assert_eq!(report["random"]["items"].as_array().unwrap().len(), 27);
    for check in ["device", "mechanisms", "health", "known answers", "keys", "processor kernels"] {
        assert_ne!(verdict(&report, check), "BAD", "{check}: {report}");
    }
    let table = weak.run(&["hsm", "doctor", "--progress", "--samples", "10"]);
    let (shown, told) = (String::from_utf8_lossy(&table.stdout), String::from_utf8_lossy(&table.stderr));
    assert!(shown.contains("linear complexity") && shown.contains("m=1000"), "{shown}");
    assert!(told.contains("10 of 10 samples"), "{told}");
}
