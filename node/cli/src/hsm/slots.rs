//! `bixi hsm slots`: who can open a node's vault.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use bixi_runtime::Settings;
use bixi_runtime::escrow::{self, SlotInfo, standby};
use bixi_runtime::process::TOKEN_CONFIG_VARIABLE;
use clap::{Args, Subcommand};
use serde_json::json;

use super::terminal;
use crate::failure::{Failure, Status};
use crate::{console, run};

/// Who can open a node's vault: its own device, standby devices, officers together.
#[derive(Debug, Subcommand)]
pub(crate) enum SlotsCommand {
    List(ListArgs),
    AddStandby(AddStandbyArgs),
    Remove(RemoveArgs),
    #[command(hide = true)]
    Answer(AnswerArgs),
}

/// List the slots of the vault. Needs no device; the vault's file is not authenticated by that.
///
/// Exit status: 0 done; 1 the vault cannot be read; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Print one JSON object.
    ///
    /// {"slots": [{"label", "kind", "kek", "threshold", "officers"}]}
    #[arg(long)]
    json: bool,
}

/// Let a second device open the vault, too: a standby for the day when the first one is lost.
///
/// It is named by a node file of its own, in the same directory: a copy of this node's whose section hsm speaks of the standby. Its key
/// encryption key is there already, made by `bixi hsm generate --kind kek` with a copy whose data_dir is another, empty directory. Keep the
/// standby elsewhere. It opens the vault; signing keys are new ones there.
///
/// The fingerprint of that key is compared with the one that was written down when it was made: the one that --fingerprint names, or, on a
/// terminal, by the officer. A key that opens the vault already, such as the node's own, is refused.
///
/// Exit status: 0 done; 1 it could not be done; 77 the key device refused the PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct AddStandbyArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// The node file that names the standby.
    #[arg(long, value_name = "PATH")]
    device: PathBuf,
    /// Label of its slot.
    #[arg(long, value_name = "NAME", default_value = "standby")]
    label: String,
    /// Fingerprint of the standby's key encryption key, as its conf/keys.json and the minutes of its ceremony have it.
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Print one JSON object.
    ///
    /// {"label", "kek", "fingerprint"}
    #[arg(long)]
    json: bool,
}

/// What `add-standby` starts: answers for the standby over its pipes.
///
/// Exit status: as `add-standby`.
#[derive(Debug, Args)]
pub(crate) struct AnswerArgs {
    #[arg(long, value_name = "PATH")]
    config: PathBuf,
}

/// End a slot, so that its key no longer opens the vault's file. Old copies of the file still open with it, until the vault is sealed anew
/// under another key and that key destroyed.
///
/// Exit status: 0 done; 1 it could not be done; 77 the key device refused the PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// The slot.
    #[arg(value_name = "LABEL")]
    label: String,
}

pub(crate) fn run(command: &SlotsCommand) -> Result<(), Failure> {
    match command {
        SlotsCommand::List(args) => list(args),
        SlotsCommand::AddStandby(args) => add_standby(args),
        SlotsCommand::Answer(args) => {
            let settings = run::enter_with_device(&args.config)?;
            standby::answer(&settings, &mut std::io::stdin().lock(), &mut std::io::stdout().lock())
                .map_err(|error| run::refusal("no answer for the standby", &error))
        }
        SlotsCommand::Remove(args) => {
            let settings = run::enter_with_device(&args.config)?;
            escrow::remove_slot(&settings, &args.label).map_err(|error| run::refusal("the slot stays", &error))?;
            Ok(console::result(&format!("slot {:?} is ended", args.label))?)
        }
    }
}

fn add_standby(args: &AddStandbyArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.config)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["hsm", "slots", "answer", "--config"]).arg(&args.device).stdin(Stdio::piped()).stdout(Stdio::piped());
    // The standby's own token configuration takes the place of this process's.
    command.env_remove(TOKEN_CONFIG_VARIABLE);
    let mut child = command.spawn()?;
    let line = (child.stdout.take().expect("piped"), child.stdin.take().expect("piped"));
    let mut compare = |name: &str, found: &str| terminal::compare(name, found, args.fingerprint.as_deref());
    let added = standby::add(&settings, &args.label, (Box::new(line.0), Box::new(line.1)), &mut compare);
    let ended = child.wait()?;
    let added = match added {
        Err(_) if ended.code() == Some(Status::WrongPin as i32) => {
            return Err(Failure::new(Status::WrongPin, "the standby refused the PIN; its message is above"));
        }
        added => added.map_err(|error| run::refusal("no slot was added", &error))?,
    };
    Ok(console::result(&if args.json {
        json!({"label": args.label, "kek": added.kek, "fingerprint": added.fingerprint}).to_string()
    } else {
        format!("slot {:?} for {}", args.label, added.kek)
    })?)
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.config).map_err(Failure::configuration)?;
    let slots = escrow::slots(&settings)?;
    console::result(&if args.json { to_json(&slots).to_string() } else { text(&slots) })?;
    Ok(())
}

fn to_json(slots: &[SlotInfo]) -> serde_json::Value {
    let slots = slots.iter().map(|slot| {
        let officers = slot
            .escrow
            .as_ref()
            .map(|record| record.holders.iter().map(|holder| holder.name.clone()).collect::<Vec<_>>());
        json!({
            "label": slot.label,
            "kind": slot.kind.to_string(),
            "kek": slot.kek.to_string(),
            "threshold": slot.escrow.as_ref().map(|record| record.threshold),
            "officers": officers,
        })
    });
    json!({"slots": slots.collect::<Vec<_>>()})
}

fn text(slots: &[SlotInfo]) -> String {
    let mut rows = vec![["slot", "kind", "key"].map(str::to_owned)];
    rows.extend(slots.iter().map(|slot| {
        let key = match &slot.escrow {
            None => slot.kek.to_string(),
            Some(record) => {
                let names: Vec<&str> = record.holders.iter().map(|holder| holder.name.as_str()).collect();
                format!("any {} of: {}", record.threshold, names.join(", "))
            }
        };
        [slot.label.clone(), slot.kind.to_string(), key]
    }));
    console::table(&rows)
}
