//! Officers who bring a node back, and the ceremonies they hold, by the program they use.
#![allow(missing_docs)]

mod ceremony;
#[path = "../support/opened.rs"]
mod opened;
mod plaintext;
mod recovery;
mod sealing;
mod stops;
mod typed;

use std::path::Path;
use std::process::{Command, Output};

use bixi_tests::binary;
use serde_json::Value;

fn bixi(arguments: &[&str], directory: &Path) -> Output {
    Command::new(binary("bixi")).args(arguments).current_dir(directory).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command that ended well printed.
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}
