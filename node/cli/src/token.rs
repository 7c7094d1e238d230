//! The shipped token module: where it is, and how a process tells it where its store is.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_runtime::Settings;
use bixi_runtime::process::{TOKEN_CONFIG_VARIABLE, has_token_config};

use crate::failure::Failure;

const MODULE: &str = "libbixi_token.so";
/// Where the module looks when it was told nothing.
const CONFIG_INSTALLED: &str = "/etc/bixi/token.conf";
const MODULE_INSTALLED: &str = "/usr/lib/bixi/libbixi_token.so";

/// Makes sure the token module of this process will read `config`: the module takes its path from the environment when it is
/// loaded, so a process that was started without it becomes one that was. The path is no secret.
pub(crate) fn bind(config: &Path) -> Result<(), Failure> {
    let config = config.canonicalize().map_err(|error| {
        Failure::configuration(format!(
            "token configuration {}: {error}; it lies in the directory that `bixi chain new` made",
            config.display()
        ))
    })?;
    if has_token_config(&config) {
        return Ok(());
    }
    let error = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(TOKEN_CONFIG_VARIABLE, &config)
        .exec();
    Err(error.into())
}

/// Whether the shipped module finds a configuration that somebody wrote.
pub(crate) fn is_configured() -> bool {
    std::env::var_os(TOKEN_CONFIG_VARIABLE).is_some() || Path::new(CONFIG_INSTALLED).exists()
}

/// [`bind`] for the token configuration of a node file, if it names one.
pub(crate) fn bind_for(settings: &Settings) -> Result<(), Failure> {
    let config = &settings.config.hsm.token_config;
    if config.as_os_str().is_empty() { Ok(()) } else { bind(&settings.path(config)) }
}

/// A module (or a TPM's device file) that is not there is a fault of the node file: no further start can do better.
pub(crate) fn expect_module(path: &Path) -> Result<(), Failure> {
    let what = match path.metadata() {
        Ok(found) if !found.is_dir() => return Ok(()),
        Ok(_) => "this is a directory".to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::configuration(format!(
        "{}: {what}; name the module of the key device (hsm.module, or --module), or a TPM's device file",
        path.display()
    )))
}

/// The PKCS#11 module: the one named, else ours beside this executable or where packages put it.
pub(crate) fn module(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return path
            .canonicalize()
            .map_err(|error| Failure::configuration(format!("--module {}: {error}", path.display())));
    }
    let beside = std::env::current_exe()?.with_file_name(MODULE);
    [beside.clone(), PathBuf::from(MODULE_INSTALLED)].into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Failure::configuration(format!(
            "no {MODULE} at {} nor at {MODULE_INSTALLED}; build it with `cargo build -p bixi-hsm-token`, install the package, \
             or name a PKCS#11 module with --module",
            beside.display()
        ))
    })
}
