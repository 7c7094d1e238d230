//! A look at a library's ELF header before it is loaded: the dynamic loader's words for a wrong architecture help nobody.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::device::{Cause, DeviceError};

const HEADER_BYTES: usize = 20;
const MACHINES: [(u16, &str); 6] =
    [(3, "x86"), (40, "arm"), (62, "x86_64"), (183, "aarch64"), (243, "riscv64"), (258, "loongarch64")];

/// Refuses what is no shared library of this machine's architecture.
///
/// # Errors
/// [`Cause::Setup`], saying what the file is instead.
pub fn check(path: &Path) -> Result<(), DeviceError> {
    let refuse = |what: String, advice: &'static str| {
        let message = format!("library {}: {what}", path.display());
        Err(DeviceError::new("dlopen", Cause::Setup, message).with_advice(advice))
    };
    let mut header = [0; HEADER_BYTES];
    if let Err(error) = File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        return refuse(format!("its header cannot be read: {error}"), "check the library's path in the configuration");
    }
    if header[..4] != *b"\x7FELF" {
        return refuse("no shared library".into(), "check the library's path in the configuration");
    }
    let bytes = [header[18], header[19]];
    let machine = if header[5] == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    let name = |machine| MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, name)| *name);
    match name(machine) {
        Some(name) if name == std::env::consts::ARCH => Ok(()),
        // Built for a machine this list does not know: the loader judges.
        _ if !MACHINES.iter().any(|(_, name)| *name == std::env::consts::ARCH) => Ok(()),
        known => {
            let built_for = known.map_or_else(|| format!("ELF machine {machine}"), str::to_owned);
            let what = format!("built for {built_for}, but this machine is {}", std::env::consts::ARCH);
            refuse(what, "install the vendor's library for this architecture")
        }
    }
}
