//! A node as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::client::Client;
use crate::demo::service::{self, START_DEADLINE, Service};

const HEALTH_PERIOD: Duration = Duration::from_millis(50);

/// A started node; killed when dropped without having been stopped.
pub(crate) struct NodeProcess {
    pub(crate) service: Service,
    /// Where it answers.
    pub(crate) rpc: SocketAddr,
}

/// How a node's start ended.
pub(crate) type Started = service::Started<NodeProcess>;

/// A node that was started and has not said yet that it is ready.
pub(crate) struct Starting(service::Starting);

/// Starts `bixi run` with its log in `log`. Must be called on the main thread.
pub(crate) fn start(config: &Path, log: &Path) -> anyhow::Result<Starting> {
    service::start(&["run"], config, log).map(Starting)
}

impl Starting {
    /// Waits until it is ready or ended.
    pub(crate) async fn ready(self) -> anyhow::Result<Started> {
        let service = match self.0.ready().await? {
            service::Started::Ready(service) => *service,
            service::Started::Refused(words) => return Ok(Started::Refused(words)),
        };
        let url = service.ready["rpc"].as_str().unwrap_or_default();
        let rpc = url.trim_start_matches("http://").parse().with_context(|| format!("the node's RPC URL {url:?}"))?;
        Ok(Started::Ready(Box::new(NodeProcess { service, rpc })))
    }
}

impl NodeProcess {
    /// Waits until `/healthz` says that the node is well.
    pub(crate) async fn wait_healthy(&self) -> anyhow::Result<()> {
        let well = async {
            loop {
                if let Ok(mut client) = Client::connect(self.rpc).await
                    && client.is_healthy().await.unwrap_or(false)
                {
                    return;
                }
                tokio::time::sleep(HEALTH_PERIOD).await;
            }
        };
        tokio::time::timeout(START_DEADLINE, well).await.context("the node runs but /healthz does not say so")
    }

    /// Memory it has in use, and the most it had, MiB.
    pub(crate) fn rss_mib(&self) -> anyhow::Result<Rss> {
        let id = self.service.id().context("the node has ended")?;
        Rss::parse(&std::fs::read_to_string(format!("/proc/{id}/status"))?)
    }
}

/// Resident memory, MiB (proc(5), `VmRSS` and `VmHWM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rss {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

impl Rss {
    fn parse(status: &str) -> anyhow::Result<Self> {
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
            kib.map(|kib| kib.div_ceil(1024)).with_context(|| format!("the kernel does not say {name}"))
        };
        Ok(Self { now: mib("VmRSS:")?, peak: mib("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mebibytes() {
        let status = "Name:\tbixi\nVmHWM:\t   62465 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(Rss::parse(status).unwrap(), Rss { now: 10, peak: 62 });
        assert!(Rss::parse("Name:\tbixi\n").is_err());
    }
}
