//! `bixi hsm guard`: the sign-once guard of a stopped node, in officers' hands.

use std::path::{Path, PathBuf};

use bixi_runtime::lifecycle::guard::{self, Adoption};
use bixi_types::NodeId;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::failure::Failure;
use crate::{console, run};

/// Look after a node's sign-once guard.
///
/// Exit status: 0 done; 1 not done, and why; 77 the key device refused the PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    Show(ShowArgs),
    AwaitImport(AwaitArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Adopt(AdoptArgs),
    Override(OverrideArgs),
}

/// Show what the guard stands at, and whether it signs. Through the broker, while it runs, its marks only.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Print one JSON object.
    ///
    /// {"chain", "node", "fingerprint", "marks": [{"lane", "height", "round", "step"}], "retired", "state", "old_copy", "overrulings"}; state is
    /// "in-service", "retired", "awaiting" or "elsewhere", and old_copy says why it may be an old copy, which grants nothing whatever its state.
    #[arg(long)]
    json: bool,
}

/// Have the guard of the host that a validator moves to wait for the marks, and print the ticket that they are exported for.
///
/// From then on it signs nothing with this key before they are imported, and nothing takes that back. Copy the old host's directory before,
/// and nothing over data/guard afterwards. Asked again, it prints the same ticket. Both hosts reach the device that holds the consensus key; a key that stays behind is replaced instead
/// (`bixi hsm rotate consensus`).
#[derive(Debug, Args)]
pub(crate) struct AwaitArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Say that this host is to sign nothing until then.
    #[arg(long, required = true)]
    stop_signing: bool,
    /// Print one JSON object.
    ///
    /// {"ticket"}
    #[arg(long)]
    json: bool,
}

/// Retire the guard for good and write its marks to a file, for the one host that the validator moves to.
///
/// From then on nothing is signed here with this key, whatever becomes of the file; it can be made again, for the same ticket.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// What `await-import` printed on the other host.
    #[arg(long, value_name = "TICKET")]
    to: String,
    /// Where to write; a new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Say that this host is to sign no more.
    #[arg(long, required = true)]
    retire: bool,
    /// Print one JSON object.
    ///
    /// As `show` prints, with "file", "sm3" and "written_at_ms".
    #[arg(long)]
    json: bool,
}

/// Say that this host is the guard's own: it came here with its disk or from a backup, and its old host never signs again.
///
/// A guard remembers the host on which it signed first and refuses every other, because a copy that signs contradicts the original.
/// Nothing here can tell whether the old host still runs: if it does, the validator contradicts itself and loses its standing.
///
/// With --old-copy it says another thing, and of the host nothing: that there is no newer state of what may be an old copy, by the count of a
/// device that has a counter. Only where the newest state is lost, and the other validators have everything that this one ever signed or its
/// consensus key was rotated; and once for a disk of an earlier version that has been in use until now. Every other copy is an old one then.
#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The validator's fingerprint as `show` prints it, compared with the one on paper.
    #[arg(long, value_name = "SM3")]
    fingerprint: String,
    /// Say that this is the newest state there is, whatever the device has counted.
    #[arg(long)]
    old_copy: bool,
    /// With --old-copy, where the authorization of a TPM's owner comes from, if it has one and the counter is to be made anew.
    #[arg(long, value_name = "SOURCE", requires = "old_copy")]
    so_pin: Option<String>,
    /// Print one JSON object.
    ///
    /// As `show` prints.
    #[arg(long)]
    json: bool,
}

/// Raise the guard to the marks of a retired one, exported for the ticket of this one.
///
/// Refused where this guard waits for no marks or for others, or does not stand below each of them.
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
    /// Print one JSON object.
    ///
    /// As `show` prints, with "sm3" and "written_at_ms".
    #[arg(long)]
    json: bool,
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
    /// Print one JSON object.
    ///
    /// {"officers"}: the public keys of those who approved.
    #[arg(long)]
    json: bool,
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
        GuardCommand::AwaitImport(args) => await_import(args),
        GuardCommand::Export(args) => export(args),
        GuardCommand::Import(args) => import(args),
        GuardCommand::Adopt(args) => adopt(args),
        GuardCommand::Override(args) => overrule(args),
    }
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let settings = run::enter_to_ask(&args.node.config)?;
    let standing = guard::show(&settings).map_err(|error| run::refusal("the guard was not read", &error))?;
    Ok(console::result(&if args.json { standing.to_json().to_string() } else { table(standing.rows()) })?)
}

fn await_import(args: &AwaitArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.node.config)?;
    let ticket =
        guard::await_import(&settings).map_err(|error| run::refusal("the guard does not wait for marks", &error))?;
    console::result(&if args.json {
        json!({"ticket": ticket}).to_string()
    } else {
        console::table(&[["ticket".to_owned(), ticket]])
    })?;
    console::say(
        "this host signs nothing until the marks are here; on the host that signs now, after stopping its node:",
    );
    console::say("  bixi hsm guard export --retire --to TICKET --out FILE");
    Ok(())
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.node.config)?;
    let exported = guard::export(&settings, &args.to, &args.out)
        .map_err(|error| run::refusal("the guard was not exported", &error))?;
    let file = args.out.display().to_string();
    Ok(console::result(&if args.json {
        let mut value = exported.to_json();
        value["file"] = file.into();
        value.to_string()
    } else {
        table([("file", file)].into_iter().chain(exported.rows()))
    })?)
}

fn import(args: &ImportArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.node.config)?;
    let imported = guard::import(&settings, &args.file, args.tls_key)
        .map_err(|error| run::refusal("no marks were imported", &error))?;
    Ok(console::result(&if args.json { imported.to_json().to_string() } else { table(imported.rows()) })?)
}

fn adopt(args: &AdoptArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.node.config)?;
    let adoption = match args.old_copy {
        true => Adoption::OldCopy { owner: args.so_pin.as_deref() },
        false => Adoption::Home,
    };
    let standing = guard::adopt(&settings, &args.fingerprint, adoption)
        .map_err(|error| run::refusal("the guard was not adopted", &error))?;
    Ok(console::result(&if args.json { standing.to_json().to_string() } else { table(standing.rows()) })?)
}

fn overrule(args: &OverrideArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.node.config)?;
    let approvals: Vec<&Path> = args.approval.iter().map(PathBuf::as_path).collect();
    let officers = guard::overrule(&settings, &args.statement, &approvals)
        .map_err(|error| run::refusal("nothing was overruled", &error))?;
    let officers = officers.iter().map(NodeId::to_hex);
    console::result(&if args.json {
        json!({"officers": officers.collect::<Vec<_>>()}).to_string()
    } else {
        table(officers.map(|officer| ("approved by", officer)))
    })?;
    console::say("the guard takes the new checkpoints; now `bixi db replay --accept`, then start the node");
    Ok(())
}

fn table(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    console::table(&rows.into_iter().map(|(name, text)| [name.to_owned(), text]).collect::<Vec<_>>())
}
