//! The broker of a node as its officers see it: a supervisor, its worker, a socket.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::chain::wait_until;
use crate::process::{Ended, Process, service};
use crate::settings;

/// Where the brokers of these tests listen, beside the node file.
const SOCKET: &str = "broker.sock";

/// Has a node ask its broker.
pub fn configure(config: &Path) {
    settings::set(config, "hsm", "broker", &format!("{SOCKET:?}"));
}

/// Where the broker of a node listens.
pub fn socket(config: &Path) -> PathBuf {
    config.with_file_name(SOCKET)
}

fn serve(mut command: Command, config: &Path) -> Command {
    command.args(["hsm", "serve", "--ready-json", "--config"]).arg(config);
    command
}

/// A `bixi hsm serve` process whose first worker has said it is ready. Dropping it kills both.
pub struct RunningBroker(Process);

impl RunningBroker {
    /// Starts the broker of a `bixi.toml` and waits until it answers.
    ///
    /// # Panics
    /// When it does not come to answer.
    pub fn start(config: &Path) -> Self {
        Self::try_start(config).unwrap_or_else(|ended| panic!("no broker, {}: {}", ended.status, ended.said))
    }

    /// Starts the broker; an error when it ended instead of answering.
    pub fn try_start(config: &Path) -> Result<Self, Ended> {
        Self::try_start_by(service(), config)
    }

    /// The same, by a command that becomes `bixi` and to which only the arguments are missing.
    pub fn try_start_by(command: Command, config: &Path) -> Result<Self, Ended> {
        Process::start(serve(command, config)).map(|(process, _)| Self(process))
    }

    /// The same, without waiting for its first worker.
    pub fn spawn_by(command: Command, config: &Path) -> Self {
        Self(Process::spawn(serve(command, config)))
    }

    /// The workers that were ready, in order; the last one may have ended.
    ///
    /// # Panics
    /// When the supervisor says something else.
    pub fn workers(&self) -> Vec<i32> {
        let said = self.0.put_out();
        // The last line may be half written.
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let number = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("a ready line is JSON");
            line["worker"].as_i64().and_then(|number| i32::try_from(number).ok()).expect("a process")
        };
        whole.lines().map(number).collect()
    }

    /// The worker that was ready last.
    ///
    /// # Panics
    /// When there was none.
    pub fn worker(&self) -> i32 {
        *self.workers().last().expect("a worker was ready")
    }

    /// Sends the worker a signal; it may be gone.
    pub fn signal_worker(&self, signal: Signal) {
        let worker = Pid::from_raw(self.worker()).expect("a process");
        let _ = kill_process(worker, signal);
    }

    /// Waits until more than `count` workers were ready.
    ///
    /// # Panics
    /// When no further one is.
    pub fn wait_for_another(&self, count: usize) {
        wait_until("another worker", || self.workers().len() > count);
    }

    /// What supervisor and workers have logged so far.
    pub fn said(&self) -> String {
        self.0.said()
    }

    /// The supervisor's process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// Waits until it has ended by itself.
    pub fn wait_end(self) -> Ended {
        self.0.wait_end(|| "of a broker".to_owned())
    }
}
