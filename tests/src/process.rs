//! A `bixi` process and what it says.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::binary;

const START_DEADLINE: Duration = Duration::from_secs(180);
const END_DEADLINE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(5);

/// Whether a process is there and has not ended: one that nobody has waited for yet is there and has.
pub fn is_running(process: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // proc(5): the state stands behind the name, which may hold anything but ends with the last parenthesis.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
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

/// A process with a log and an output. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    log: Words,
    out: Words,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no such program.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let (log, out) = (Words::new(), Words::new());
        command.stdout(out.writer()).stderr(log.writer());
        Self { child: command.spawn().expect("bixi starts"), log, out }
    }

    /// Starts it and waits for its first line; an error when it ended instead.
    ///
    /// # Panics
    /// When it neither ends nor says anything.
    pub(crate) fn start(command: Command) -> Result<(Self, String), Ended> {
        let mut process = Self::spawn(command);
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let (ended, said) = (process.ended(), process.out.text());
            if let Some((line, _)) = said.split_once('\n') {
                return Ok((process, line.to_owned()));
            }
            if let Some(status) = ended {
                return Err(Ended { status, said: process.log.text() });
            }
            assert!(Instant::now() < deadline, "neither ready nor ended: {}", process.log.text());
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it goes on; `state` says what it does instead.
    pub(crate) fn wait_end(mut self, state: impl Fn() -> String) -> Ended {
        let deadline = Instant::now() + END_DEADLINE;
        loop {
            if let Some(status) = self.ended() {
                return Ended { status, said: self.said() };
            }
            assert!(Instant::now() < deadline, "the process does not end: {}", state());
            std::thread::sleep(PAUSE);
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// What it has logged so far.
    pub(crate) fn said(&self) -> String {
        self.log.text()
    }

    /// What it has put out so far.
    pub(crate) fn put_out(&self) -> String {
        self.out.text()
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it was waited for already.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child of ours takes signals");
    }
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
