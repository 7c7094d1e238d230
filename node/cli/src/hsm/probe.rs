//! `bixi hsm probe`: what a PKCS#11 module says of itself, and which vendor profile fits.

use std::path::{Path, PathBuf};

use bixi_runtime::probe::{self, Probe};
use bixi_runtime::{Settings, process};
use clap::Args;

use crate::failure::{Failure, Status};
use crate::{console, token};

/// Show what a PKCS#11 module says of itself, and which vendor profile fits its tokens.
///
/// Asks for no PIN and makes nothing. A profile fits when the token has every mechanism it uses; whether the numbers mean what the profile
/// takes them for shows when a key is generated. Mechanisms with a vendor's number are shown as far as a shipped profile knows them.
///
/// Exit status: 0 done, whatever fits; 1 the module does not answer, or none of its tokens does; 78 a file of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The module [default: that of the node file].
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    module: Option<PathBuf>,
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ProbeArgs) -> Result<(), Failure> {
    let module = match &args.module {
        Some(module) => module.clone(),
        None => module_of(&args.config)?,
    };
    token::expect_module(&module)?;
    process::harden()?;
    let found =
        probe::probe(&module).map_err(|error| Failure::new(Status::Fault, format!("{}: {error}", module.display())))?;
    console::result(&if args.json { probe::to_json(&module, &found).to_string() } else { text(&module, &found) })?;
    match &found.silent[..] {
        [first, ..] if found.tokens.is_empty() => Err(Failure::new(
            Status::Fault,
            format!("{}: no token of this module answers (slot {}): {}", module.display(), first.slot, first.error),
        )),
        _ => Ok(()),
    }
}

fn module_of(config: &Path) -> Result<PathBuf, Failure> {
    let settings = Settings::load(config).map_err(Failure::configuration)?;
    token::bind_for(&settings)?;
    probe::module(&settings).ok_or_else(|| {
        Failure::configuration(format!(
            "{}: hsm.backend is not \"pkcs11\", and other devices have no module to probe",
            config.display()
        ))
    })
}

fn text(module: &Path, found: &Probe) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut parts = vec![console::table(&[
        row("module", module.display().to_string()),
        row("library", format!("{} {}, by {}", found.description, found.version, found.manufacturer)),
        row("interface", format!("PKCS#11 {}", found.interface)),
        row("tokens", found.tokens.len().to_string()),
    ])];
    parts.extend(found.silent.iter().map(|silent| {
        console::table(&[
            row("token", format!("(slot {})", silent.slot)),
            row("state", format!("does not answer: {}", silent.error)),
        ])
    }));
    for token in &found.tokens {
        let state =
            if token.is_ready { "initialised, with a user PIN" } else { "not initialised, or without a user PIN" };
        parts.push(console::table(&[
            row("token", format!("{} (slot {})", token.label, token.slot)),
            row("device", format!("{} {}, serial {}", token.manufacturer, token.model, token.serial)),
            row("state", state.to_owned()),
        ]));
        let fits = token.fits.iter().map(|fit| {
            let verdict = if fit.is_whole() { "fits".to_owned() } else { format!("lacks {}", fit.missing.join(", ")) };
            let named = if fit.is_named { "named by the module" } else { "" };
            [format!("  {}", fit.profile), named.to_owned(), verdict]
        });
        parts.push(format!("profiles\n{}", console::table(&fits.collect::<Vec<_>>())));
        let mechanisms = token.mechanisms.iter().map(|mechanism| {
            [
                format!("  {}", mechanism.name),
                format!("{}-{}", mechanism.key_min, mechanism.key_max),
                mechanism.uses.join(" "),
            ]
        });
        parts.push(format!("mechanisms\n{}", console::table(&mechanisms.collect::<Vec<_>>())));
    }
    parts.join("\n\n")
}
