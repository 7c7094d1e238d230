//! Log lines to standard error, as the node file says.

use bixi_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Starts logging for the life of the process.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| Failure::configuration(format!("log.filter = {:?}: {error}", log.filter)))?;
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        // A line that cannot be written is dropped. Telling so goes to the same stream, fails too, and then panics whatever
        // thread was logging: a full disk under the log, or a closed pipe, would end the node.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
