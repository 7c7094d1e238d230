//! How far the load has come, on standard error: a bar on a terminal, else a line for every tenth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

/// Lines of a whole load where there is no terminal.
const LINES: u64 = 10;

/// Shared by everyone who sends.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    total: u64,
    done: Arc<AtomicU64>,
}

impl Progress {
    /// Of `total` transactions.
    pub(crate) fn new(total: u64) -> anyhow::Result<Self> {
        let style =
            ProgressStyle::with_template("[{bar:24}] {pos}/{len}, {per_sec}, {eta} left")?.progress_chars("#>-");
        Ok(Self { bar: ProgressBar::new(total).with_style(style), total, done: Arc::default() })
    }

    /// `count` more were answered.
    pub(crate) fn advance(&self, count: u64) {
        self.bar.inc(count);
        let before = self.done.fetch_add(count, Ordering::Relaxed);
        if self.bar.is_hidden()
            && let Some(line) = line(before, before + count, self.total)
        {
            console::say(&line);
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The line to say when the count goes from `before` to `after`, if that passes a tenth.
fn line(before: u64, after: u64, total: u64) -> Option<String> {
    let tenth = |count: u64| count * LINES / total;
    (tenth(before) != tenth(after)).then(|| format!("demo: {after} of {total} transactions answered"))
}

/// Turns while something is waited for that has no length; on a terminal only.
pub(crate) fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    // ASCII: not every terminal has Braille.
    spinner.set_style(ProgressStyle::default_spinner().tick_chars("|/-\\ "));
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_every_tenth_and_none_between() {
        let said: Vec<u64> = (0..300).filter(|done| line(*done, done + 1, 300).is_some()).collect();
        assert_eq!(said, (1..=10).map(|tenth| tenth * 30 - 1).collect::<Vec<_>>());
        assert_eq!(line(250, 300, 300).unwrap(), "demo: 300 of 300 transactions answered");
    }
}
