//! `bixi hsm attest`: what a device states about a key, written down or judged.

use std::path::{Path, PathBuf};

use bixi_runtime::lifecycle::statement::{self, KeyStatement, Worth};
use clap::Args;

use crate::failure::{Failure, Status};
use crate::{console, run};

/// Have the device state what it knows of a key, or judge such a statement.
///
/// A statement tells whether the key was made inside the device and whether the device would give it out, with the device's own evidence.
/// Evidence of a TPM is proof for whoever knows the TPM's attestation key; what other devices state is the word of their library.
///
/// Exit status: 0 stated, or proven with --verify; 1 not stated, or with --verify not proven; 77 the key device refused the PIN; 78 a file
/// of the operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct AttestArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// The key: consensus, tls or kek for those of the node file; a URI or label where no broker runs.
    #[arg(long, value_name = "KEY", default_value = "consensus", conflicts_with = "verify")]
    key: String,
    /// Write the statement to a new file.
    #[arg(long, value_name = "FILE", conflicts_with = "verify")]
    out: Option<PathBuf>,
    /// Judge the statement in FILE instead; no device is opened.
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    /// With --verify, name of the TPM's attestation key, hexadecimal [default: that in conf/keys.json beside the node file].
    #[arg(long, value_name = "HEX", requires = "verify")]
    attestation_key: Option<String>,
    /// Print the statement as one JSON object; with --verify, {"worth", "words"}.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &AttestArgs) -> Result<(), Failure> {
    match &args.verify {
        Some(file) => verify(args, file),
        None => attest(args),
    }
}

fn attest(args: &AttestArgs) -> Result<(), Failure> {
    let settings = run::enter_to_ask(&args.config)?;
    let stated = statement::attest(&settings, &args.key).map_err(|error| run::refusal("nothing was stated", &error))?;
    if let Some(path) = &args.out {
        stated.write(path).map_err(|error| Failure::new(Status::Fault, error))?;
    }
    let known = statement::attestation_key_of(&args.config).map_err(Failure::configuration)?;
    let worth = stated.judge(known.as_deref());
    Ok(console::result(&if args.json { stated.to_json().to_string() } else { text(&stated, &worth) })?)
}

fn verify(args: &AttestArgs, file: &Path) -> Result<(), Failure> {
    let stated = KeyStatement::read(file).map_err(Failure::configuration)?;
    let known = match &args.attestation_key {
        Some(digits) => {
            let bytes = hex::decode(digits);
            Some(bytes.map_err(|error| Failure::configuration(format!("--attestation-key: {error}")))?)
        }
        None => statement::attestation_key_of(&args.config).map_err(Failure::configuration)?,
    };
    let worth = stated.judge(known.as_deref());
    let (word, words) = (word(&worth), worth.words());
    let json = || serde_json::json!({"worth": word, "words": words}).to_string();
    console::result(&if args.json { json() } else { text(&stated, &worth) })?;
    if word == "proven" { Ok(()) } else { Err(Failure::new(Status::Fault, format!("{}: {words}", file.display()))) }
}

fn word(worth: &Worth) -> &'static str {
    match worth {
        Worth::Proven { .. } => "proven",
        Worth::SelfReported => "self-reported",
        Worth::Unchecked => "not-checked",
        Worth::Refused(_) => "refused",
    }
}

/// A statement for people, with what it is worth.
pub(super) fn text(stated: &KeyStatement, worth: &Worth) -> String {
    let rows = stated.rows().into_iter().chain([("worth", worth.words())]);
    console::table(&rows.map(|(name, text)| [name.to_owned(), text]).collect::<Vec<_>>())
}
