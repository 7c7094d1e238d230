//! `bixi bench accelerator`: an engine or provider of OpenSSL's beside the node's own kernels, before anything is configured.

use std::path::PathBuf;

use bixi_accel::selftest;
use bixi_runtime::accelerator::{self, Operation, Params, Source, Verdict};
use clap::Args;

use crate::console;
use crate::failure::{Failure, Status};

/// Measure an accelerator that speaks OpenSSL beside the node's own kernels.
///
/// Its plugin, and with it libcrypto and the engine's or provider's own code, is loaded into this process; no node is touched. Each operation is
/// compared with ours first. Exit status: 0 measured; 1 it cannot be opened, or an answer is wrong; 2 usage.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct AcceleratorArgs {
    /// The plugin: libbixi_openssl11.so or libbixi_openssl3.so, by the libcrypto that engine or provider was made for.
    #[arg(long, value_name = "PATH")]
    plugin: PathBuf,
    /// Id of an engine, such as kae.
    #[arg(long, value_name = "ID", group = "source")]
    engine: Option<String>,
    /// Name of a provider, such as uadk_provider.
    #[arg(long, value_name = "NAME", group = "source")]
    provider: Option<String>,
    /// Where its module lies; without it, where libcrypto looks.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// A provider's property query.
    #[arg(long, value_name = "QUERY", conflicts_with = "engine")]
    properties: Option<String>,
    /// A command for an engine; may be given again.
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "provider")]
    command: Vec<String>,
    /// Only this operation; may be given again.
    #[arg(long, value_name = "NAME", value_parser = operation)]
    operation: Vec<Operation>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn operation(name: &str) -> Result<Operation, String> {
    let names: Vec<_> = Operation::ALL.into_iter().map(Operation::name).collect();
    Operation::from_name(name).ok_or_else(|| format!("there are {}", names.join(", ")))
}

pub(super) fn run(args: &AcceleratorArgs) -> Result<(), Failure> {
    selftest::run()?;
    let bulk = accelerator::start(&params(args)).map_err(|error| Failure::new(Status::Fault, error))?;
    console::result(&if args.json {
        accelerator::to_json(&bulk).to_string()
    } else {
        format!("{}\n\n{}", bulk.title(), console::table(&accelerator::cells(&bulk)))
    })?;
    let refused = bulk.rows().iter().filter(|row| matches!(row.verdict, Verdict::Refused(_))).count();
    if refused == 0 {
        return Ok(());
    }
    Err(Failure::new(Status::Fault, format!("{refused} operation(s) refused; see above")))
}

fn params(args: &AcceleratorArgs) -> Params {
    let commands = args.command.iter().map(|text| accelerator::command(text)).collect();
    let properties = args.properties.clone().unwrap_or_default();
    let source = match (&args.engine, &args.provider) {
        (Some(id), _) => Source::Engine { id: id.clone(), commands },
        (None, name) => Source::Provider { name: name.clone().unwrap_or_default(), properties },
    };
    let directory = args.directory.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    Params { plugin: args.plugin.clone(), source, directory, operations: args.operation.clone() }
}
