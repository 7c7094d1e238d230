//! A test at every rung of the ladder, each in a process of its own: the choice of kernels is made once per process.
#![allow(dead_code, reason = "each test program takes what it needs")]

use bixi_accel::cpu;
use std::ffi::OsStr;
use std::process::Command;

/// Set for a child: run as it is told, do not start children.
const CHILD: &str = "BIXI_ACCEL_CHILD";

/// Where programs for this processor run by an emulator: the emulator and its options, by which children are started as well.
const EMULATOR: &str = "BIXI_ACCEL_EMULATOR";

/// All values of `BIXI_CPU`, portable first.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) const RUNGS: [&str; 6] = ["portable", "sse", "avx2", "gfni", "avx512", "best"];
#[cfg(target_arch = "aarch64")]
pub(crate) const RUNGS: [&str; 5] = ["portable", "neon", "aes", "sm", "best"];

/// Called first in the test `test`: runs that test again in one process for each rung, where only `run` is called, and
/// returns each rung with what its process printed; `None` in those processes.
pub(crate) fn climb(test: &str, run: impl FnOnce()) -> Option<Vec<(&'static str, String)>> {
    if is_child() {
        // The harness has written the test's name and no end of line.
        println!();
        run();
        return None;
    }
    Some(RUNGS.iter().map(|rung| (*rung, child(test, rung, &[]))).collect())
}

/// Whether this process runs one rung; its choice of kernels is then made.
pub(crate) fn is_child() -> bool {
    let child = std::env::var_os(CHILD).is_some();
    if child {
        cpu::configure_from_env().expect("a rung, before the first operation");
    }
    child
}

/// Runs the test `test` once more in a process for `rung` and returns what it printed.
pub(crate) fn child(test: &str, rung: &str, environment: &[(&str, &str)]) -> String {
    let emulator = std::env::var(EMULATOR).unwrap_or_default();
    let program = std::env::current_exe().expect("this program");
    let mut words = emulator.split_whitespace().map(OsStr::new).chain([program.as_os_str()]);
    let output = Command::new(words.next().expect("one word at least"))
        .args(words)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env(cpu::OVERRIDE_VARIABLE, rung)
        .envs(environment.iter().copied())
        .output()
        .expect("this program, once more");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "on {rung}:\n{text}");
    text.into_owned()
}
