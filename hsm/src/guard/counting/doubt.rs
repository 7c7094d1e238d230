//! Why a guard may be an old copy, and what to do about it.

use super::Note;
use crate::device::Count;

const NEWEST: &str = "Put back the newest state of this disk. Only where there is none, and the other validators have all that this one ever \
                      signed or its consensus key was rotated: `bixi hsm guard adopt --old-copy`";
const DEVICE: &str = "Use the device that this disk ran with. Where that is lost: `bixi hsm recover`. Where its counter was made anew, and this \
                      is the newest state of the disk: `bixi hsm guard adopt --old-copy`";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::guard) enum Doubt {
    /// The device has counted further.
    Beyond { noted: u64, counted: u64 },
    /// The device has counted less than was noted.
    SetBack { noted: u64, counted: u64 },
    /// The vault is older than the one that was noted.
    Vault { noted: u64, found: u64 },
    /// The note is of another counter.
    OtherCounter,
    /// The device has no counter.
    NoCounter,
    /// The device has one, and nothing was noted.
    NoNote,
    /// The device had one.
    Removed(String),
    /// Somebody else has the device count.
    Beside { expected: u64, counted: u64 },
    /// The device can count no further.
    AtEnd,
}

impl Doubt {
    /// Compares; the note and the counter of a device that has one, where they fit.
    pub(super) fn of(noted: Option<Note>, count: Option<Count>, vault: u64) -> Result<Option<(Note, Count)>, Self> {
        let (note, count) = match (noted, count) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(Self::NoCounter),
            (None, Some(_)) => return Err(Self::NoNote),
            (Some(note), Some(count)) => (note, count),
        };
        let (noted, counted) = (note.at_most.value, count.value);
        if note.at_most.counter != count.counter {
            Err(Self::OtherCounter)
        } else if noted < counted {
            Err(Self::Beyond { noted, counted })
        } else if noted - counted > 1 {
            Err(Self::SetBack { noted, counted })
        } else if vault < note.vault {
            Err(Self::Vault { noted: note.vault, found: vault })
        } else {
            Ok(Some((note, count)))
        }
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Self::Beyond { noted, counted } => {
                format!("it notes that the device has counted to {noted} at most, and it has to {counted}")
            }
            Self::SetBack { noted, counted } => {
                format!("it notes that the device was to count to {noted}, and it stands at {counted}: the device was set back, or it lies")
            }
            Self::Vault { noted, found } => {
                format!("it notes version {noted} of the vault, and the vault beside it is version {found}")
            }
            Self::OtherCounter => "it notes the count of another device than this one".to_owned(),
            Self::NoCounter => "it notes how far a device has counted, and this one has no counter".to_owned(),
            Self::NoNote => "the device counts, and it has no note of that: it was made by an earlier version, or is a copy from then".to_owned(),
            Self::Removed(message) => message.clone(),
            Self::Beside { expected, counted } => {
                format!("the device was to count to {expected} and went to {counted}: another copy has it count, too, or it lies")
            }
            Self::AtEnd => "the counter of the device stands at its end".to_owned(),
        }
    }

    pub(super) fn next(&self) -> &'static str {
        match self {
            Self::Beyond { .. } | Self::Vault { .. } | Self::Beside { .. } => NEWEST,
            Self::OtherCounter | Self::NoCounter => DEVICE,
            Self::SetBack { .. } => {
                "A snapshot of a machine sets its software TPM back, and then nothing here tells an old disk. Put device and disk back to their \
                 newest state. Only where there is none, and the other validators have all that this one ever signed: \
                 `bixi hsm guard adopt --old-copy`"
            }
            Self::NoNote => {
                "If this host ran with this very disk until bixi was upgraded, say so, once: `bixi hsm guard adopt --old-copy`. Else put back \
                 the newest state of this disk"
            }
            Self::Removed(_) => {
                "Find out who changed the device. If this is the newest state of the disk, `bixi hsm guard adopt --old-copy` makes another \
                 counter"
            }
            Self::AtEnd => "Have the node go on with another device: `bixi hsm recover`",
        }
    }
}
