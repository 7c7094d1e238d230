//! A `bixi` of the demonstration that runs as a process of its own, a node or the broker of one.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

pub(crate) const START_DEADLINE: Duration = Duration::from_secs(180);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How long a killed process may take to vanish.
const REAP_DEADLINE: Duration = Duration::from_secs(5);
const REAP_PERIOD: Duration = Duration::from_millis(5);

/// A process that said that it is ready; killed when dropped without having been stopped.
pub(crate) struct Service {
    process: Held,
    log: PathBuf,
    /// What it said when it was ready.
    pub(crate) ready: Value,
    /// Where its next words would come; closed, they would be a broken pipe to it.
    _stdout: BufReader<ChildStdout>,
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
pub(crate) enum Started<T> {
    Ready(Box<T>),
    /// It ended by itself, with its last words.
    Refused(String),
}

/// A process that was started and has not said yet that it is ready.
pub(crate) struct Starting {
    process: Held,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

/// Starts `bixi` with `arguments` and a node file, its log in `log`. Must be called on the main thread: the kernel tells the process that
/// its parent is gone when the thread that started it is.
pub(crate) fn start(arguments: &[&str], config: &Path, log: &Path) -> anyhow::Result<Starting> {
    let log_file = File::create(log).with_context(|| log.display().to_string())?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(arguments).arg("--config").arg(config).arg("--ready-json");
    // Whatever ends this process, kill -9 included, stops the other one.
    command.arg("--stop-with").arg(std::process::id().to_string());
    // Ctrl-C reaches this process, which then stops the others in order.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file).process_group(0);
    let spawned = Command::from(command).spawn();
    let mut process = Held(spawned.with_context(|| format!("cannot start `bixi {}`", arguments.join(" ")))?);
    let stdout = process.0.stdout.take().ok_or_else(|| anyhow!("the process has no standard output"))?;
    Ok(Starting { process, stdout: BufReader::new(stdout), log: log.to_owned() })
}

impl Starting {
    /// Waits until it is ready or ended.
    pub(crate) async fn ready(mut self) -> anyhow::Result<Started<Service>> {
        let log = self.log.display();
        let mut line = String::new();
        match tokio::time::timeout(START_DEADLINE, self.stdout.read_line(&mut line)).await {
            Err(_) => bail!("not ready within {} s; its log is {log}", START_DEADLINE.as_secs()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) => {
                self.process.0.wait().await?;
                Ok(Started::Refused(last_words(&self.log)))
            }
            Ok(Ok(_)) => {
                let ready = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
                let Self { process, stdout, log } = self;
                Ok(Started::Ready(Box::new(Service { process, log, ready, _stdout: stdout })))
            }
        }
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let said = text.lines().rev().find(|line| !line.trim().is_empty());
    said.unwrap_or("it said nothing").trim_start_matches("bixi: ").to_owned()
}

impl Service {
    /// Its process, while it is one.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.0.id()
    }

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&self) -> anyhow::Result<()> {
        match self.id().and_then(|id| Pid::from_raw(id as i32)) {
            Some(id) => Ok(kill_process(id, Signal::TERM)?),
            None => Ok(()),
        }
    }

    /// Waits for the end it was asked for; an exit status other than 0 is an error.
    pub(crate) async fn stopped(mut self) -> anyhow::Result<()> {
        let status = tokio::time::timeout(STOP_DEADLINE, self.process.0.wait())
            .await
            .with_context(|| format!("it did not stop within {} s", STOP_DEADLINE.as_secs()))??;
        if !status.success() {
            bail!("it ended with {status}: {}; its log is {}", last_words(&self.log), self.log.display());
        }
        Ok(())
    }

    /// How it ended, if it has, and its last words.
    pub(crate) fn epitaph(&mut self) -> Option<String> {
        let status = self.process.0.try_wait().ok()??;
        Some(format!("ended with {status}: {}; its log is {}", last_words(&self.log), self.log.display()))
    }
}
