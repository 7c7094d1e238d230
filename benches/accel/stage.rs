//! A process in which every peer can be loaded: under the newest C library that was fetched, and with the switches that peers read
//! when they are loaded.
//!
//! Builds of newer suites ask for a newer C library than the machine may have, and a process has one only. So the bench starts itself
//! again through the loader that came with them, once it has seen that this works; one process keeps all contenders in one race.

use crate::peers;
use bixi_accel::cpu::Limit;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// Set for the process that has been started again.
const STAGED: &str = "BIXI_PEERS_STAGED";
/// An argument that asks whether this executable runs at all.
const PROBE: &str = "--peers-probe";

/// Starts the process again if that helps a peer; returns in the process that is to go on.
pub(crate) fn enter(limit: Limit) {
    if std::env::args().any(|argument| argument == PROBE) {
        std::process::exit(0);
    }
    if std::env::var_os(STAGED).is_some() {
        return;
    }
    let Ok(executable) = std::env::current_exe() else { return };
    let through = loader(&executable).filter(|start| {
        let probe = command(start, limit).arg(PROBE).status();
        probe.is_ok_and(|status| status.success())
    });
    let start = through.unwrap_or_else(|| vec![executable.into_os_string()]);
    // Only a failure returns; then whoever can be loaded here is.
    let _ = command(&start, limit).args(std::env::args_os().skip(1)).exec();
}

/// The unpacked loader with its libraries, and the program it runs.
fn loader(executable: &std::path::Path) -> Option<Vec<OsString>> {
    let libraries = peers::unpacked("sid").ok()?;
    let name = if cfg!(target_arch = "aarch64") { "ld-linux-aarch64.so.1" } else { "ld-linux-x86-64.so.2" };
    let loader: PathBuf = libraries.join(name);
    let words = [loader.as_os_str(), "--library-path".as_ref(), libraries.as_os_str(), executable.as_os_str()];
    loader.is_file().then(|| words.map(OsString::from).into())
}

fn command(start: &[OsString], limit: Limit) -> Command {
    let mut command = Command::new(&start[0]);
    command.args(&start[1..]).env(STAGED, "1");
    if let Some(mask) = openssl_mask(limit) {
        command.env("OPENSSL_ia32cap", mask);
    }
    command
}

/// Bits of CPUID that OpenSSL is to take for absent: leaf 1, a colon, leaf 7 (EBX below, ECX above).
fn openssl_mask(limit: Limit) -> Option<&'static str> {
    match limit {
        // AVX, AVX2, and what follows.
        Limit::Sse => Some("~0x1000000000000000:~0x5f42dc230020"),
        // AVX-512 of every kind, GFNI, VAES, VPCLMULQDQ.
        Limit::Avx2 => Some(":~0x5f42dc230000"),
        // AVX-512 of every kind.
        Limit::Gfni => Some(":~0x5842dc230000"),
        _ => None,
    }
}
