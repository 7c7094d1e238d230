//! `bixi version`.

use bixi_accel::cpu;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::console;
use crate::failure::Failure;

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
        console::result(&json!({"version": version, "arch": std::env::consts::ARCH, "kernels": kernels}).to_string());
        return Ok(());
    }
    let words: Vec<String> =
        kernels.iter().map(|selected| format!("{} {}", selected.operation, selected.kernel)).collect();
    console::result(&format!("bixi {version} ({}; {})", std::env::consts::ARCH, words.join(", ")));
    Ok(())
}
