//! `bixi hsm rotate`: a new key in the place of an old one.

use std::path::PathBuf;

use bixi_runtime::Settings;
use bixi_runtime::lifecycle::rotation::{self, Recorded, Rotated};
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::{console, run};

/// Put a new key in the place of one that the node uses.
///
/// Makes the key in the device and prints what is left to do, with the line for the node file: that file is never written. The node and
/// its broker are stopped. A crash leaves a node that starts, and at most a key that nothing uses.
///
/// Exit status: 0 done; 1 not done, and why; 77 the key device refused the PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Subcommand)]
pub(crate) enum RotateCommand {
    Kek(KekArgs),
    Tls(TlsArgs),
    Consensus(ConsensusArgs),
}

/// The key encryption key: first a new key that opens the vault, too; with --finish, the vault sealed for it alone.
///
/// Old copies of the vault open with the old key as before: destroy it in its device once no such copy is needed.
#[derive(Debug, Args)]
pub(crate) struct KekArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The node file names the new key: end all other slots of the vault.
    #[arg(long)]
    finish: bool,
    /// With --finish, end slots of standby devices and escrow as well, whose holders add them again, and of newer keys that the node file does
    /// not name.
    #[arg(long, requires = "finish")]
    drop_slots: bool,
}

/// The TLS key: a new key and a request for its certificate.
#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Where to write the request (PKCS#10, PEM); a new file.
    #[arg(long, value_name = "FILE", required_unless_present = "finish")]
    request: Option<PathBuf>,
    /// The node file names the new key: have conf/keys.json name it, too.
    #[arg(long, conflicts_with = "request")]
    finish: bool,
}

/// The consensus key: a new key and the calls that put it in the old one's place on the chain.
#[derive(Debug, Args)]
pub(crate) struct ConsensusArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The node file names the new key: have conf/keys.json name it, too, and keep the old one there as a former one.
    #[arg(long)]
    finish: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Print one JSON object.
    ///
    /// {"label", "uri", "public_key", "fingerprint", "node_file", "calls": [{"to", "method", "data"}], "todo"}; with --finish {"kek", "ended":
    /// [{"kind", "label", "kek"}]} or {"node", "new", "former": [{"role", "public_key"}]}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &RotateCommand) -> Result<(), Failure> {
    match command {
        RotateCommand::Kek(args) if args.finish => finish(args),
        RotateCommand::Kek(args) => rotate(&args.node, rotation::begin_kek),
        RotateCommand::Tls(TlsArgs { node, request: Some(request), .. }) => {
            rotate(node, |settings| rotation::tls(settings, request))
        }
        RotateCommand::Consensus(args) if !args.finish => rotate(&args.node, rotation::consensus),
        RotateCommand::Tls(TlsArgs { node, .. }) | RotateCommand::Consensus(ConsensusArgs { node, .. }) => record(node),
    }
}

fn record(node: &NodeArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&node.config)?;
    let Recorded { is_new, node: id, former } =
        rotation::finish(&settings).map_err(|error| run::refusal("the record of the keys stays", &error))?;
    if !is_new {
        console::say(
            "conf/keys.json names the keys of the node file already: after a rotation, set the new label in [hsm] of the node file first",
        );
    }
    let former = former.into_iter();
    Ok(console::result(&if node.json {
        let former = former.map(|(role, key)| serde_json::json!({"role": role, "public_key": key}));
        serde_json::json!({"node": id, "new": is_new, "former": former.collect::<Vec<_>>()}).to_string()
    } else {
        let rows =
            [["node".to_owned(), id]].into_iter().chain(former.map(|(role, key)| [format!("former {role}"), key]));
        console::table(&rows.collect::<Vec<_>>())
    })?)
}

fn rotate(
    node: &NodeArgs,
    make: impl FnOnce(&Settings) -> Result<Rotated, bixi_runtime::LaunchError>,
) -> Result<(), Failure> {
    let settings = run::enter_with_device(&node.config)?;
    let made = make(&settings).map_err(|error| run::refusal("no key was put in place", &error))?;
    let text = || console::table(&made.rows().into_iter().map(|(name, text)| [name, text]).collect::<Vec<_>>());
    Ok(console::result(&if node.json { made.to_json().to_string() } else { text() })?)
}

fn finish(args: &KekArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.node.config)?;
    let done = rotation::finish_kek(&settings, args.drop_slots)
        .map_err(|error| run::refusal("the vault was not sealed anew", &error))?;
    let text =
        || console::table(&done.rows().into_iter().map(|(name, text)| [name.to_owned(), text]).collect::<Vec<_>>());
    Ok(console::result(&if args.node.json { done.to_json().to_string() } else { text() })?)
}
