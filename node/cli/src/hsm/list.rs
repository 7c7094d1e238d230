//! `bixi hsm list`: every key of a node's device, and what the node uses it for.

use std::path::PathBuf;

use bixi_runtime::lifecycle::inventory::{self, Inventory, Row};
use clap::Args;

use crate::failure::{Failure, Status};
use crate::{console, run};

/// List every key of a node's device, and what the node file uses it for.
///
/// Opens the device with its PIN, so that a wrong PIN counts as one; while the node's broker runs it is asked instead, and tells of the
/// keys that the node file names only. The fingerprint of a key is the beginning of SM3 over its public half.
///
/// Exit status: 0 every key that the node file names is there; 1 one is not, or the device does not answer; 77 the key device refused the
/// PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Print one JSON object.
    ///
    /// {"device", "through", "keys": [{"role", "label", "kind", "uri", "local", "sensitive", "extractable", "custody", "fingerprint"}],
    /// "missing": [{"role", "label"}], "looked_for_by"}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ListArgs) -> Result<(), Failure> {
    let settings = run::enter_to_ask(&args.config)?;
    let found = inventory::take(&settings).map_err(|error| run::refusal("no keys were listed", &error))?;
    console::result(&if args.json { found.to_json().to_string() } else { text(&found) })?;
    match found.missing.first() {
        None => Ok(()),
        Some((role, label)) => {
            let by = found
                .looked_for_by
                .as_ref()
                .map_or_else(String::new, |words| format!("; it was looked for by {words}"));
            let words = format!("the device holds no key labelled {label:?}, which the node file names for {role}{by}");
            Err(Failure::new(Status::Fault, words))
        }
    }
}

fn text(found: &Inventory) -> String {
    let titles = ["role", "label", "kind", "fingerprint", "origin", "custody", "uri"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(titles).chain(found.keys.iter().map(row)).collect();
    let through = if found.through_broker { "; asked through the broker: keys of the node file only" } else { "" };
    format!("{}{through}\n\n{}", found.device_line(), console::table(&rows))
}

fn row(key: &Row) -> [String; 7] {
    let custody = match (key.extractable, key.sensitive) {
        (false, true) => "stays inside",
        (false, false) => "READABLE",
        (true, _) => "EXTRACTABLE",
    };
    [
        key.role.unwrap_or("-").to_owned(),
        key.label.clone(),
        key.kind.to_owned(),
        key.fingerprint.clone().unwrap_or_else(|| "-".to_owned()),
        if key.local { "made inside" } else { "IMPORTED" }.to_owned(),
        custody.to_owned(),
        key.uri.clone(),
    ]
}
