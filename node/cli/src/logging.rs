//! Log lines to standard error, as the node file says.

use bixi_config::{Log, LogFormat};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::failure::Failure;

/// Which lines are written, changed while they are.
pub(crate) struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    /// Goes by another filter from now on; the old one stays when this one cannot be read.
    pub(crate) fn change(&self, text: &str) -> Result<(), String> {
        self.0.reload(parse(text)?).map_err(|error| error.to_string())
    }
}

/// Why `log.filter` cannot be used, if it cannot.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

fn parse(text: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::try_new(text).map_err(|error| format!("log.filter = {text:?}: {error}"))?;
    // That crate calls every mechanism an error that it has no name for, and vendors' have none.
    let cryptoki = "cryptoki=off".parse().expect("a directive");
    Ok(if text.contains("cryptoki") { filter } else { filter.add_directive(cryptoki) })
}

/// The log of a command whose person waits, for a question or a result: what a service tells of each step is not shown. A filter that asks for
/// more than `info`, or for it of a part by name, is heeded.
pub(crate) fn for_person(log: &Log) -> Log {
    let quiet = |part: &str| if part.trim().eq_ignore_ascii_case("info") { "warn".to_owned() } else { part.to_owned() };
    let filter = log.filter.split(',').map(quiet).collect::<Vec<_>>().join(",");
    Log { filter, ..log.clone() }
}

/// Starts logging for the life of the process.
pub(crate) fn start(log: &Log) -> Result<Filter, Failure> {
    let (filter, handle) = reload::Layer::new(parse(&log.filter).map_err(Failure::configuration)?);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A line that cannot be written is dropped. Telling so goes to the same stream, fails too, and then panics whatever
        // thread was logging: a full disk under the log, or a closed pipe, would end the node.
        .log_internal_errors(false);
    let subscriber = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Text => subscriber.with(lines).init(),
        LogFormat::Json => subscriber.with(lines.json()).init(),
    }
    Ok(Filter(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_spared_the_steps_unless_the_node_file_asks_for_more() {
        for (written, heeded) in [
            ("info", "warn"),
            ("info,arc_malachitebft_core_consensus=warn", "warn,arc_malachitebft_core_consensus=warn"),
            ("bixi_hsm=info, INFO", "bixi_hsm=info,warn"),
            ("debug", "debug"),
            ("error", "error"),
        ] {
            let log = Log { filter: written.to_owned(), format: LogFormat::Text };
            assert_eq!(for_person(&log).filter, heeded);
            check(heeded).unwrap();
        }
    }
}
