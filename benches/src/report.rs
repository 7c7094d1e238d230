//! A table for people, or one JSON object for programs.

use crate::measure::{Case, Standing, Timing};
use serde_json::{Map, Value, json};
use std::io::{self, Write as _};

/// Rows, printed as they come or kept for the end.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Value,
    json: bool,
    rows: Vec<Row>,
}

/// One race: the case, ours first.
#[derive(Debug)]
struct Row {
    case: Case,
    timings: Vec<Timing>,
}

impl Row {
    fn ours(&self) -> &Timing {
        &self.timings[0]
    }

    /// The fastest peer that counts.
    fn best_peer(&self) -> Option<&Timing> {
        let peers = self.timings.iter().skip(1).filter(|timing| timing.standing == Standing::Racing);
        peers.min_by(|left, right| left.min.total_cmp(&right.min))
    }

    /// How many times as fast as `peer` we are.
    fn ratio(&self, peer: &Timing) -> f64 {
        peer.min / self.ours().min
    }

    fn to_json(&self) -> Value {
        let best = self.best_peer();
        let rate = |timing: &Timing| self.case.rate(timing.min);
        json!({
            "name": self.case.name(),
            "op": self.case.operation(),
            "backend": self.case.backend(),
            "bytes": self.case.bytes_each(),
            "unit": self.case.unit(),
            "ours": rate(self.ours()),
            "ours_cycles": self.ours().cycles,
            "best_peer": best.map(|peer| &peer.name),
            "peer_value": best.map(rate),
            "peer_cycles": best.map(|peer| peer.cycles),
            "ratio": best.map(|peer| self.ratio(peer)),
            "contenders": self.timings.iter().map(|timing| self.contender(timing)).collect::<Vec<_>>(),
        })
    }

    fn contender(&self, timing: &Timing) -> Value {
        json!({
            "name": timing.name, "counts": timing.standing == Standing::Racing, "value": self.case.rate(timing.min),
            "ns_per_op": timing.min, "median_ns_per_op": timing.median, "cycles_per_op": timing.cycles, "runs": timing.runs,
        })
    }

    fn lines(&self) -> Vec<String> {
        let line = |(index, timing): (usize, &Timing)| {
            let name = match (index, timing.standing) {
                (0, _) => self.case.name(),
                (_, Standing::Racing) => format!("    {}", timing.name),
                (_, Standing::Beside) => format!("    ({})", timing.name),
            };
            let per_byte =
                self.case.bytes_each().map_or(String::new(), |bytes| format!("{:.3}", timing.cycles / bytes as f64));
            let ratio = if index == 0 { String::new() } else { format!("x{:.2}", self.ratio(timing)) };
            format!(
                "{name:72} {:>11.1} {:>11.1} {:>11.0} {per_byte:>8} {:>11.0} {} {ratio:>8}",
                timing.min,
                timing.median,
                timing.cycles,
                self.case.rate(timing.min),
                self.case.unit(),
            )
        };
        self.timings.iter().enumerate().map(line).collect()
    }

    /// A line of the summary, which is Markdown.
    fn summary(&self) -> String {
        let case = &self.case;
        let rate = |timing: &Timing| format!("{:.0} {}", case.rate(timing.min), case.unit());
        let (peer, value, ratio) = self
            .best_peer()
            .map_or_else(Default::default, |peer| (peer.name.clone(), rate(peer), format!("x{:.2}", self.ratio(peer))));
        let ours = self.ours();
        format!("| `{}` | {:.0} | {} | {peer} | {value} | {ratio} |", case.name(), ours.cycles, rate(ours))
    }
}

impl Report {
    pub(crate) fn new(machine: Value, json: bool) -> Self {
        Self { machine, json, rows: Vec::new() }
    }

    /// One more thing that the figures depend on.
    pub(crate) fn note(&mut self, name: &str, value: Value) {
        self.machine.as_object_mut().expect("the machine is an object").insert(name.to_owned(), value);
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
        writeln!(
            out,
            "\n{:72} {:>11} {:>11} {:>11} {:>8} {:>11}      {:>8}",
            "row", "ns/op", "median", "cycles/op", "c/B", "throughput", "ours is"
        )
    }

    /// One race: ours, then each peer with how many times faster ours is.
    pub(crate) fn add(&mut self, case: &Case, timings: Vec<Timing>) -> io::Result<()> {
        let row = Row { case: case.clone(), timings };
        let lines = if self.json { Vec::new() } else { row.lines() };
        self.rows.push(row);
        let mut out = io::stdout().lock();
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            let rows: Vec<_> = self.rows.iter().map(Row::to_json).collect();
            return writeln!(out, "{:#}", json!({ "machine": self.machine, "rows": rows }));
        }
        writeln!(out, "\n| row | cycles | ours | best peer | its | ours is |\n|---|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(out, "{}", row.summary()))
    }
}

/// A JSON value as words.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(map) => words(map),
        other => other.to_string(),
    }
}

fn words(map: &Map<String, Value>) -> String {
    map.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(name: &str, min: f64, standing: Standing) -> Timing {
        Timing { name: name.to_owned(), standing, min, median: min, cycles: 4.0 * min, runs: 9 }
    }

    fn row() -> Row {
        let timings = vec![
            timing("ours", 100.0, Standing::Racing),
            timing("slow", 400.0, Standing::Racing),
            timing("other algorithm", 50.0, Standing::Beside),
            timing("fast", 200.0, Standing::Racing),
        ];
        Row { case: Case::new("accel::sm4::ctr", "gfni512").bytes(1000), timings }
    }

    #[test]
    fn the_ratio_is_to_the_best_peer_that_counts() {
        let json = row().to_json();
        assert_eq!((&json["best_peer"], &json["ratio"], &json["unit"]), (&json!("fast"), &json!(2.0), &json!("MB/s")));
        assert_eq!((&json["ours"], &json["peer_value"]), (&json!(10_000.0), &json!(5_000.0)));
        assert_eq!(
            (&json["op"], &json["backend"], &json["bytes"]),
            (&json!("accel::sm4::ctr"), &json!("gfni512"), &json!(1000))
        );
        assert_eq!((&json["ours_cycles"], &json["peer_cycles"]), (&json!(400.0), &json!(800.0)));
        assert_eq!(json["contenders"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn rows_of_one_operation_are_told_apart() {
        let case = Case::new("accel::sm4::gcm::seal_many", "gfni512").bytes(64).with("messages", 256);
        let json = Row { case, ..row() }.to_json();
        assert_eq!(json["name"], "accel::sm4::gcm::seal_many/backend=gfni512 bytes=64 messages=256");
        assert_eq!((&json["op"], &json["bytes"]), (&json!("accel::sm4::gcm::seal_many messages=256"), &json!(64)));
    }

    #[test]
    fn a_row_without_a_peer_has_no_ratio() {
        let mut row = row();
        row.timings.truncate(1);
        assert_eq!((&row.to_json()["best_peer"], &row.to_json()["ratio"]), (&Value::Null, &Value::Null));
        assert_eq!(row.summary(), "| `accel::sm4::ctr/backend=gfni512 bytes=1000` | 400 | 10000 MB/s |  |  |  |");
    }

    #[test]
    fn who_does_not_count_stands_in_brackets() {
        let lines = row().lines();
        assert!(lines[2].trim_start().starts_with("(other algorithm)"), "{lines:?}");
        assert!(lines[3].contains("fast") && lines[3].ends_with("x2.00"), "{lines:?}");
    }
}
