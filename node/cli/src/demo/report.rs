//! The demonstration's report: the same facts as a table and as one JSON object.

use bixi_runtime::chain::KeyRecord;
use serde_json::{Value, json};

use crate::console::table;
use crate::demo::at_rest::{AtRest, Outcome};
use crate::demo::node::Rss;

/// Everything the demonstration found out.
pub(crate) struct Report {
    pub(crate) suite: &'static str,
    pub(crate) nodes: u32,
    pub(crate) txs: u64,
    pub(crate) committed: u64,
    pub(crate) tps: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) height: u64,
    pub(crate) heads_equal: bool,
    pub(crate) state_roots_equal: bool,
    pub(crate) quorum_verified: bool,
    pub(crate) proof_verified: bool,
    pub(crate) at_rest: AtRest,
    /// Node's name and key.
    pub(crate) keys: Vec<(String, KeyRecord)>,
    /// Each node's name and plan, as it says them.
    pub(crate) placement: Vec<(String, Value)>,
    pub(crate) placement_mode: String,
    /// Of each node, at the end of the load.
    pub(crate) rss: Vec<Rss>,
    pub(crate) rpc: Vec<String>,
    /// Transactions refused or failed, and some of the reasons.
    pub(crate) failed: u64,
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Whether every check holds.
    pub(crate) fn holds(&self) -> bool {
        self.committed == self.txs
            && self.failed == 0
            && self.heads_equal
            && self.state_roots_equal
            && self.quorum_verified
            && self.proof_verified
            && self.at_rest.marker_hits.is_empty()
            && self.at_rest.flip_refused()
            && !self.keys.is_empty()
            && self.keys.iter().all(|(_, key)| !key.extractable)
    }

    pub(crate) fn to_json(&self) -> Value {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .map(|(node, key)| {
                json!({"node": node, "role": key.role, "uri": key.uri, "extractable": key.extractable, "custody": key.custody})
            })
            .collect();
        let flips: Vec<Value> = self
            .at_rest
            .flips
            .iter()
            .map(|flip| {
                let file = flip.file.as_ref().map(|file| file.display().to_string());
                let (refusal, skipped) = match &flip.outcome {
                    Outcome::Refused(words) => (Some(words.as_str()), None),
                    Outcome::Unnoticed | Outcome::Elsewhere(_) => (None, None),
                    Outcome::Skipped(reason) => (None, Some(*reason)),
                };
                json!({"node": flip.node, "kind": flip.kind, "file": file, "refusal": refusal, "skipped": skipped})
            })
            .collect();
        let placement: Vec<Value> = self.placement.iter().flat_map(|(node, plan)| named_rows(node, plan)).collect();
        json!({
            "suite": self.suite,
            "nodes": self.nodes,
            "txs": self.txs,
            "committed": self.committed,
            "tps": round(self.tps),
            "latency_ms": {"p50": round(self.p50_ms), "p99": round(self.p99_ms)},
            "height": self.height,
            "heads_equal": self.heads_equal,
            "state_roots_equal": self.state_roots_equal,
            "quorum_verified": self.quorum_verified,
            "proof_verified": self.proof_verified,
            "at_rest": {
                "marker_hits": self.at_rest.marker_hits.len(),
                "files_searched": self.at_rest.files,
                "flip_refused": self.at_rest.flip_refused(),
                "flips_skipped": self.at_rest.skipped(),
                "flips": flips,
            },
            "keys": keys,
            "placement_mode": self.placement_mode,
            "placement": placement,
            "rss_mib": self.rss.iter().map(|rss| rss.now).collect::<Vec<_>>(),
            "rss_peak_mib": self.rss.iter().map(|rss| rss.peak).collect::<Vec<_>>(),
            "rpc": self.rpc,
            "failed": self.failed,
            "failures": self.failures,
            "ok": self.holds(),
        })
    }

    pub(crate) fn to_text(&self) -> String {
        let mut rows = vec![
            ["chain".to_owned(), format!("suite {}, {} validator(s), {} blocks", self.suite, self.nodes, self.height)],
            [
                "committed".to_owned(),
                format!("{} of {} transactions, {:.0} a second", self.committed, self.txs, self.tps),
            ],
            [
                "latency".to_owned(),
                format!("p50 {:.1} ms, p99 {:.1} ms from sending a batch to its receipts", self.p50_ms, self.p99_ms),
            ],
            ["quorum".to_owned(), said(self.quorum_verified, "signatures of a header verified from outside")],
            [
                "proof".to_owned(),
                said(
                    self.proof_verified,
                    "transactions and receipts hashed anew, their Merkle proofs verified from outside",
                ),
            ],
            ["at rest".to_owned(), self.markers()],
        ];
        rows.insert(3, ["memory".to_owned(), self.memory()]);
        for flip in &self.at_rest.flips {
            let file = flip.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            let text = match &flip.outcome {
                Outcome::Refused(words) => format!("one flipped byte in {file} is refused: {words}"),
                Outcome::Elsewhere(words) => {
                    format!("FAILED: a copy with a flipped byte in {file} tells another reason: {words}")
                }
                Outcome::Unnoticed => format!("FAILED: one flipped byte in {file} went unnoticed"),
                Outcome::Skipped(reason) => format!("skipped: a flipped byte in a {}: {reason}", flip.kind),
            };
            rows.push([String::new(), format!("{}: {text}", flip.node)]);
        }
        for (node, key) in &self.keys {
            let extractable = if key.extractable { "EXTRACTABLE" } else { "not extractable" };
            rows.push(["key".to_owned(), format!("{node} {}: {}, {extractable}; {}", key.role, key.custody, key.uri)]);
        }
        rows.push(["rpc".to_owned(), self.rpc.join(" ")]);
        if self.failed > 0 {
            rows.push(["FAILED".to_owned(), format!("{} transactions refused or failed, among them:", self.failed)]);
        }
        for failure in self.failures.iter().take(5) {
            rows.push([String::new(), failure.clone()]);
        }
        format!("{}\n\nplacement ({})\n{}", table(&rows), self.placement_mode, self.placement_table())
    }

    fn markers(&self) -> String {
        match self.at_rest.marker_hits.len() {
            0 => format!("no marker of the load in any of {} files", self.at_rest.files),
            hits => format!("FAILED: markers of the load in {hits} files"),
        }
    }

    fn memory(&self) -> String {
        let each: Vec<String> = self.rss.iter().map(|rss| format!("{} (at most {})", rss.now, rss.peak)).collect();
        format!("{} MiB in each node", each.join(", "))
    }

    /// Nodes of one machine have one plan; what differs is shown for each.
    fn placement_table(&self) -> String {
        let same = self.placement.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let shown = if same { &self.placement[..self.placement.len().min(1)] } else { &self.placement[..] };
        let mut rows = Vec::new();
        for (name, plan) in shown {
            for row in plan.as_array().into_iter().flatten() {
                let node = row["numa_node"].as_u64().map_or_else(|| "-".to_owned(), |node| node.to_string());
                let thread = row["thread"].as_str().unwrap_or_default();
                let whose = if same { String::new() } else { format!("{name} ") };
                rows.push([format!("  {whose}{thread}"), format!("node {node}"), format!("cores {}", row["cores"])]);
            }
        }
        table(&rows)
    }
}

