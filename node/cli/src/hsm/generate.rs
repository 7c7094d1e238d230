//! `bixi hsm generate`: a key made in a node's device.

use std::path::PathBuf;

use bixi_runtime::lifecycle::generation::{self, KINDS};
use clap::Args;

use super::attest;
use crate::console;
use crate::failure::Failure;
use crate::run;

/// Make a key in a node's device, which never gives it out, and print what the device states about it.
///
/// A label that any key has is refused. The node file goes on naming the keys that it names; `bixi hsm rotate` makes keys to replace them.
/// The node and its broker are stopped: the audit trail tells of the key before it is made.
///
/// Exit status: 0 made; 1 it could not be made; 77 the key device refused the PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Name of the key, which no other key of the device has.
    #[arg(long, value_name = "NAME")]
    label: String,
    /// What it is for: signatures, or sealing the vault.
    #[arg(long, value_parser = KINDS)]
    kind: String,
    /// Print the device's statement as the JSON object that `bixi hsm attest --out` writes.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.config)?;
    let made = generation::generate(&settings, &args.label, &args.kind)
        .map_err(|error| run::refusal("no key was made", &error))?;
    Ok(console::result(&if args.json { made.to_json().to_string() } else { attest::text(&made, &made.judge(None)) })?)
}
