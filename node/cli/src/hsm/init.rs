//! `bixi hsm init`: a token or a TPM's store made ready.

use std::path::PathBuf;

use bixi_runtime::lifecycle::initialisation::{self, Token};
use bixi_runtime::process;
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::{console, run, token};

/// Make a PKCS#11 token ready, or a store for keys of a TPM: name, PINs.
///
/// `bixi chain keys` does so for a new node; this is for devices that officers prepare. A token that is initialised is refused: its keys
/// would be destroyed. PINs come from a terminal, a file of mode 0400, a descriptor or a credential, never from the command line.
///
/// Exit status: 0 done; 1 not done, and why; 77 the device refused the SO PIN; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// PKCS#11 module [default: libbixi_token.so beside this executable, else /usr/lib/bixi].
    #[arg(long, value_name = "PATH", conflicts_with = "tpm")]
    module: Option<PathBuf>,
    /// Configuration of the shipped module, whose token this is; needed without --module.
    #[arg(long, value_name = "PATH", conflicts_with = "tpm")]
    token_config: Option<PathBuf>,
    /// A TPM's device file, such as /dev/tpmrm0, or swtpm's socket, instead of a module.
    #[arg(long, value_name = "PATH", requires = "dir")]
    tpm: Option<PathBuf>,
    /// With --tpm, where the wrapped keys are to lie: DATA/tpm of a node.
    #[arg(long, value_name = "DIR", requires = "tpm")]
    dir: Option<PathBuf>,
    /// Name of the token or store.
    #[arg(long, value_name = "NAME")]
    label: String,
    /// The slot [default: the first whose token was never initialised].
    #[arg(long, value_name = "NUMBER", conflicts_with = "tpm")]
    slot: Option<u64>,
    /// Where the user PIN comes from: "prompt", "file:PATH", "fd:NUMBER" or "credential:NAME".
    #[arg(long, value_name = "SOURCE", default_value = "prompt")]
    pin: String,
    /// Where the security officer's PIN comes from; with --tpm, the owner's authorization, if there is one.
    #[arg(long, value_name = "SOURCE")]
    so_pin: Option<String>,
    /// Destroy the keys of a token that is initialised; LABEL is its present name.
    #[arg(long, value_name = "LABEL", conflicts_with = "tpm")]
    destroy: Option<String>,
    /// Print one JSON object.
    ///
    /// {"serial"}, or with --tpm {"parent_handle", "parent", "attestation_key"}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &InitArgs) -> Result<(), Failure> {
    match &args.token_config {
        Some(config) => token::bind(config)?,
        None if args.tpm.is_none() && args.module.is_none() && !token::is_configured() => {
            return Err(Failure::configuration(
                "the shipped module keeps its token where its configuration says: name that with --token-config, such as the conf/token.conf \
                 that `bixi chain new` made, or another module with --module",
            ));
        }
        None => {}
    }
    process::harden()?;
    let failed = |error: bixi_runtime::LaunchError| run::refusal("nothing was initialised", &error);
    let rows = match (&args.tpm, &args.dir) {
        (Some(tpm), Some(directory)) => {
            initialisation::store(tpm, directory, &args.label, &args.pin, args.so_pin.as_deref()).map_err(failed)?
        }
        _ => {
            let serial = initialisation::token(&Token {
                module: &token::module(args.module.as_deref())?,
                slot: args.slot,
                label: &args.label,
                so_pin: args.so_pin.as_deref().unwrap_or("prompt"),
                pin: &args.pin,
                destroy: args.destroy.as_deref(),
            });
            vec![("serial", serial.map_err(failed)?)]
        }
    };
    let text =
        || console::table(&rows.iter().map(|(name, text)| [(*name).to_owned(), text.clone()]).collect::<Vec<_>>());
    let object =
        || rows.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect::<serde_json::Map<_, _>>();
    Ok(console::result(&if args.json { serde_json::Value::Object(object()).to_string() } else { text() })?)
}
