//! Where a node stands, as a table and as JSON.

use std::net::SocketAddr;

use anyhow::Context as _;
use bixi_runtime::Settings;
use bixi_runtime::data_keys::Progress;
use bixi_runtime::data_keys::control::{self, Request};
use bixi_runtime::doctor::{self, CertificateDays};
use serde_json::{Value, json};

use crate::chain::SHORT_ID_DIGITS;
use crate::client::Client;
use crate::console::table;

/// Answers of the node, and what its files say.
pub(super) struct Standing {
    rpc: SocketAddr,
    /// `getNodeStatus`.
    node: Value,
    /// `getSyncStatus`.
    sync: Value,
    /// `getConsensusStatus`.
    consensus: Value,
    /// Validators that signed the head.
    signatures: usize,
    disk_free_mib: u64,
    disk_wanted_mib: u64,
    certificates: Vec<CertificateDays>,
    /// The exchange of the data keys, while one is under way and may be asked for by this user.
    exchange: Option<Progress>,
}

impl Standing {
    pub(super) async fn ask(client: &mut Client, settings: &Settings, rpc: SocketAddr) -> anyhow::Result<Self> {
        let group = &settings.genesis.group_id;
        let node = client.call("getNodeStatus", json!([group, ""])).await?;
        let sync = text_of(client.call("getSyncStatus", json!([group, ""])).await?)?;
        let consensus = text_of(client.call("getConsensusStatus", json!([group, ""])).await?)?;
        let head = client.call("getBlockByNumber", json!([group, "", sync["blockNumber"], true, true])).await?;
        Ok(Self {
            rpc,
            node,
            sync,
            consensus,
            signatures: head["signatureList"].as_array().map_or(0, Vec::len),
            disk_free_mib: doctor::free_mib(settings).context("the disk of data_dir")?,
            disk_wanted_mib: settings.config.storage.free_mb_min,
            certificates: doctor::certificate_days(settings),
            exchange: control::ask(settings, &Request::Progress).ok().flatten().filter(Progress::is_under_way),
        })
    }

    /// Nothing of the node is faulty, the disk has room, and no certificate has ended.
    pub(super) fn is_well(&self) -> bool {
        self.faults().next().is_none()
            && self.disk_free_mib >= self.disk_wanted_mib
            && self.certificates.iter().all(|certificate| certificate.days.as_ref().is_ok_and(|days| *days >= 0))
    }

    fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        let checks = self.node["checks"].as_array().into_iter().flatten();
        checks.filter_map(|check| Some((check["component"].as_str()?, check["fault"].as_str()?)))
    }

    fn height(&self) -> u64 {
        self.sync["blockNumber"].as_u64().unwrap_or(0)
    }

    /// Blocks that a peer has and this node has not; `None` when there are peers and none told its height.
    fn lag(&self) -> Option<u64> {
        let is_told = self.peers().is_empty() || self.peers().iter().any(|peer| peer["blockNumber"].is_u64());
        let highest = self.sync["knownHighestNumber"].as_u64().unwrap_or(0);
        is_told.then(|| highest.saturating_sub(self.height()))
    }

    fn peers(&self) -> &[Value] {
        self.node["peers"].as_array().map_or(&[], Vec::as_slice)
    }

    fn validators(&self) -> &[Value] {
        self.consensus["consensusNodeList"].as_array().map_or(&[], Vec::as_slice)
    }

    fn leader(&self) -> &str {
        let leader = self.consensus["leaderIndex"].as_u64().and_then(|index| self.validators().get(index as usize));
        leader.and_then(|validator| validator["nodeID"].as_str()).unwrap_or_default()
    }

    pub(super) fn to_json(&self) -> Value {
        let faults: Vec<Value> =
            self.faults().map(|(component, fault)| json!({"component": component, "fault": fault})).collect();
        let certificates: Vec<Value> = self
            .certificates
            .iter()
            .map(|certificate| {
                json!({
                    "file": certificate.file,
                    "days": certificate.days.as_ref().ok(),
                    "fault": certificate.days.as_ref().err(),
                })
            })
            .collect();
        json!({
            "ok": self.is_well(),
            "node": self.node["name"],
            "id": self.node["nodeID"],
            "version": self.node["version"],
            "rpc": format!("http://{}", self.rpc),
            "height": self.height(),
            "hash": self.sync["latestHash"],
            "lag": self.lag(),
            "mode": self.node["mode"],
            "snapshot": self.node["snapshot"],
            "custody": self.node["custody"],
            "ordering_height": self.node["orderingHeight"],
            "round": self.node["round"],
            "leader": self.leader(),
            "validators": self.validators().len(),
            "quorum_weight": self.consensus["minRequiredQuorum"],
            "checkpoint": {
                "height": self.height(), "signatures": self.signatures, "certified": self.node["certified"],
            },
            "peers": self.peers(),
            "faults": faults,
            "disk_free_mib": self.disk_free_mib,
            "certificates": certificates,
            "data_keys": self.exchange.as_ref().map(|now| {
                json!({"epoch": now.epoch, "step": now.step, "bytes": now.bytes, "bytes_total": now.bytes_total})
            }),
        })
    }

    pub(super) fn to_text(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let validators = self.validators().len();
        let row = |name: &str, text: String| [name.to_owned(), text];
        let mut rows = vec![
            row(
                "node",
                format!(
                    "{} {}, bixi {}, http://{}",
                    text(&self.node["name"]),
                    short(&self.node["nodeID"]),
                    text(&self.node["version"]),
                    self.rpc
                ),
            ),
            row(
                "height",
                match self.lag() {
                    Some(lag) => format!("{}, {lag} behind the highest peer", self.height()),
                    None => format!("{}, no peer's height is known", self.height()),
                },
            ),
            row("mode", text(&self.node["mode"])),
            row(
                "round",
                format!(
                    "height {}, round {}, proposer {}",
                    self.node["orderingHeight"],
                    self.node["round"],
                    clipped(self.leader())
                ),
            ),
            row(
                "checkpoint",
                format!(
                    "height {} signed by {} of {validators} validators, quorum weight {}",
                    self.height(),
                    self.signatures,
                    self.consensus["minRequiredQuorum"]
                ),
            ),
        ];
        rows.extend(self.node["custody"].as_str().map(|custody| row("keys", custody.to_owned())));
        rows.extend(self.snapshot().map(|text| row("snapshot", text)));
        rows.extend(self.exchange.as_ref().map(|now| {
            let (done, total) = (now.bytes >> 20, now.bytes_total >> 20);
            row("data keys", format!("{done} of {total} MiB sealed anew under epoch {}: {}", now.epoch, now.step))
        }));
        rows.extend(self.node["checks"].as_array().into_iter().flatten().map(|check| {
            let fault = check["fault"].as_str().map_or_else(|| "well".to_owned(), |fault| format!("NOT WELL: {fault}"));
            row(check["component"].as_str().unwrap_or_default(), fault)
        }));
        let missing = if self.disk_free_mib < self.disk_wanted_mib { "TOO LITTLE: " } else { "" };
        rows.push(row("disk", format!("{missing}{} MiB free, {} wanted", self.disk_free_mib, self.disk_wanted_mib)));
        rows.extend(self.certificates.iter().map(|certificate| {
            let state = match &certificate.days {
                Ok(days) if *days < 0 => format!("ENDED {} days ago", -days),
                Ok(days) => format!("valid for {days} days"),
                Err(error) => format!("UNREADABLE: {error}"),
            };
            row("certificate", format!("{}: {state}", certificate.file))
        }));
        let connected = self.peers().iter().filter(|peer| peer["connected"] == json!(true)).count();
        rows.push(row("peers", format!("{connected} of {} connected", self.peers().len())));
        if self.peers().is_empty() {
            return table(&rows);
        }
        format!("{}\n\n{}", table(&rows), self.peer_table())
    }

    /// How far the snapshot is that the node fetches, if it does.
    fn snapshot(&self) -> Option<String> {
        let snapshot = &self.node["snapshot"];
        let number = |key: &str| snapshot[key].as_u64();
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let left = number("secondsLeft").map_or_else(String::new, |seconds| format!(", about {seconds} s left"));
        Some(format!(
            "{} % of the one at height {} ({}), {:.1} MiB at {:.1} MiB/s{left}",
            number("percent")?,
            number("blockNumber")?,
            snapshot["phase"].as_str()?,
            mebibytes(number("receivedBytes")?),
            mebibytes(number("bytesPerSecond")?),
        ))
    }

    fn peer_table(&self) -> String {
        let mut rows = vec![["  peer", "address", "height", "rtt", "certificate", "state"].map(str::to_owned)];
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        rows.extend(self.peers().iter().map(|peer| {
            let sessions: Vec<&str> =
                peer["sessions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let state = match (peer["connected"] == json!(true), peer["lastRefusal"].as_str()) {
                (true, _) => "connected".to_owned(),
                (false, Some(reason)) => format!("not connected: {reason}"),
                (false, None) if sessions.is_empty() => "not connected".to_owned(),
                (false, None) => format!("only {}", sessions.join(", ")),
            };
            [
                format!("  {}", short(&peer["nodeID"])),
                peer["endPoint"].as_str().unwrap_or_default().to_owned(),
                or_dash(peer["blockNumber"].as_u64().map(|height| height.to_string())),
                or_dash(peer["rtt_us"].as_u64().map(|us| format!("{:.1} ms", us as f64 / 1_000.0))),
                or_dash(peer["certificateDays"].as_i64().map(|days| format!("{days} days"))),
                state,
            ]
        }));
        table(&rows)
    }
}

/// FISCO BCOS answers some methods as a JSON text inside a string.
fn text_of(answer: Value) -> anyhow::Result<Value> {
    serde_json::from_str(answer.as_str().context("an answer is not text")?).context("an answer is not JSON")
}

fn short(id: &Value) -> String {
    clipped(id.as_str().unwrap_or_default()).to_owned()
}

