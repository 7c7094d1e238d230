//! The shipped token module: where it is, and how a process tells it where its store is.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_runtime::Settings;
use bixi_runtime::process::{TOKEN_CONFIG_VARIABLE, has_token_config};

use crate::failure::Failure;

const MODULE: &str = "libbixi_token.so";
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

/// The same for the token configuration of a node file, if it names one.
pub(crate) fn bind_for(settings: &Settings) -> Result<(), Failure> {
    let config = &settings.config.hsm.token_config;
    if config.as_os_str().is_empty() { Ok(()) } else { bind(&settings.path(config)) }
}

/// A module (or a TPM's device file) that is not there is a fault of the node file: no further start can do better.
pub(crate) fn expect_module(path: &Path) -> Result<(), Failure> {
    if path.exists() && !path.is_dir() {
        return Ok(());
    }
    Err(Failure::configuration(format!(
        "hsm.module: there is no file {}; name the module of the key device, or a TPM's device file",
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
