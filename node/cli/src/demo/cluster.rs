//! All nodes of the demonstration, each two processes of its own: its broker, which has its keys, and the node.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bixi_runtime::chain::{KeyRecord, NodeDirectory, node_directories};
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::demo::node::{self, NodeProcess, Started};
use crate::demo::progress;
use crate::demo::service::{self, Service};

/// How long a node that breaks its connections may take to end.
const EPITAPH_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// One node and what is known of it from outside.
pub(crate) struct Member {
    pub(crate) home: NodeDirectory,
    pub(crate) node: NodeProcess,
    /// What holds its key device, and outlives it.
    broker: Service,
    /// Its keys, as the broker describes them.
    pub(crate) keys: Vec<KeyRecord>,
}

/// Every node; killed when dropped without [`Cluster::stop`].
pub(crate) struct Cluster(pub(crate) Vec<Member>);

impl Cluster {
    /// Starts every node of the chain in `chain` and waits until all are well. They need each other for it: all are started first.
    pub(crate) async fn bring_up(chain: &Path) -> anyhow::Result<Self> {
        let homes = node_directories(chain);
        let brokers = brokers(chain, &homes).await?;
        let keys = described_keys(&homes).await?;
        let spinner = progress::spinner("waiting for the nodes");
        let mut starting = Vec::new();
        for home in &homes {
            starting.push(node::start(&home.config(), &chain.join(format!("{}.log", home.name())))?);
        }
        let mut members = Vec::new();
        for (((home, starting), keys), broker) in homes.into_iter().zip(starting).zip(keys).zip(brokers) {
            match starting.ready().await? {
                Started::Ready(node) => members.push(Member { home, node: *node, broker, keys }),
                Started::Refused(words) => {
                    bail!("{} did not start: {words}; its log is beside it", home.path().display())
                }
            }
        }
        for member in &members {
            member.node.wait_healthy().await.with_context(|| member.home.name())?;
        }
        spinner.finish_and_clear();
        Ok(Self(members))
    }

    /// Where they answer.
    pub(crate) fn rpc(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|member| member.node.rpc).collect()
    }

    /// Where they answer, in words.
    pub(crate) fn urls(&self) -> String {
        self.rpc().iter().map(|rpc| format!("http://{rpc}")).collect::<Vec<_>>().join(" ")
    }

    /// Stops all in order, side by side: the nodes, then what signs for them.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let mut brokers = Vec::new();
        for member in &self.0 {
            member.node.service.ask_to_stop()?;
        }
        for member in self.0 {
            let name = member.home.name();
            member.node.service.stopped().await.with_context(|| name.clone())?;
            member.broker.ask_to_stop()?;
            brokers.push((name, member.broker));
        }
        for (name, broker) in brokers {
            broker.stopped().await.with_context(|| format!("the broker of {name}"))?;
        }
        Ok(())
    }

    /// The last words of one that has ended or does so at once: why a connection to it broke.
    pub(crate) async fn epitaph(&mut self) -> Option<String> {
        tokio::time::timeout(EPITAPH_PATIENCE, self.first_end()).await.ok()
    }

    /// Waits until one ends, which none should.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        bail!("{} by itself", self.first_end().await)
    }

    async fn first_end(&mut self) -> String {
        loop {
            for member in &mut self.0 {
                let name = member.home.name();
                if let Some(words) = member.node.service.epitaph() {
                    return format!("{name} {words}");
                }
                if let Some(words) = member.broker.epitaph() {
                    return format!("the broker of {name} {words}");
                }
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }
}

/// Starts the broker of every node and waits until all answer.
async fn brokers(chain: &Path, homes: &[NodeDirectory]) -> anyhow::Result<Vec<Service>> {
    let starting = homes.iter().map(|home| {
        let log = chain.join(format!("{}.broker.log", home.name()));
        service::start(&["hsm", "serve"], &home.config(), &log)
    });
    let starting = starting.collect::<Result<Vec<_>, _>>()?;
    let mut brokers = Vec::new();
    for (home, starting) in homes.iter().zip(starting) {
        match starting.ready().await? {
            service::Started::Ready(broker) => brokers.push(*broker),
            service::Started::Refused(words) => {
                bail!("the broker of {} did not start: {words}; its log is beside it", home.path().display())
            }
        }
    }
    Ok(brokers)
}

/// The keys of every node as its broker describes them, asked by `bixi doctor`.
async fn described_keys(homes: &[NodeDirectory]) -> anyhow::Result<Vec<Vec<KeyRecord>>> {
    let mut asked = JoinSet::new();
    for (index, home) in homes.iter().enumerate() {
        let mut doctor = Command::new(std::env::current_exe()?);
        doctor.args(["doctor", "--json", "--config"]).arg(home.config()).process_group(0).kill_on_drop(true);
        asked.spawn(async move { (index, doctor.output().await) });
    }
    let mut keys = vec![Vec::new(); homes.len()];
    while let Some(answer) = asked.join_next().await {
        let (index, output) = answer?;
        let output = output.context("cannot start `bixi doctor`")?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`bixi doctor` said: {}", String::from_utf8_lossy(&output.stderr)))?;
        let listed = report["keys"].as_array().filter(|keys| !keys.is_empty());
        let listed = listed.with_context(|| format!("`bixi doctor` lists no keys; it found {}", report["checks"]))?;
        keys[index] = listed.iter().map(KeyRecord::from_json).collect();
    }
    Ok(keys)
}