fn clipped(id: &str) -> &str {
    id.get(..SHORT_ID_DIGITS).unwrap_or(if id.is_empty() { "-" } else { id })
}

#[cfg(test)]
mod tests {
    use bixi_runtime::data_keys::Wish;

    use super::*;

    fn sound() -> Standing {
        let id = "ab".repeat(64);
        Standing {
            rpc: "127.0.0.1:20200".parse().unwrap(),
            node: json!({
                "name": "node0", "nodeID": id, "version": "0.1.0", "mode": "voting", "orderingHeight": 8, "round": 0,
                "certified": 7, "checks": [{"component": "device", "fault": null}],
                "peers": [
                    {"nodeID": "cd".repeat(64), "endPoint": "10.0.0.2:30300", "sessions": ["consensus", "bulk"],
                     "connected": true, "rtt_us": 1500, "certificateDays": 88, "blockNumber": 9, "lastRefusal": null},
                    {"nodeID": null, "endPoint": "10.0.0.3:30300", "sessions": [], "connected": false,
                     "rtt_us": null, "blockNumber": null, "lastRefusal": "its certificate has ended"},
                ],
            }),
            sync: json!({"blockNumber": 7, "knownHighestNumber": 9, "latestHash": "00"}),
            consensus: json!({"leaderIndex": 0, "minRequiredQuorum": 3, "consensusNodeList": [{"nodeID": id}]}),
            signatures: 3,
            disk_free_mib: 1000,
            disk_wanted_mib: 256,
            certificates: vec![CertificateDays { file: "conf/node.crt".into(), days: Ok(700) }],
            exchange: None,
        }
    }

    #[test]
    fn a_snapshot_under_way_is_shown_with_rate_and_time_left() {
        let mut standing = sound();
        assert!(!standing.to_text().contains("snapshot"));
        standing.node["snapshot"] = json!({"blockNumber": 9_000, "phase": "state", "receivedBytes": 3 << 20, "percent": 42,
            "bytesPerSecond": 1 << 19, "secondsLeft": 8});
        let shown = standing.to_text();
        assert!(
            shown.contains("42 % of the one at height 9000 (state), 3.0 MiB at 0.5 MiB/s, about 8 s left"),
            "{shown}"
        );
        assert_eq!(standing.to_json()["snapshot"]["percent"], 42);
    }

    #[test]
    fn an_exchange_of_the_data_keys_under_way_is_shown() {
        let wish = Wish { new_epoch: true, drop_older: false, cipher: None, bytes_per_second: None };
        let (step, bytes, bytes_total) = ("ledger".to_owned(), 3 << 20, 7 << 20);
        let exchange = Progress { life: 5, number: 1, wish, epoch: 2, step, bytes, bytes_total, end: None };
        let standing = Standing { exchange: Some(exchange), ..sound() };
        let shown = standing.to_text();
        assert!(shown.contains("3 of 7 MiB sealed anew under epoch 2: ledger"), "{shown}");
        assert_eq!(standing.to_json()["data_keys"]["bytes_total"], 7 << 20);
        assert!(sound().to_json()["data_keys"].is_null());
    }

    #[test]
    fn what_is_faulty_makes_the_node_not_well() {
        assert!(sound().is_well());
        let breaks: [fn(&mut Standing); 4] = [
            |standing| standing.node["checks"][0]["fault"] = json!("gone"),
            |standing| standing.disk_free_mib = 255,
            |standing| standing.certificates[0].days = Ok(-1),
            |standing| standing.certificates[0].days = Err("absent".into()),
        ];
        for (index, make_wrong) in breaks.iter().enumerate() {
            let mut standing = sound();
            make_wrong(&mut standing);
            assert!(!standing.is_well() && standing.to_json()["ok"] == json!(false), "break {index}");
        }
    }

    #[test]
    fn lag_and_peers_are_shown_in_both_forms() {
        let shown = sound().to_json();
        assert_eq!((&shown["height"], &shown["lag"], &shown["validators"]), (&json!(7), &json!(2), &json!(1)));
        assert_eq!(shown["checkpoint"], json!({"height": 7, "signatures": 3, "certified": 7}));
        assert_eq!(shown["certificates"][0], json!({"file": "conf/node.crt", "days": 700, "fault": null}));
        let text = sound().to_text();
        for words in [
            "7, 2 behind the highest peer",
            "height 8, round 0, proposer abababababab",
            "height 7 signed by 3 of 1 validators, quorum weight 3",
            "conf/node.crt: valid for 700 days",
            "1 of 2 connected",
            "  cdcdcdcdcdcd  10.0.0.2:30300  9       1.5 ms  88 days      connected",
            "not connected: its certificate has ended",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        // What no peer told is not made up.
        let mut silent = sound();
        silent.node["peers"][0]["blockNumber"] = Value::Null;
        assert_eq!(silent.to_json()["lag"], Value::Null);
        assert!(silent.to_text().contains("7, no peer's height is known"));
    }
}
