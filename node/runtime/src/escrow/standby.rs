//! A slot for a second device. Two devices of one module cannot be open in one process (PKCS#11's `C_Initialize` is once for a
//! process, and a software token reads its configuration then), so the standby answers from a process of its own, over its pipes.
//!
//! ```text
//! this process: vault, primary device ─ 2 bytes length, PRF input ─▶ that process: standby device
//!                                     ◀─ PRF output, 32 bytes ─────
//! ```

use std::cell::RefCell;
use std::io::{self, Read, Write};

use bixi_hsm::device::{KEK_FINGERPRINT_INPUT, PRF_BYTES, PRF_INPUT_BYTES_MAX, fingerprint_by};
use bixi_hsm::protocol::PRF_DOMAIN;
use bixi_hsm::{Cause, DeviceError, KeyKind, KeyRef};
use bixi_hsm_vault::{Kek, SlotKind};
use bixi_platform::secret::Secret;

use crate::keys::{Listed, open_device};
use crate::launch::{Failure, LaunchError, step};
use crate::lifecycle::desk::Desk;
use crate::settings::Settings;

/// Longest reference that a standby tells.
const LINE_BYTES_MAX: usize = 2048;

/// A device's PRF under the standby's key.
type Derive<'a> = dyn FnMut(&[u8], &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> + 'a;

/// Answers for the standby device: its key's reference in a line, then one PRF output for each input, until the other end closes.
///
/// # Errors
/// The device's, or a peer that speaks something else.
pub fn answer(settings: &Settings, asked: &mut dyn Read, told: &mut dyn Write) -> Result<(), LaunchError> {
    let device = step("standby device", || open_device(settings, settings.pin()))?;
    let key = step("standby key", || Listed::of(device.as_ref())?.find(&settings.config.hsm.kek, KeyKind::Kek))?;
    step("answers", || serve(asked, told, &key.to_string(), &mut |input, out| device.prf(&key, input, out)))
}

fn serve(asked: &mut dyn Read, told: &mut dyn Write, name: &str, derive: &mut Derive<'_>) -> Result<(), Failure> {
    writeln!(told, "{name}")?;
    told.flush()?;
    let mut length = [0; 2];
    while read_or_end(asked, &mut length)? {
        let length = usize::from(u16::from_le_bytes(length));
        if length > PRF_INPUT_BYTES_MAX {
            return Err("an input longer than any vault's".into());
        }
        let mut input = vec![0; length];
        asked.read_exact(&mut input)?;
        // Whoever asks gets what opens a vault, and nothing that this key does elsewhere.
        if !input.starts_with(PRF_DOMAIN) && input != KEK_FINGERPRINT_INPUT {
            return Err("an input that no vault asks for".into());
        }
        let mut out = Secret::zeroed(PRF_BYTES);
        derive(&input, out.as_mut_slice().try_into().expect("made so long"))?;
        told.write_all(out.as_slice())?;
        told.flush()?;
    }
    Ok(())
}

/// Fills `bytes`; false at the end of the stream.
fn read_or_end(source: &mut dyn Read, bytes: &mut [u8]) -> io::Result<bool> {
    match source.read(&mut bytes[..1])? {
        0 => Ok(false),
        _ => source.read_exact(&mut bytes[1..]).map(|()| true),
    }
}

/// Compares the name and fingerprint of a key with what is known of it; an error says that it is another.
pub type Compare<'a> = &'a mut dyn FnMut(&str, &str) -> Result<(), Failure>;

/// A slot that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The standby's key encryption key.
    pub kek: String,
    /// By what people compare it.
    pub fingerprint: String,
}

