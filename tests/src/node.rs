//! A node as its users see it: a process with files, a log, a socket and an exit status.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::binary;
use crate::rpc::{CallError, Connection};

const START_DEADLINE: Duration = Duration::from_secs(180);
const END_DEADLINE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(5);

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

/// The command that becomes `bixi` as a service manager starts it: no terminal, and SIGHUP not ignored even where the tests themselves
/// were started by `nohup`.
pub fn service() -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(binary("bixi")).stdin(Stdio::null());
    command
}

/// What a process has written so far, in a file without a name: nothing of it is on the disk under test.
struct Words(File);

impl Words {
    fn new() -> Self {
        Self(tempfile::tempfile().expect("a temporary file"))
    }

    fn writer(&self) -> File {
        self.0.try_clone().expect("a second descriptor")
    }

    fn text(&self) -> String {
        let length = self.0.metadata().expect("an open file").len();
        let mut bytes = vec![0; length as usize];
        // The process writes at the shared position, which a positioned read leaves alone.
        self.0.read_exact_at(&mut bytes, 0).expect("the file only grows");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How a node ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its log and its last words.
    pub said: String,
}

impl Ended {
    /// The last line it wrote.
    pub fn last_words(&self) -> &str {
        self.said.lines().last().unwrap_or("it said nothing")
    }
}

/// A `bixi run` process that has said it is ready. Dropping it kills it.
pub struct RunningNode {
    process: Process,
    /// Where its JSON-RPC listens.
    pub rpc: SocketAddr,
}

struct Process {
    child: Child,
    log: Words,
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
        let (log, out) = (Words::new(), Words::new());
        command.args(["run", "--ready-json", "--config"]).arg(config).stdout(out.writer()).stderr(log.writer());
        let mut process = Process { child: command.spawn().expect("bixi starts"), log };
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let (ended, said) = (process.child.try_wait().expect("a child of ours"), out.text());
            if let Some(line) = said.strip_suffix('\n') {
                return Ok(Self { rpc: rpc_address(line), process });
            }
            if let Some(status) = ended {
                return Err(Ended { status, said: process.log.text() });
            }
            assert!(Instant::now() < deadline, "neither ready nor ended: {}", process.log.text());
            std::thread::sleep(PAUSE);
        }
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
    pub fn wait_end(mut self) -> Ended {
        let deadline = Instant::now() + END_DEADLINE;
        loop {
            if let Some(status) = self.process.child.try_wait().expect("a child of ours") {
                return Ended { status, said: self.said() };
            }
            assert!(Instant::now() < deadline, "the node does not end; its health: {:?}", self.health());
            std::thread::sleep(PAUSE);
        }
    }

    /// What it has logged so far.
    pub fn said(&self) -> String {
        self.process.log.text()
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
        let (status, body) = self.connect()?.get("/healthz")?;
        Ok((status, serde_json::from_slice(&body).map_err(std::io::Error::other)?))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it was waited for already.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.child), signal).expect("a child of ours takes signals");
    }
}

fn rpc_address(ready_line: &str) -> SocketAddr {
    let ready: Value = serde_json::from_str(ready_line).expect("the ready line is JSON");
    let url = ready["rpc"].as_str().expect("an address");
    url.trim_start_matches("http://").parse().expect("an address and port")
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.log.text();
            let last: Vec<&str> = said.lines().rev().take(30).collect();
            #[allow(clippy::print_stderr, reason = "the node's last words belong to the failed test's report")]
            last.iter().rev().for_each(|line| eprintln!("node: {line}"));
        }
    }
}
