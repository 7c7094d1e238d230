//! Where keys are, and how much of what a library says about that is believed.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

/// In a maker's or device's name: software, whatever a profile says.
const SOFTWARE_WORDS: [&str; 6] = ["bixi", "soft", "kryoptic", "gmssl", "simul", "emul"];

/// Where the bytes of the keys are while they are used. Printed as it is in every report. New variants go to the end: the order is
/// part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Custody {
    /// In the memory of the process that calls: a software token loaded as a library, or a test device.
    ProcessMemory,
    /// In the memory of another process on this host.
    OtherProcess,
    /// In hardware of its own.
    Hardware,
    /// Nobody vouches for hardware: to be treated as software.
    Unknown,
}

impl Custody {
    /// What is to be believed of a library that describes itself by `words`, maker and model, under a profile that vouches for its
    /// hardware or does not. A library is never taken for hardware because it is not known to be software.
    #[must_use]
    pub fn judged(words: &[&str], vouched: bool) -> Self {
        let words = words.join(" ").to_lowercase();
        match SOFTWARE_WORDS.iter().any(|known| words.contains(known)) {
            true => Self::ProcessMemory,
            false if vouched => Self::Hardware,
            false => Self::Unknown,
        }
    }
}

impl fmt::Display for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProcessMemory => "software token (key in process memory)",
            Self::OtherProcess => "software token (key in another process's memory)",
            Self::Hardware => "hardware device",
            Self::Unknown => {
                "not known to be hardware, treated as software (if it is, say hardware = true in a profile of your own)"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_is_vouched_for_and_software_says_so_itself() {
        assert_eq!(Custody::judged(&["Sansec", "SJK1926"], true), Custody::Hardware);
        assert_eq!(Custody::judged(&["Sansec", "SJK1926"], false), Custody::Unknown);
        for words in
            [["SoftHSM", "v2"], ["IBM", "Soft"], ["Kryoptic Project", "v1"], ["Bixi", "token"], ["X", "Emulator"]]
        {
            assert_eq!(Custody::judged(&words, true), Custody::ProcessMemory, "{words:?}");
        }
    }

    #[test]
    fn the_bytes_of_a_custody_never_change() {
        let all = [Custody::ProcessMemory, Custody::OtherProcess, Custody::Hardware, Custody::Unknown];
        for (byte, custody) in (0..).zip(all) {
            assert_eq!(borsh::to_vec(&custody).unwrap(), [byte]);
        }
    }
}