/// The rows of a node's plan, each with the node's name.
fn named_rows(node: &str, plan: &Value) -> Vec<Value> {
    let mut rows = plan.as_array().cloned().unwrap_or_default();
    for row in &mut rows {
        row["node"] = json!(node);
    }
    rows
}

fn said(holds: bool, what: &str) -> String {
    if holds { what.to_owned() } else { format!("FAILED: {what}") }
}

/// Two digits behind the point are what the measurement is worth.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::at_rest::Flip;

    fn sound() -> Report {
        let key = KeyRecord {
            role: "consensus".into(),
            uri: "pkcs11:token=bixi".into(),
            extractable: false,
            custody: "software token (key in process memory)".into(),
            public_key: None,
        };
        Report {
            suite: "sm",
            nodes: 1,
            txs: 100,
            committed: 100,
            tps: 1234.5678,
            p50_ms: 1.0,
            p99_ms: 2.0,
            height: 3,
            heads_equal: true,
            state_roots_equal: true,
            quorum_verified: true,
            proof_verified: true,
            at_rest: AtRest {
                marker_hits: Vec::new(),
                files: 9,
                flips: vec![
                    Flip {
                        node: "node0".into(),
                        kind: "write-ahead log",
                        file: Some("ledger/1.log".into()),
                        outcome: Outcome::Refused("tampered".into()),
                    },
                    Flip {
                        node: "node0".into(),
                        kind: "table",
                        file: None,
                        outcome: Outcome::Skipped("there is none"),
                    },
                ],
            },
            keys: vec![("node0".into(), key)],
            placement: vec![("node0".into(), json!([{"thread": "consensus", "cores": [0], "numa_node": 0}]))],
            rss: vec![Rss { now: 60, peak: 71 }],
            placement_mode: "shared".into(),
            rpc: vec!["http://127.0.0.1:1".into()],
            failed: 0,
            failures: Vec::new(),
        }
    }

    #[test]
    fn every_check_counts() {
        assert!(sound().holds());
        let breaks: [fn(&mut Report); 9] = [
            |report| report.committed = 99,
            |report| report.heads_equal = false,
            |report| report.state_roots_equal = false,
            |report| report.quorum_verified = false,
            |report| report.proof_verified = false,
            |report| report.at_rest.marker_hits.push("x".into()),
            |report| report.at_rest.flips[0].outcome = Outcome::Unnoticed,
            |report| report.keys[0].1.extractable = true,
            |report| report.failed = 1,
        ];
        for (index, make_wrong) in breaks.iter().enumerate() {
            let mut report = sound();
            make_wrong(&mut report);
            assert!(!report.holds(), "check {index}");
        }
    }

    #[test]
    fn the_json_has_the_promised_keys() {
        let shown = sound().to_json();
        for path in [
            "/suite",
            "/nodes",
            "/txs",
            "/committed",
            "/tps",
            "/latency_ms/p50",
            "/latency_ms/p99",
            "/height",
            "/heads_equal",
            "/state_roots_equal",
            "/quorum_verified",
            "/proof_verified",
            "/at_rest/marker_hits",
            "/at_rest/flip_refused",
            "/at_rest/flips_skipped",
            "/keys/0/node",
            "/keys/0/role",
            "/keys/0/uri",
            "/keys/0/extractable",
            "/rss_mib/0",
            "/placement/0/node",
            "/placement/0/thread",
            "/placement/0/cores",
            "/placement/0/numa_node",
            "/rpc/0",
        ] {
            assert!(shown.pointer(path).is_some(), "{path}");
        }
        assert_eq!(shown["tps"], json!(1234.57));
    }

    #[test]
    fn what_was_not_tried_is_not_claimed() {
        let shown = sound().to_json();
        assert_eq!(shown["at_rest"]["flips_skipped"], 1);
        assert_eq!(shown["at_rest"]["flips"][1]["skipped"], "there is none");
        assert!(sound().to_text().contains("node0: skipped: a flipped byte in a table: there is none"));
        let mut nothing_tried = sound();
        nothing_tried.at_rest.flips.remove(0);
        assert!(!nothing_tried.holds());
    }

    #[test]
    fn the_table_says_where_keys_are() {
        assert!(sound().to_text().contains("software token (key in process memory), not extractable"));
    }
}
