//! What a campaign came to, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use super::plan::Kind;
use super::{Outcome, liar};

/// Totals of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Runs of each plan.
    pub(crate) runs: BTreeMap<&'static str, u64>,
    pub(crate) chain_heights: u64,
    node_heights: u64,
    events: u64,
    virtual_ms: u64,
    recovery_ms_max: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) lies: BTreeMap<&'static str, u64>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

fn add_all(sums: &mut BTreeMap<&'static str, u64>, counts: &BTreeMap<&'static str, u64>) {
    for (name, count) in counts {
        *sums.entry(name).or_default() += count;
    }
}

impl Totals {
    /// Adds a run that broke nothing.
    pub(crate) fn add(&mut self, kind: Kind, outcome: &Outcome) {
        *self.runs.entry(kind.name()).or_default() += 1;
        self.chain_heights += outcome.chain_heights;
        self.node_heights += outcome.heights;
        self.events += outcome.events;
        self.virtual_ms += outcome.virtual_ms;
        self.recovery_ms_max = self.recovery_ms_max.max(outcome.recovery_ms);
        add_all(&mut self.faults, &outcome.faults);
        add_all(&mut self.lies, &outcome.lies);
        add_all(&mut self.seen, &outcome.seen);
    }

    /// Lies that nobody told.
    pub(crate) fn untold(&self) -> Vec<&'static str> {
        liar::names().into_iter().filter(|name| !self.lies.contains_key(name)).collect()
    }

    fn sums(&self) -> [(&'static str, u64); 9] {
        [
            ("chain heights", self.chain_heights),
            ("node heights", self.node_heights),
            ("runs", self.runs.values().sum()),
            ("events", self.events),
            ("virtual seconds", self.virtual_ms / 1_000),
            ("slowest recovery, ms", self.recovery_ms_max),
            ("kinds of lies told", self.lies.len() as u64),
            ("kinds of lies", liar::names().len() as u64),
            // A violation ends the campaign with a panic.
            ("violations", 0),
        ]
    }

    fn groups(&self) -> [(&'static str, &BTreeMap<&'static str, u64>); 4] {
        [("plan", &self.runs), ("fault", &self.faults), ("lie", &self.lies), ("seen", &self.seen)]
    }

    /// One line; every name is plain ASCII without quotes.
    pub(crate) fn json(&self) -> String {
        let pair = |(name, count): (&&'static str, &u64)| format!("\"{name}\":{count}");
        let sums: Vec<String> = self.sums().iter().map(|(name, count)| pair((name, count))).collect();
        let group = |(name, counts): &(&str, &BTreeMap<&'static str, u64>)| {
            format!("\"{name}\":{{{}}}", counts.iter().map(pair).collect::<Vec<_>>().join(","))
        };
        let groups: Vec<String> = self.groups().iter().map(group).collect();
        format!("{{{},{}}}", sums.join(","), groups.join(","))
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (group, counts) in self.groups() {
            for (name, count) in counts {
                writeln!(f, "{:<48} {count:>12}", format!("{group}: {name}"))?;
            }
        }
        for (name, count) in self.sums() {
            writeln!(f, "{name:<48} {count:>12}")?;
        }
        Ok(())
    }
}
