//! The demonstration's report: the same facts as a table and as one JSON object.

use bixi_runtime::chain::KeyRecord;
use serde_json::{Value, json};

use crate::console::table;
use crate::demo::at_rest::AtRest;

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
    /// As the node says it.
    pub(crate) placement: Value,
    pub(crate) placement_mode: String,
    pub(crate) rpc: Vec<String>,
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Whether every check holds.
    pub(crate) fn holds(&self) -> bool {
        self.committed == self.txs
            && self.failures.is_empty()
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
            .map(|flip| json!({"file": flip.file.display().to_string(), "refusal": flip.refusal}))
            .collect();
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
                "flips": flips,
            },
            "keys": keys,
            "placement_mode": self.placement_mode,
            "placement": self.placement,
            "rpc": self.rpc,
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
                said(self.proof_verified, "Merkle proofs of a transaction and its receipt verified from outside"),
            ],
            ["at rest".to_owned(), self.markers()],
        ];
        for flip in &self.at_rest.flips {
            let text = match &flip.refusal {
                Some(words) => format!("one flipped byte in {} is refused: {words}", flip.file.display()),
                None => format!("FAILED: one flipped byte in {} went unnoticed", flip.file.display()),
            };
            rows.push([String::new(), text]);
        }
        for (node, key) in &self.keys {
            let extractable = if key.extractable { "EXTRACTABLE" } else { "not extractable" };
            rows.push(["key".to_owned(), format!("{node} {}: {}, {extractable}; {}", key.role, key.custody, key.uri)]);
        }
        rows.push(["rpc".to_owned(), self.rpc.join(" ")]);
        for failure in self.failures.iter().take(5) {
            rows.push(["failure".to_owned(), failure.clone()]);
        }
        format!("{}\n\nplacement ({})\n{}", table(&rows), self.placement_mode, self.placement_table())
    }

    fn markers(&self) -> String {
        match self.at_rest.marker_hits.len() {
            0 => format!("no marker of the load in any of {} files", self.at_rest.files),
            hits => format!("FAILED: markers of the load in {hits} files"),
        }
    }

    fn placement_table(&self) -> String {
        let rows = self.placement.as_array().map(Vec::as_slice).unwrap_or_default();
        let rows: Vec<[String; 3]> = rows
            .iter()
            .map(|row| {
                let node = row["numa_node"].as_u64().map_or_else(|| "-".to_owned(), |node| node.to_string());
                let thread = row["thread"].as_str().unwrap_or_default();
                [format!("  {thread}"), format!("node {node}"), format!("cores {}", row["cores"])]
            })
            .collect();
        table(&rows)
    }
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
                flips: vec![Flip { file: "ledger/1.log".into(), refusal: Some("tampered".into()) }],
            },
            keys: vec![("node0".into(), key)],
            placement: json!([{"thread": "consensus", "cores": [0], "numa_node": 0}]),
            placement_mode: "shared".into(),
            rpc: vec!["http://127.0.0.1:1".into()],
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
            |report| report.at_rest.flips[0].refusal = None,
            |report| report.keys[0].1.extractable = true,
            |report| report.failures.push("status 12".into()),
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
            "/keys/0/node",
            "/keys/0/role",
            "/keys/0/uri",
            "/keys/0/extractable",
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
    fn the_table_says_where_keys_are() {
        assert!(sound().to_text().contains("software token (key in process memory), not extractable"));
    }
}
