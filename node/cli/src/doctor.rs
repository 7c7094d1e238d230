//! `bixi doctor`: the report, as a table or as JSON.

use std::path::PathBuf;

use bixi_runtime::{Settings, accelerator, doctor, process};
use clap::Args;

use crate::failure::{Failure, Status};
use crate::{console, token};

/// Check a node's configuration, files, machine and key device.
///
/// Opens the key device with its PIN, so that a wrong PIN counts as one, or asks the broker, where hsm.broker is set; --offline leaves
/// both alone. A running node is not disturbed.
///
/// Exit status: 0 nothing is bad; 1 something is.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Leave the key device and its PIN alone, and the broker.
    #[arg(long)]
    offline: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    if !args.offline
        && let Ok(settings) = Settings::load(&args.config)
        && settings.broker().is_none()
    {
        let token_config = settings.path(&settings.config.hsm.token_config);
        if token_config.is_file() {
            token::bind(&token_config)?;
        }
        process::harden()?;
    }
    let report = doctor::examine(&args.config, args.offline);
    console::result(&if args.json { report.to_json().to_string() } else { text(&report) })?;
    if report.is_well() { Ok(()) } else { Err(Failure::new(Status::Fault, "something is bad; see above")) }
}

fn text(report: &doctor::Report) -> String {
    let checks: Vec<[String; 3]> = report
        .checks
        .iter()
        .map(|check| [check.verdict.word().to_owned(), check.name.to_owned(), check.detail.clone()])
        .collect();
    let mut parts = vec![console::table(&checks)];
    if !report.placement.is_empty() {
        let rows: Vec<[String; 3]> = report
            .placement
            .iter()
            .map(|row| {
                let node = row.numa_node.map_or_else(|| "-".to_owned(), |node| node.to_string());
                [format!("  {}", row.thread), format!("node {node}"), format!("cores {}", joined(&row.cores))]
            })
            .collect();
        parts.push(format!("placement ({})\n{}", report.placement_mode, console::table(&rows)));
    }
    if !report.keys.is_empty() {
        let rows: Vec<[String; 2]> = report
            .keys
            .iter()
            .map(|key| {
                let extractable = if key.extractable { "EXTRACTABLE" } else { "not extractable" };
                [format!("  {}", key.role), format!("{extractable}; {}; {}", key.custody, key.uri)]
            })
            .collect();
        parts.push(format!("keys\n{}", console::table(&rows)));
    }
    if let Some(bulk) = &report.accelerator {
        parts.push(format!("{}\n{}", bulk.title(), console::table(&accelerator::cells(bulk))));
    }
    parts.join("\n\n")
}

fn joined(cores: &[usize]) -> String {
    cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
