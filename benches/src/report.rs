//! A table for people, or one JSON object for programs.

use crate::measure::{Case, Timing};
use serde_json::{Value, json};
use std::io::{self, Write as _};

/// Rows, printed as they come or kept for the end.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Value,
    json: bool,
    rows: Vec<Value>,
}

impl Report {
    pub(crate) fn new(machine: Value, json: bool) -> Self {
        Self { machine, json, rows: Vec::new() }
    }

    /// The machine, and the table's head.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        for (name, value) in self.machine.as_object().into_iter().flatten() {
            writeln!(out, "{name:16} {}", plain(value))?;
        }
        writeln!(out, "\n{:76} {:>12} {:>12} {:>10} {:>8}", "row", "ns/op", "median", "MB/s", "ours is")
    }

    /// One race: ours, then each peer with how many times faster ours is.
    pub(crate) fn add(&mut self, case: &Case, timings: &[(String, Timing)]) -> io::Result<()> {
        let ours = timings[0].1;
        for (index, (contender, timing)) in timings.iter().enumerate() {
            let throughput = case.megabytes_per_second(timing.min);
            let ratio = (index > 0).then(|| timing.min / ours.min);
            if self.json {
                self.rows.push(json!({
                    "name": case.name(), "contender": contender, "ns_per_op": timing.min, "median_ns_per_op": timing.median,
                    "runs": timing.runs, "mb_per_s": throughput, "ours_is_faster_by": ratio,
                }));
            } else {
                let name = if index == 0 { case.name() } else { format!("    {contender}") };
                let throughput = throughput.map_or(String::new(), |value| format!("{value:.1}"));
                let ratio = ratio.map_or(String::new(), |value| format!("x{value:.2}"));
                let mut out = io::stdout().lock();
                writeln!(out, "{name:76} {:12.1} {:12.1} {throughput:>10} {ratio:>8}", timing.min, timing.median)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        writeln!(io::stdout().lock(), "{:#}", json!({ "machine": self.machine, "rows": self.rows }))
    }
}

/// A JSON value as words.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}
