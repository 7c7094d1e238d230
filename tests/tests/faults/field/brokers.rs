//! The brokers of a scenario whose nodes have some, and what they signed.

use std::collections::BTreeMap;
use std::process::Command;

use bixi_tests::binary;
use bixi_tests::broker::{RunningBroker, configure};
use bixi_tests::chain::wait_until;
use bixi_tests::console::{header, is_signed_by};
use bixi_tests::disk::files;
use rustix::process::Signal;
use serde_json::Value;

use super::Field;

impl Field<'_> {
    /// From the first start on.
    pub(super) fn start_brokers(&mut self) {
        self.chain.configs.iter().for_each(|config| configure(config));
        self.all().into_iter().for_each(|node| self.start_broker(node));
    }

    pub(crate) fn broker(&self, node: usize) -> &RunningBroker {
        self.brokers.get(&node).expect("its broker runs")
    }

    pub(crate) fn start_broker(&mut self, node: usize) {
        let started = RunningBroker::try_start_by(self.command(node), &self.chain.configs[node]);
        let started = started.unwrap_or_else(|ended| panic!("the broker of node {node} is not ready: {}", ended.said));
        self.brokers.insert(node, started);
    }

    /// Kills a supervisor; its worker ends by itself.
    pub(crate) fn kill_broker(&mut self, node: usize) {
        let broker = self.brokers.remove(&node).expect("its broker runs");
        broker.signal(Signal::KILL);
    }

    /// Waits until a block that is made from now on has a validator's signature, and notes when the fault is mended for so long.
    pub(crate) fn signs_again(&mut self, node: usize) {
        let (mended, _) = self.mended.expect("the fault has ended");
        let witness = usize::from(node == 0);
        let mut next = self.highest(&self.others(node)) + 1;
        wait_until(&format!("{}: node {node} signs", self.row.scenario), || {
            let found = (next..=self.height(witness))
                .any(|height| is_signed_by(&header(self.node(witness), height), &self.chain.ids[node]));
            next = next.max(self.height(witness));
            found
        });
        let signs_s = mended.elapsed().as_secs_f64();
        self.row.signs_s = Some(self.row.signs_s.map_or(signs_s, |before| before.max(signs_s)));
    }

    /// Files of evidence that these nodes wrote.
    pub(crate) fn evidence(&self, nodes: &[usize]) -> usize {
        let of = |node: &usize| files(&self.home(*node).join("data")).expect("a directory");
        nodes.iter().flat_map(of).filter(|file| file.to_string_lossy().contains("evidence")).count()
    }

    /// No trail of a broker has two digests that were signed at one position, and nobody has evidence of such. Returns how many
    /// positions there are.
    pub(super) fn expect_no_contradiction(&self) -> usize {
        let of = |node: &usize| {
            let mut command = Command::new(binary("bixi"));
            command.args(["hsm", "verify-audit", "--all", "--json", "--config"]).arg(&self.chain.configs[*node]);
            let verified = command.output().expect("bixi starts");
            assert!(verified.status.success(), "node {node}: {}", String::from_utf8_lossy(&verified.stderr));
            statements(&String::from_utf8_lossy(&verified.stdout))
        };
        let positions = self.brokers.keys().map(of).sum();
        assert_eq!(self.evidence(&self.all()), 0, "a validator contradicted itself before others");
        positions
    }
}

/// The positions that the entries of a trail say were signed.
///
/// # Panics
/// When one was signed for two digests.
fn statements(entries: &str) -> usize {
    let mut signed = BTreeMap::new();
    for entry in entries.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
        let is_statement = matches!(entry["request"].as_str(), Some("sign-proposal" | "sign-vote" | "sign-checkpoint"));
        if is_statement && matches!(entry["outcome"].as_str(), Some("signed" | "stored")) {
            let text = |name: &str| entry[name].as_str().expect("a text").to_owned();
            let (position, digest) = ((text("request"), text("subject")), text("digest"));
            let before = signed.insert(position, digest.clone());
            assert!(before.is_none_or(|before| before == digest), "signed for two digests: {entry}");
        }
    }
    assert!(!signed.is_empty(), "a trail without a statement");
    signed.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(subject: &str, digest: &str, outcome: &str) -> String {
        let (request, digest) = ("sign-vote", Value::from(digest));
        serde_json::json!({"request": request, "subject": subject, "digest": digest, "outcome": outcome}).to_string()
    }

    #[test]
    fn a_position_counts_once_and_what_was_refused_does_not() {
        let trail = [
            entry("height 7 round 0 Prevote", "aa", "signed"),
            entry("height 7 round 0 Prevote", "aa", "stored"),
            entry("height 7 round 0 Prevote", "bb", "refused"),
            entry("height 8 round 0 Prevote", "bb", "signed"),
            r#"{"files": 1}"#.to_owned(),
        ];
        assert_eq!(statements(&trail.join("\n")), 2);
    }

    #[test]
    #[should_panic(expected = "signed for two digests")]
    fn two_digests_at_one_position_are_found() {
        let [one, other] = ["aa", "bb"].map(|digest| entry("height 7 round 0 Prevote", digest, "signed"));
        statements(&format!("{one}\n{other}"));
    }
}
