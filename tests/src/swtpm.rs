//! A software TPM of a test's own: state in a fresh directory, a Unix socket, stopped by its process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const START_DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// `TPM2_GetRandom` of one byte: any answer, a refusal too, shows that somebody answers.
const ANY_COMMAND: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7B, 0, 1];

/// A running swtpm. Dropping it kills it.
pub struct Swtpm {
    directory: tempfile::TempDir,
    child: Option<Child>,
}

/// Where it is `1`, a machine without swtpm fails the tests that need one.
const REQUIRED: &str = "BIXI_REQUIRE_SWTPM";

/// A fresh [`Swtpm`]; where this machine has none, word of it and the end of the test.
#[macro_export]
macro_rules! swtpm_or_skip {
    () => {
        match $crate::swtpm::Swtpm::fresh() {
            Some(swtpm) => swtpm,
            None => {
                std::eprintln!(
                    "SKIPPED, NOTHING WAS TESTED: there is no swtpm; `packaging/dev/packages.sh --tests` installs it"
                );
                return;
            }
        }
    };
}

impl Swtpm {
    /// A new TPM that nobody has started; `None` where the program is not installed.
    ///
    /// # Panics
    /// When it is there and does not answer; when it is not there and `BIXI_REQUIRE_SWTPM=1`, as wherever every check is run.
    pub fn fresh() -> Option<Self> {
        Self::fresh_of("swtpm", std::env::var_os(REQUIRED).as_deref())
    }

    fn fresh_of(program: &str, required: Option<&OsStr>) -> Option<Self> {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let required = required.is_some_and(|value| value == "1");
        assert!(
            found.is_ok() || !required,
            "there is no {program}, and {REQUIRED}=1: install it, or unset the variable"
        );
        found.ok()?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("state")).expect("a directory in it");
        let mut swtpm = Self { directory, child: None };
        swtpm.start();
        Some(swtpm)
    }

    /// Starts it with the state it has.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start(&mut self) {
        let socket = self.socket();
        let _ = fs::remove_file(&socket);
        let log = File::create(self.path("swtpm.log")).expect("a file of ours");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init"])
            .args(["--tpmstate", &format!("dir={}", self.path("state").display())])
            .args(["--server", &format!("type=unixio,path={}", socket.display())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second descriptor"))
            .stderr(log)
            .spawn()
            .expect("swtpm starts");
        self.child = Some(child);
        let deadline = Instant::now() + START_DEADLINE;
        while !answers(&socket) {
            let log = fs::read_to_string(self.path("swtpm.log")).unwrap_or_default();
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child of ours"));
            assert!(ended.is_none(), "swtpm ended: {log}");
            assert!(Instant::now() < deadline, "swtpm does not answer: {log}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends it as a loss of power would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    /// Sends its process a signal.
    ///
    /// # Panics
    /// When it was ended.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running swtpm");
        kill_process(Pid::from_child(child), signal).expect("a child of ours takes signals");
    }

    /// Its data socket.
    pub fn socket(&self) -> PathBuf {
        self.path("tpm.socket")
    }

    /// A path in its directory, where the test may keep things too.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// One command as it is; what it answered.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn command(&self, command: &[u8]) -> Vec<u8> {
        ask(&self.socket(), command).expect("swtpm answers")
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.kill();
    }
}

fn answers(socket: &Path) -> bool {
    ask(socket, &ANY_COMMAND).is_some()
}

fn ask(socket: &Path, command: &[u8]) -> Option<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(command).ok()?;
    message(&mut stream)
}

/// One command or response, by the length in its header; `None` at the end.
pub fn message(stream: &mut impl std::io::Read) -> Option<Vec<u8>> {
    let mut header = [0; 10];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes(header[2..6].try_into().expect("four bytes")) as usize;
    let mut message = header.to_vec();
    message.resize(length.max(header.len()), 0);
    stream.read_exact(&mut message[10..]).ok()?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_ends_a_test_quietly_only_where_nobody_requires_it() {
        let missing = "/nonexistent/swtpm";
        assert!(Swtpm::fresh_of(missing, None).is_none());
        assert!(Swtpm::fresh_of(missing, Some(OsStr::new("0"))).is_none());
        let required = std::panic::catch_unwind(|| Swtpm::fresh_of(missing, Some(OsStr::new("1"))).is_none());
        assert!(required.is_err(), "the test would have been green without testing anything");
    }
}
