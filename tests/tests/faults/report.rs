//! The table at the end of a run.

use serde_json::{Value, json};

/// Characters of a log line or a reason that the table shows.
const TEXT_CHARS_MAX: usize = 150;

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    NotRun(String),
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) outcome: Outcome,
    /// From the end of the fault to the next block.
    pub(crate) recover_s: Option<f64>,
    /// From the end of the fault to the unwell node at the head.
    pub(crate) return_s: Option<f64>,
    /// From the end of the fault to the unwell validator's next signature, the longest time where there were several.
    pub(crate) signs_s: Option<f64>,
    /// Statements that brokers signed, each at a position of its own.
    pub(crate) statements: Option<usize>,
    /// Blocks in all.
    pub(crate) blocks: i64,
    /// Transactions acknowledged, every one of them found on every node at the end.
    pub(crate) acknowledged: usize,
    /// What the unwell node said.
    pub(crate) line: String,
}

impl Row {
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            outcome: Outcome::Passed,
            recover_s: None,
            return_s: None,
            signs_s: None,
            statements: None,
            blocks: 0,
            acknowledged: 0,
            line: String::new(),
        }
    }

    pub(crate) fn failed(scenario: &'static str, why: String) -> Self {
        Self { outcome: Outcome::Failed(why), ..Self::new(scenario) }
    }

    pub(crate) fn not_run(scenario: &'static str, why: String) -> Self {
        Self { outcome: Outcome::NotRun(why), ..Self::new(scenario) }
    }

    fn is_passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }

    /// What is known of losses: a scenario passes only when all was found.
    fn found(&self) -> Value {
        if self.is_passed() { 0.into() } else { Value::Null }
    }

    fn json(&self) -> Value {
        let (outcome, why) = match &self.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(why) => ("failed", Some(why)),
            Outcome::NotRun(why) => ("not run", Some(why)),
        };
        json!({
            "scenario": self.scenario, "outcome": outcome, "why": why, "recover_s": self.recover_s, "return_s": self.return_s,
            "signs_s": self.signs_s, "statements": self.statements, "blocks": self.blocks, "acknowledged": self.acknowledged, "lost": self.found(), "second_headers": self.found(),
            "line": self.line,
        })
    }

    fn text(&self) -> String {
        let seconds = |seconds: Option<f64>| seconds.map_or("-".into(), |seconds| format!("{seconds:.1}"));
        let (outcome, words) = match &self.outcome {
            Outcome::Passed => ("passed", &self.line),
            Outcome::Failed(why) => ("FAILED", why),
            Outcome::NotRun(why) => ("NOT RUN", why),
        };
        let words: String = words.lines().next().unwrap_or_default().chars().take(TEXT_CHARS_MAX).collect();
        let found = if self.is_passed() { "0" } else { "-" };
        format!(
            "{:18} {:8} {:>9} {:>8} {:>7} {:>10} {:>7} {:>7} {:>5} {:>8}  {words}",
            self.scenario,
            outcome,
            seconds(self.recover_s),
            seconds(self.return_s),
            seconds(self.signs_s),
            self.statements.map_or("-".into(), |count| count.to_string()),
            self.blocks,
            self.acknowledged,
            found,
            found
        )
    }
}

/// All lines.
pub(crate) struct Report {
    rows: Vec<Row>,
    is_json: bool,
}

impl Report {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { rows: Vec::new(), is_json }
    }

    /// Takes a row; prints it at once, because a run is long.
    pub(crate) fn add(&mut self, row: Row) {
        println!("{}", if self.is_json { row.json().to_string() } else { row.text() });
        self.rows.push(row);
    }

    /// Prints the table.
    ///
    /// # Panics
    /// When a scenario failed.
    pub(crate) fn finish(self) {
        if !self.is_json {
            println!(
                "\n{:18} {:8} {:>9} {:>8} {:>7} {:>10} {:>7} {:>7} {:>5} {:>8}  the unwell node's line",
                "scenario",
                "outcome",
                "recover s",
                "return s",
                "signs s",
                "statements",
                "blocks",
                "acked",
                "lost",
                "2nd hdrs"
            );
            self.rows.iter().for_each(|row| println!("{}", row.text()));
        }
        let failed: Vec<String> =
            self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed(_))).map(Row::text).collect();
        assert!(failed.is_empty(), "failed:\n{}", failed.join("\n"));
    }
}
