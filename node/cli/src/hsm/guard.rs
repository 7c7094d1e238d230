//! `bixi hsm guard`: the sign-once guard of a stopped node, in officers' hands.

use std::path::{Path, PathBuf};

use bixi_runtime::lifecycle::guard::{self, Standing};
use bixi_types::NodeId;
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::{console, run};

/// Look after a node's sign-once guard.
///
/// Exit status: 0 done; 1 not done, and why; 77 the key device refused the PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    Show(ShowArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Override(OverrideArgs),
}

/// Show what the guard stands at, and whether it was retired. Through the broker, while it runs, its marks only.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Print one JSON object.
    ///
    /// {"chain", "node", "fingerprint", "marks": [{"lane", "height", "round", "step"}], "retired", "overrulings"}
    #[arg(long)]
    json: bool,
}

/// Retire the guard for good and write its marks to a file, for the host that the validator moves to.
///
/// From then on nothing is signed here, whatever becomes of the file; it can be made again. Both hosts reach the device that holds the
/// consensus key; a key that stays behind is replaced instead (`bixi hsm rotate consensus`).
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Where to write; a new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Say that this host is to sign no more.
    #[arg(long, required = true)]
    retire: bool,
}

/// Raise the guard to the marks of a retired one. Refused where this guard does not stand below each of them.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// What `export` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The source's TLS key, 128 hexadecimal digits, where it is not this node's own.
    #[arg(long, value_name = "KEY")]
    tls_key: Option<NodeId>,
}

/// Have the guard take other checkpoints than those it signed, as two officers approved.
///
/// The statement comes from `bixi db replay --propose`, the approvals from `bixi hsm officer sign`. The officers' keys stand in
/// hsm.officers. It is taken once, and the audit trail names both officers and both headers of each height. Afterwards:
/// `bixi db replay --accept`, then start the node.
#[derive(Debug, Args)]
pub(crate) struct OverrideArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// What the officers signed.
    #[arg(long, value_name = "FILE")]
    statement: PathBuf,
    /// An officer's approval; two of different officers are wanted.
    #[arg(long, value_name = "FILE", required = true)]
    approval: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
}

pub(crate) fn run(command: &GuardCommand) -> Result<(), Failure> {
    match command {
        GuardCommand::Show(args) => show(args),
        GuardCommand::Export(args) => export(args),
        GuardCommand::Import(args) => import(args),
        GuardCommand::Override(args) => overrule(args),
    }
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let settings = run::enter_to_ask(&args.node.config)?;
    let standing = guard::show(&settings).map_err(|error| run::refusal("the guard was not read", &error))?;
    Ok(console::result(&if args.json { standing.to_json().to_string() } else { text(&standing) })?)
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let (settings, _) = run::enter_with_device(&args.node.config)?;
    let fingerprint =
        guard::export(&settings, &args.out).map_err(|error| run::refusal("the guard was not exported", &error))?;
    console::result(&console::table(&[
        ["file".to_owned(), args.out.display().to_string()],
        ["SM3".to_owned(), format!("{fingerprint}: compare it where it is imported")],
        ["guard".to_owned(), "RETIRED: this host signs nothing any more".to_owned()],
    ]))?;
    Ok(())
}

fn import(args: &ImportArgs) -> Result<(), Failure> {
    let (settings, _) = run::enter_with_device(&args.node.config)?;
    let standing = guard::import(&settings, &args.file, args.tls_key)
        .map_err(|error| run::refusal("no marks were imported", &error))?;
    Ok(console::result(&text(&standing))?)
}

fn overrule(args: &OverrideArgs) -> Result<(), Failure> {
    let (settings, _) = run::enter_with_device(&args.node.config)?;
    let approvals: Vec<&Path> = args.approval.iter().map(PathBuf::as_path).collect();
    let officers = guard::overrule(&settings, &args.statement, &approvals)
        .map_err(|error| run::refusal("nothing was overruled", &error))?;
    let rows: Vec<[String; 2]> = officers.iter().map(|officer| ["approved by".to_owned(), officer.to_hex()]).collect();
    console::result(&console::table(&rows))?;
    console::say("the guard takes the new checkpoints; now `bixi db replay --accept`, then start the node");
    Ok(())
}

fn text(standing: &Standing) -> String {
    console::table(&standing.rows().into_iter().map(|(name, text)| [name.to_owned(), text]).collect::<Vec<_>>())
}
