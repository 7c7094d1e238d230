//! What the device does wrong, as long as the file `fault` in its directory holds the fault's name, or a line
//! `refuse FUNCTION CODE`, the code in hexadecimal.

use std::path::Path;
use std::time::Duration;

use crate::Refusal;
use crate::config::hexadecimal;

/// Name of the file.
pub const FILE: &str = "fault";
/// A hung call looks this often whether it still is to hang.
const LOOK: Duration = Duration::from_millis(2);

/// Something a device may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It opens no session.
    Busy,
    /// It answers nothing, and forgets its sessions.
    Lost,
    /// It takes back the right to sign.
    Denied,
    /// Signing does not return.
    Hung,
    /// Its signatures are wrong.
    WrongSignature,
}

impl Fault {
    const NAMES: [(&'static str, Self); 5] = [
        ("busy", Self::Busy),
        ("lost", Self::Lost),
        ("denied", Self::Denied),
        ("hung", Self::Hung),
        ("wrong-signature", Self::WrongSignature),
    ];

    /// The present fault of the device in `directory`.
    pub fn present(directory: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(directory.join(FILE)).ok()?;
        Self::NAMES.iter().find(|(name, _)| *name == text.trim()).map(|(_, fault)| *fault)
    }

    /// What `function` answers whatever it is asked, if the device in `directory` is told so.
    pub fn refusal(directory: &Path, function: &str) -> Option<Refusal> {
        let text = std::fs::read_to_string(directory.join(FILE)).ok()?;
        let (refused, code) = text.trim().strip_prefix("refuse ")?.split_once(' ')?;
        if refused == function { hexadecimal(code).map(Refusal) } else { None }
    }

    /// Returns when this is no longer the present fault.
    pub fn outlast(self, directory: &Path) {
        while Self::present(directory) == Some(self) {
            std::thread::sleep(LOOK);
        }
    }
}
