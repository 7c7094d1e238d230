//! `bixi version`.

use bixi_accel::cpu;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::console;
use crate::failure::Failure;

/// Print the version and the processor kernels in use.
///
/// Exit status: 0 printed; 1 standard output could not be written.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &VersionArgs) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let kernels = cpu::selected();
    if args.json {
        let kernels: Map<String, Value> =
            kernels.iter().map(|selected| (selected.operation.to_owned(), selected.kernel.into())).collect();
        let shown = json!({"version": version, "arch": std::env::consts::ARCH, "kernels": kernels});
        return Ok(console::result(&shown.to_string())?);
    }
    let words: Vec<String> =
        kernels.iter().map(|selected| format!("{} {}", selected.operation, selected.kernel)).collect();
    let line = format!("bixi {version} ({}; {})", std::env::consts::ARCH, words.join(", "));
    Ok(console::result(&line)?)
}
