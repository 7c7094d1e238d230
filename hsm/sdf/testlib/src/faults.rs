//! What the device does wrong, as long as the file `fault` in its directory holds the fault's name, or a line
//! `refuse FUNCTION CODE`, the code in hexadecimal, or `hang FUNCTION`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::Refusal;
use crate::config::hexadecimal;

/// Name of the file.
pub const FILE: &str = "fault";
/// A hung call looks this often whether it still is to hang.
const LOOK: Duration = Duration::from_millis(2);

/// Calls that hang now.
static HUNG: AtomicUsize = AtomicUsize::new(0);

/// Something a device may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It opens no session.
    Busy,
    /// It answers nothing, and forgets its sessions.
    Lost,
    /// It takes back the right to sign.
    Denied,
    /// Its signatures are wrong.
    WrongSignature,
}

impl Fault {
    const NAMES: [(&'static str, Self); 4] = [
        ("busy", Self::Busy),
        ("lost", Self::Lost),
        ("denied", Self::Denied),
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
}

/// Whether the device in `directory` is told to hang in `function`.
pub fn hangs(directory: &Path, function: &str) -> bool {
    let text = std::fs::read_to_string(directory.join(FILE));
    text.is_ok_and(|text| text.trim().strip_prefix("hang ") == Some(function))
}

/// Returns when `function` is no longer to hang.
pub fn hang(directory: &Path, function: &str) {
    HUNG.fetch_add(1, Ordering::SeqCst);
    while hangs(directory, function) {
        std::thread::sleep(LOOK);
    }
    HUNG.fetch_sub(1, Ordering::SeqCst);
}

/// Returns when no call hangs.
pub fn wait_for_calls() {
    while HUNG.load(Ordering::SeqCst) > 0 {
        std::thread::sleep(LOOK);
    }
}
