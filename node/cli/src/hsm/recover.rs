//! `bixi hsm recover`: a node whose key device is lost.

use std::path::PathBuf;

use bixi_runtime::escrow::{self, Record, Recovered};
use clap::Args;

use super::pages;
use crate::failure::Failure;
use crate::{console, run};

/// Bring a node back whose key device is lost: its standby or officers' shares open its vault, which is then sealed under the new device
/// with new keys.
///
/// Have the node file name the new device first. A standby that opens the vault (`bixi hsm slots add-standby`) asks no officer. Else a token
/// that was never initialised is, with the PINs of the node's directory; any other device is made ready before. Without --share the
/// officers type their pages. Every other slot of the vault ends: make a new escrow afterwards.
/// The consensus key is a new one, too: the transactions that have it validate are printed, for whoever governs the chain; the node
/// follows until they are committed. It needs a certificate for its new TLS key: `bixi chain certify`.
///
/// Keys that are in the new device already are refused, unless --adopt names them: pairs of an SDF device whose library makes none are made
/// with the vendor's tool and named in keys.toml.
///
/// May be repeated: an attempt that ended somewhere is gone on with.
///
/// Exit status: 0 done; 1 it could not be done; 77 the key device refused the PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// A page in a file; once for each.
    #[arg(long, value_name = "FILE")]
    share: Vec<PathBuf>,
    /// Take a key that is in the new device already, though no note says that this recovery made it; once for each. A signing pair that an
    /// officer made for this node and nothing has signed with; a key encryption key that an attempt before was about to make.
    #[arg(long, value_name = "FINGERPRINT")]
    adopt: Vec<String>,
    /// Print what was done as one JSON object.
    ///
    /// {"lost", "node", "officers", "standby", "old_certificate", "transactions": [{"purpose", "to", "call", "data"}]}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &RecoverArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.config)?;
    let mut announce = |step: &str| {
        console::say(&format!("recover: {step}"));
        Ok(())
    };
    let mut shares = |records: &[Record]| pages::collect(&args.share, records);
    let recovered = escrow::recover(&settings, &args.adopt, &mut shares, &mut announce)
        .map_err(|error| run::refusal("not recovered", &error))?;
    console::result(&if args.json { recovered.to_json().to_string() } else { text(&recovered) })?;
    console::say(
        "recover: make a new escrow (`bixi hsm escrow create`), have every page checked, and only then destroy the old pages. If the \
         old certificate was moved aside: `bixi chain revoke` it, and `bixi chain certify` the new key",
    );
    Ok(())
}

fn text(recovered: &Recovered) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![
        row("opened by", recovered.opener.to_string()),
        row("new consensus key", recovered.node.to_hex()),
        row("lost consensus key", recovered.lost.map_or_else(|| "not on record".to_owned(), |id| id.to_hex())),
    ];
    if let Some(path) = &recovered.old_certificate {
        rows.push(row("old certificate", path.display().to_string()));
    }
    let mut parts = vec![console::table(&rows), "transactions to 0x1003, for whoever governs the chain:".to_owned()];
    parts.extend(
        recovered.transactions.iter().map(|one| format!("  {}\n  {}\n  0x{}", one.purpose, one.call, one.data)),
    );
    parts.join("\n")
}
