//! A node as its users see it: a process with files, a log, a socket and an exit status.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::binary;
use crate::process::Process;
use crate::rpc::{CallError, Connection};

pub use crate::process::{Ended, service};

/// Makes a chain of one node, whose contracts see keccak256, below `place`; returns its `bixi.toml`. The system chooses its port.
///
/// # Panics
/// When `bixi chain new` fails.
pub fn make_chain(place: &Path) -> PathBuf {
    let chain = place.join("chain");
    let mut command = Command::new(binary("bixi"));
    command.args(["chain", "new", "--rpc-port", "0", "--evm-hash", "keccak256", "--dir"]).arg(&chain);
    let made = command.output().expect("bixi starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    chain.join("node0/bixi.toml")
}

/// A `bixi run` process that has said it is ready. Dropping it kills it.
pub struct RunningNode {
    process: Process,
    /// Where its JSON-RPC listens.
    pub rpc: SocketAddr,
}

impl RunningNode {
    /// Starts the node of a `bixi.toml` and waits for its ready line.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(config: &Path) -> Self {
        Self::try_start(config).unwrap_or_else(|ended| panic!("not ready, {}: {}", ended.status, ended.said))
    }

    /// Starts the node; an error when it ended instead of becoming ready.
    pub fn try_start(config: &Path) -> Result<Self, Ended> {
        Self::try_start_with(config, |_| ())
    }

    /// The same, with something of the caller's added to the command.
    pub fn try_start_with(config: &Path, adjust: impl FnOnce(&mut Command)) -> Result<Self, Ended> {
        let mut command = service();
        adjust(&mut command);
        Self::try_start_by(command, config)
    }

    /// The same, by a command that becomes `bixi` and to which only the arguments are missing.
    ///
    /// # Panics
    /// When it neither ends nor becomes ready.
    pub fn try_start_by(mut command: Command, config: &Path) -> Result<Self, Ended> {
        command.args(["run", "--ready-json", "--config"]).arg(config);
        let (process, line) = Process::start(command)?;
        Ok(Self { rpc: rpc_address(&line), process })
    }

    /// kill -9 while others hold the node: no handler of its runs. Dropping it reaps it.
    pub fn kill_now(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait_end(self) -> Ended {
        let rpc = self.rpc;
        self.process.wait_end(|| format!("its health: {:?}", health(rpc)))
    }

    /// What it has logged so far.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// A connection to it.
    pub fn connect(&self) -> Result<Connection, CallError> {
        Connection::open(self.rpc)
    }

    /// One JSON-RPC call on a connection of its own.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        self.connect()?.call(method, params)
    }

    /// Its height.
    ///
    /// # Panics
    /// When it does not say.
    pub fn height(&self) -> i64 {
        let height = self.call("getBlockNumber", serde_json::json!(["group0", ""])).expect("a height");
        height.as_i64().expect("a number")
    }

    /// HTTP status and content of `/healthz`.
    pub fn health(&self) -> Result<(u16, Value), CallError> {
        health(self.rpc)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it was waited for already.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }
}

fn health(rpc: SocketAddr) -> Result<(u16, Value), CallError> {
    let (status, body) = Connection::open(rpc)?.get("/healthz")?;
    Ok((status, serde_json::from_slice(&body).map_err(std::io::Error::other)?))
}

fn rpc_address(ready_line: &str) -> SocketAddr {
    let ready: Value = serde_json::from_str(ready_line).expect("the ready line is JSON");
    let url = ready["rpc"].as_str().expect("an address");
    url.trim_start_matches("http://").parse().expect("an address and port")
}
