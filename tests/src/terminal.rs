//! A person at a terminal: a program whose controlling terminal is ours to read and to type at.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::binary;

/// How long a prompt is waited for, on a machine under load.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// `bixi` at a terminal that util-linux' `script` makes for it. Dropping it ends it.
pub struct AtTerminal {
    script: Child,
    typed: ChildStdin,
    shown: Arc<Mutex<String>>,
    /// What was waited for lies before this place.
    read: usize,
    /// Where standard output goes, and the process id.
    place: tempfile::TempDir,
}

impl AtTerminal {
    /// Starts it in `directory`; its standard output is not the terminal.
    ///
    /// # Panics
    /// Without `script`, or with an argument that a shell would not take as it is.
    pub fn start(arguments: &[&str], directory: &Path) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let quoted = |word: &str| {
            assert!(!word.contains('\''), "{word}");
            format!("'{word}'")
        };
        let at = |name: &str| quoted(place.path().join(name).to_str().expect("a path"));
        let program = binary("bixi").to_str().map(quoted).expect("a path");
        let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        let line = format!("echo $$ > {}; exec {program} {} > {}", at("process"), words.join(" "), at("printed"));
        let mut command = Command::new("script");
        // Without a terminal of its own `script` would begin with the echo off.
        command.args(["--quiet", "--return", "--echo", "always", "--command", &line, "/dev/null"]);
        command.current_dir(directory).env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().expect("script, of util-linux");
        let (typed, mut source) = (script.stdin.take().expect("piped"), script.stdout.take().expect("piped"));
        let shown = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = source.read(&mut part) {
                bytes.extend_from_slice(&part[..count]);
                // A character may be cut between two reads.
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        Self { script, typed, shown, read: 0, place }
    }

    /// Everything that was shown so far.
    pub fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a text is shown after the last one that was waited for.
    ///
    /// # Panics
    /// When it is not, in a long time; with what was shown.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let begin = Instant::now();
        loop {
            let shown = self.shown();
            if let Some(at) = shown[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "no {text:?} after: {}", &shown[self.read..]);
            std::thread::sleep(PAUSE);
        }
    }

    /// Types a line once a text is shown.
    #[track_caller]
    pub fn answer(&mut self, prompt: &str, line: &str) {
        self.wait_for(prompt);
        self.typed.write_all(format!("{line}\n").as_bytes()).expect("the terminal is open");
    }

    /// kill -9.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn kill(mut self) {
        let process = fs::read_to_string(self.file("process")).expect("it was started");
        let process = process.trim().parse().ok().and_then(Pid::from_raw).expect("a process");
        kill_process(process, Signal::KILL).expect("it runs");
        self.script.wait().expect("ours");
    }

    /// Waits for its end; what it printed, and its exit status.
    ///
    /// # Panics
    /// When the system loses it.
    pub fn wait(mut self) -> Output {
        let status = self.script.wait().expect("ours");
        assert!(status.signal().is_none(), "script was ended: {status}");
        let mut stdout = Vec::new();
        File::open(self.file("printed")).and_then(|mut file| file.read_to_end(&mut stdout)).expect("what it printed");
        Output { status, stdout, stderr: self.shown().into_bytes() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        // Its terminal goes with it, and what runs there is told by SIGHUP.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