/// Lets a standby device open the vault, too; `line` is the two ends of the pipe to the process that answers for it. Whoever can exchange
/// the standby, or its node file, would open the vault with a key of his: so `compare` holds the key that answers against the one that is
/// meant.
///
/// # Errors
/// Names the step: a running node, a device that refuses, another key than is meant, one that opens the vault already, a label that is
/// taken.
pub fn add(
    settings: &Settings,
    label: &str,
    line: (Box<dyn Read>, Box<dyn Write>),
    compare: Compare<'_>,
) -> Result<Added, LaunchError> {
    let remote = step("standby device", || Remote::meet(line))?;
    let fingerprint = step("standby device", || fingerprint_by(|input, out| remote.derive(input, out)))?;
    step("fingerprint", || compare(&remote.name(), &fingerprint))?;
    let (desk, mut vault) = Desk::open_with_vault(settings)?;
    let subject = format!("standby slot {label:?} for {}, fingerprint {fingerprint}", remote.key);
    step("vault", || {
        desk.perform("add slot", &subject, || Ok(vault.add_slot(SlotKind::Standby, label, &remote, &remote.key)?))
    })?;
    desk.count(&vault)?;
    Ok(Added { kek: remote.key.to_string(), fingerprint })
}

/// A key encryption key in the process at the other end.
struct Remote {
    key: KeyRef,
    line: RefCell<(Box<dyn Read>, Box<dyn Write>)>,
}

impl Remote {
    fn meet((mut from, to): (Box<dyn Read>, Box<dyn Write>)) -> Result<Self, Failure> {
        let mut name = Vec::new();
        let mut byte = [0];
        // Byte by byte: what follows the line is not ours to take.
        while name.len() < LINE_BYTES_MAX && from.read(&mut byte)? == 1 && byte != *b"\n" {
            name.extend(byte);
        }
        let name = String::from_utf8(name)?;
        if name.is_empty() {
            return Err("the standby's process ended; its message is above".into());
        }
        Ok(Self { key: name.parse()?, line: RefCell::new((from, to)) })
    }

    fn ask(&self, input: &[u8], out: &mut [u8; PRF_BYTES]) -> io::Result<()> {
        let (from, to) = &mut *self.line.borrow_mut();
        let length = u16::try_from(input.len()).map_err(io::Error::other)?;
        to.write_all(&[&length.to_le_bytes()[..], input].concat())?;
        to.flush()?;
        from.read_exact(out)
    }
}

impl Kek for Remote {
    fn name(&self) -> String {
        self.key.to_string()
    }

    fn derive(&self, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        self.ask(input, out).map_err(|error| DeviceError::new("standby's prf", Cause::Fault, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(asked: &[u8]) -> (Result<(), Failure>, Vec<u8>) {
        let mut told = Vec::new();
        let mut derive = |input: &[u8], out: &mut [u8; PRF_BYTES]| {
            *out = [input.len() as u8; PRF_BYTES];
            Ok(())
        };
        let result = serve(&mut &asked[..], &mut told, "soft:token=b;object=kek", &mut derive);
        (result, told)
    }

    fn frame(input: &[u8]) -> Vec<u8> {
        [&(input.len() as u16).to_le_bytes()[..], input].concat()
    }

    #[test]
    fn the_other_end_reads_what_is_answered() {
        let input = [PRF_DOMAIN, &[7; 64]].concat();
        let (result, told) = served(&[frame(&input), frame(&input)].concat());
        result.unwrap();
        let remote = Remote::meet((Box::new(io::Cursor::new(told)), Box::new(io::sink()))).unwrap();
        assert_eq!(remote.name(), "soft:token=b;object=kek");
        for _ in 0..2 {
            let mut out = [0; PRF_BYTES];
            remote.derive(&input, &mut out).unwrap();
            assert_eq!(out, [input.len() as u8; PRF_BYTES]);
        }
        assert!(remote.derive(&input, &mut [0; PRF_BYTES]).is_err(), "nothing more was answered");
    }

    #[test]
    fn what_no_vault_asks_is_not_answered() {
        let long = vec![0; PRF_INPUT_BYTES_MAX + 1];
        let longer = [KEK_FINGERPRINT_INPUT, b"1"].concat();
        for asked in [frame(b"something else"), frame(&longer), frame(&long), vec![1], frame(PRF_DOMAIN)[..5].to_vec()]
        {
            let (result, told) = served(&asked);
            assert!(result.is_err() && told.ends_with(b"kek\n"), "{asked:?}");
        }
        for junk in [&b""[..], b"no reference\n", &[0xff; 16]] {
            assert!(Remote::meet((Box::new(io::Cursor::new(junk.to_vec())), Box::new(io::sink()))).is_err());
        }
    }
}
