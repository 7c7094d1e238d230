//! The command line.

/// Shown for `--help` and with every error.
const USAGE: &str = "usage: cargo bench -p bixi-benches --bench <room> -- [--quick] [--json] [part of a row's name]...";

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// One JSON object instead of a table.
    pub json: bool,
    /// Shorter runs, for a look.
    pub quick: bool,
    /// Rows whose name contains one of these; all when empty.
    pub filters: Vec<String>,
}

impl Options {
    /// Options from arguments; `None` for a call for help or an argument that is not known.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut options = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                // What `cargo bench` adds by itself.
                "--bench" => {}
                _ if argument.starts_with('-') => return None,
                _ => options.filters.push(argument),
            }
        }
        Some(options)
    }

    /// Whether a row of that name was asked for.
    pub fn wants(&self, row: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| row.contains(filter))
    }

    /// Options of this process. Ends it, with the usage, on an argument that is not known.
    pub fn from_args_or_exit() -> Self {
        Self::parse(std::env::args().skip(1)).unwrap_or_else(|| {
            use std::io::Write as _;
            // Nothing can be said where standard error is closed.
            let _ = writeln!(std::io::stderr(), "{USAGE}");
            std::process::exit(2);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Option<Options> {
        Options::parse(arguments.iter().map(|&argument| argument.to_owned()))
    }

    #[test]
    fn flags_and_filters_are_read_and_the_rest_is_refused() {
        let expected = Options { json: true, quick: true, filters: vec!["sm4".to_owned()] };
        assert_eq!(parse(&["--bench", "sm4", "--json", "--quick"]), Some(expected));
        assert_eq!(parse(&["--fast"]), None);
    }
}
