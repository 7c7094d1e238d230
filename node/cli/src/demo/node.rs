//! A node as a process of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::client::Client;

const START_DEADLINE: Duration = Duration::from_secs(180);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const HEALTH_PERIOD: Duration = Duration::from_millis(50);
/// How long a killed process may take to vanish.
const REAP_DEADLINE: Duration = Duration::from_secs(5);
const REAP_PERIOD: Duration = Duration::from_millis(5);

/// A started node; killed when dropped without having been stopped.
pub(crate) struct NodeProcess {
    process: Held,
    log: PathBuf,
    /// Where it answers.
    pub(crate) rpc: SocketAddr,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

/// A child that does not outlive its holder: when this is dropped it is killed and waited for, so that its directory can go.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let _ = self.0.start_kill();
        let mut waited = Duration::ZERO;
        while waited < REAP_DEADLINE && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(REAP_PERIOD);
            waited += REAP_PERIOD;
        }
    }
}

/// How a start ended.
pub(crate) enum Started {
    Ready(Box<NodeProcess>),
    /// It ended by itself, with its last words.
    Refused(String),
}

/// A node that was started and has not said yet that it is ready.
pub(crate) struct Starting {
    process: Held,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

/// Starts `bixi run` with its log in `log`. Must be called on the main thread: the kernel tells the node that its parent is gone
/// when the thread that started it is.
pub(crate) fn start(config: &Path, log: &Path) -> anyhow::Result<Starting> {
    let log_file = File::create(log).with_context(|| log.display().to_string())?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("run").arg("--config").arg(config).arg("--ready-json");
    // Whatever ends this process, kill -9 included, stops the node.
    command.arg("--stop-with").arg(std::process::id().to_string());
    // Ctrl-C reaches this process, which then stops the node in order.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file).process_group(0);
    let mut process = Held(Command::from(command).spawn().context("cannot start `bixi run`")?);
    let stdout = process.0.stdout.take().ok_or_else(|| anyhow!("the node has no standard output"))?;
    Ok(Starting { process, stdout: BufReader::new(stdout), log: log.to_owned() })
}

impl Starting {
    /// Waits until it is ready or ended.
    pub(crate) async fn ready(mut self) -> anyhow::Result<Started> {
        let log = self.log.display();
        let mut line = String::new();
        match tokio::time::timeout(START_DEADLINE, self.stdout.read_line(&mut line)).await {
            Err(_) => bail!("the node was not ready within {} s; its log is {log}", START_DEADLINE.as_secs()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) => {
                self.process.0.wait().await?;
                Ok(Started::Refused(last_words(&self.log)))
            }
            Ok(Ok(_)) => {
                let ready: Value = serde_json::from_str(&line).with_context(|| format!("the node said {line:?}"))?;
                let url = ready["rpc"].as_str().unwrap_or_default();
                let rpc =
                    url.trim_start_matches("http://").parse().with_context(|| format!("the node's RPC URL {url:?}"))?;
                Ok(Started::Ready(Box::new(NodeProcess { process: self.process, log: self.log, rpc, ready })))
            }
        }
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let said = text.lines().rev().find(|line| !line.trim().is_empty());
    said.unwrap_or("it said nothing").trim_start_matches("bixi: ").to_owned()
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

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&self) -> anyhow::Result<()> {
        match self.process.0.id().and_then(|id| Pid::from_raw(id as i32)) {
            Some(id) => Ok(kill_process(id, Signal::TERM)?),
            None => Ok(()),
        }
    }

    /// Waits for the end it was asked for; an exit status other than 0 is an error.
    pub(crate) async fn stopped(mut self) -> anyhow::Result<()> {
        let status = tokio::time::timeout(STOP_DEADLINE, self.process.0.wait())
            .await
            .with_context(|| format!("the node did not stop within {} s", STOP_DEADLINE.as_secs()))??;
        if !status.success() {
            bail!("the node ended with {status}");
        }
        Ok(())
    }

    /// How it ended, if it has, and its last words.
    pub(crate) fn epitaph(&mut self) -> Option<String> {
        let status = self.process.0.try_wait().ok()??;
        Some(format!("ended with {status}: {}; its log is {}", last_words(&self.log), self.log.display()))
    }

    /// Memory it has in use, and the most it had, MiB.
    pub(crate) fn rss_mib(&self) -> anyhow::Result<Rss> {
        let id = self.process.0.id().context("the node has ended")?;
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
