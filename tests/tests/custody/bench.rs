//! One node's files, and the officer's program on them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bixi_tests::binary;
use bixi_tests::node::make_chain;
use serde_json::Value;

pub(crate) struct Bench {
    pub(crate) config: PathBuf,
    pub(crate) place: tempfile::TempDir,
}

impl Bench {
    /// A chain of one that has never run.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let config = make_chain(place.path());
        Self { config, place }
    }

    /// A path outside the node's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// `bixi hsm …` on the node's files.
    pub(crate) fn hsm(&self, arguments: &[&str]) -> Output {
        hsm(arguments, &self.config)
    }

    /// What it printed as JSON; it must end well.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        json(&self.hsm(&[arguments, &["--json"]].concat()))
    }

    /// The last words of a command that ends with that status.
    #[track_caller]
    pub(crate) fn refused(&self, status: i32, arguments: &[&str]) -> String {
        refused(status, &self.hsm(arguments))
    }
}

pub(crate) fn hsm(arguments: &[&str], config: &Path) -> Output {
    Command::new(binary("bixi")).arg("hsm").args(arguments).arg("--config").arg(config).output().unwrap()
}

#[track_caller]
pub(crate) fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}: {}", output.status, said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
pub(crate) fn refused(status: i32, output: &Output) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    said.lines().last().unwrap_or_default().to_owned()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
