//! `bixi hsm escrow`: a key for the vault that officers share.

use std::path::PathBuf;

use bixi_runtime::Settings;
use bixi_runtime::escrow::{self, Record, Share, Wish};
use clap::{Args, Subcommand};
use serde_json::json;

use super::pages::{self, Outlet};
use crate::failure::{Failure, Status};
use crate::{console, run};

/// A key for the vault that officers share: any threshold of them bring a node back whose device is lost.
#[derive(Debug, Subcommand)]
pub(crate) enum EscrowCommand {
    Create(CreateArgs),
    Check(CheckArgs),
}

/// Make an escrow: split a new key among officers, give each his page, then let the key open the vault.
///
/// The key exists in locked memory while this runs, and nowhere afterwards. Do it on a machine without a network and with the node
/// stopped. Without --out the pages are shown one after another on the terminal, which is cleared between officers; with it they are files,
/// mode 0400, to be printed and destroyed. What to do with the pages of an attempt that failed, it says: they are worthless unless the vault was changed already.
///
/// Exit status: 0 made; 1 it could not be made; 77 the key device refused the PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// How many officers, 2 to 16; they go by their numbers. To have them go by their names, use --officer.
    #[arg(long, value_name = "NUMBER", conflicts_with = "officer", required_unless_present = "officer")]
    officers: Option<usize>,
    /// An officer's name; once for each.
    #[arg(long, value_name = "NAME")]
    officer: Vec<String>,
    /// How many of them are needed.
    #[arg(long, value_name = "NUMBER")]
    threshold: usize,
    /// Label of its slot in the vault.
    #[arg(long, value_name = "NAME", default_value = "officers")]
    label: String,
    /// Have each officer type a passphrase, under which his page is sealed.
    #[arg(long)]
    passphrases: bool,
    /// Write the pages to files in this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print what was made as one JSON object. No share is in it.
    ///
    /// {"escrow", "label", "threshold", "officers": [{"index", "name", "commitment"}]}
    #[arg(long)]
    json: bool,
}

/// Hold an officer's page against the vault's record: that it is the one given out, and of this node.
///
/// Shows nothing of the share, and needs no device. The page is typed, or read from a file.
///
/// Exit status: 0 it is; 1 it is not; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// The page, if it is a file.
    #[arg(long, value_name = "FILE")]
    share: Option<PathBuf>,
    /// Whose page it must be; another officer's is refused.
    #[arg(long, value_name = "NAME")]
    officer: Option<String>,
    /// Print the verdict as one JSON object.
    ///
    /// {"label", "escrow", "index", "officer", "officers", "threshold"}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &EscrowCommand) -> Result<(), Failure> {
    match command {
        EscrowCommand::Create(args) => create(args),
        EscrowCommand::Check(args) => check(args),
    }
}

/// More would only fill the memory before they are refused.
const OFFICERS_TOLD_MAX: usize = 1000;

fn create(args: &CreateArgs) -> Result<(), Failure> {
    let officers = match args.officers {
        Some(count) => (1..=count.min(OFFICERS_TOLD_MAX)).map(|number| format!("officer {number}")).collect(),
        None => args.officer.clone(),
    };
    let settings = run::enter_with_device(&args.config)?;
    // After that, which may begin this process anew: what one makes, the same one removes.
    let outlet = Outlet::open(args.out.as_deref(), officers.len())?;
    let wish = Wish { label: args.label.clone(), officers, threshold: args.threshold };
    let record = escrow::create(&settings, &wish, &mut |officer, share| outlet.give(officer, share, args.passphrases))
        .map_err(|error| run::refusal("no escrow was made", &error))?;
    console::result(&if args.json { to_json(&record, &wish.label).to_string() } else { text(&record, &wish.label) })
        .map_err(|error| {
            let made = format!("escrow {} was made and opens the vault by its slot {:?}", record.name(), wish.label);
            Failure::new(Status::Fault, format!("{made}; only this report of it failed: {error}"))
        })?;
    console::say("escrow: have every officer check his page with: bixi hsm escrow check");
    Ok(())
}

fn to_json(record: &Record, label: &str) -> serde_json::Value {
    let officers = record.holders.iter().zip(1..).map(
        |(holder, index)| json!({"index": index, "name": holder.name, "commitment": hex::encode(holder.commitment)}),
    );
    json!({
        "escrow": record.name(),
        "label": label,
        "threshold": record.threshold,
        "officers": officers.collect::<Vec<_>>(),
    })
}

fn text(record: &Record, label: &str) -> String {
    let mut rows = vec![
        ["escrow".to_owned(), record.name()],
        ["slot".to_owned(), label.to_owned()],
        ["needed".to_owned(), format!("{} of {} officers", record.threshold, record.holders.len())],
    ];
    rows.extend(record.holders.iter().zip(1..).map(|(holder, index)| [format!("share {index}"), holder.name.clone()]));
    console::table(&rows)
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.config).map_err(Failure::configuration)?;
    bixi_runtime::process::harden()?;
    let verdict = |share: Share| {
        let checked = escrow::check(&settings, &share)?;
        args.officer.iter().try_for_each(|officer| checked.expect_of(officer))?;
        Ok(checked)
    };
    let whose = args
        .officer
        .as_deref()
        .map_or_else(|| "The share to be checked".to_owned(), |officer| format!("The share of {officer}"));
    let checked = match &args.share {
        Some(file) => pages::read_page(file).and_then(pages::open_page).and_then(verdict),
        None => pages::typed(&whose, verdict),
    };
    let checked = checked.map_err(|error| Failure::new(Status::Fault, error))?;
    console::result(&if args.json {
        json!({
            "label": checked.label,
            "escrow": checked.escrow,
            "index": checked.index,
            "officer": checked.officer,
            "officers": checked.officers,
            "threshold": checked.threshold,
        })
        .to_string()
    } else {
        format!(
            "share {} of {} ({}) is the one that was given out; any {} recover (slot {:?}, escrow {})",
            checked.index, checked.officers, checked.officer, checked.threshold, checked.label, checked.escrow
        )
    })?;
    Ok(())
}
