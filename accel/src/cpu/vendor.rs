//! Who made the processor, for `doctor` and the start-up log.
//!
//! Kernels are chosen by what a processor says it can do, never by who made it: Zhaoxin's and Hygon's get the vector kernels their
//! feature bits allow. Both also have instructions of their own for SM3 and SM4 that answer to other bits than Intel's and, Hygon's,
//! are not publicly described. They are named here so that an operator sees them, and used by no kernel.

/// A maker of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD.
    Amd,
    /// Zhaoxin, under its own name or Centaur's.
    Zhaoxin,
    /// Hygon.
    Hygon,
    /// Another, or not an x86 processor.
    Other,
}

impl Vendor {
    /// Of the processor this runs on.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let leaf = cpuid(0);
            Self::named(&[leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes))
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Other
    }

    /// By the twelve letters of CPUID leaf 0.
    #[cfg(any(target_arch = "x86_64", test))]
    fn named(letters: &[[u8; 4]; 3]) -> Self {
        match letters.as_flattened() {
            b"GenuineIntel" => Self::Intel,
            b"AuthenticAMD" => Self::Amd,
            b"CentaurHauls" | b"  Shanghai  " => Self::Zhaoxin,
            b"HygonGenuine" => Self::Hygon,
            _ => Self::Other,
        }
    }

    /// Whether the processor announces instructions of its vendor's own for SM3 and SM4, which no kernel uses.
    pub fn announces_own_instructions(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            // Both "there" and "enabled" (PadLock's GMI).
            Self::Zhaoxin => cpuid(0xc000_0000).eax >= 0xc000_0001 && cpuid(0xc000_0001).edx & 0x30 == 0x30,
            Self::Hygon => cpuid(0x8c86_0000).eax >= 0x8c86_0000 && cpuid(0x8c86_0000).edx & 0b110 != 0,
            _ => false,
        }
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}

#[cfg(target_arch = "x86_64")]
fn cpuid(leaf: u32) -> core::arch::x86_64::CpuidResult {
    core::arch::x86_64::__cpuid(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_are_known_by_their_letters() {
        let named = |name: &[u8; 12]| Vendor::named(name.as_chunks().0.try_into().expect("three words"));
        assert_eq!(named(b"  Shanghai  "), Vendor::Zhaoxin);
        assert_eq!(named(b"CentaurHauls"), Vendor::Zhaoxin);
        assert_eq!(named(b"HygonGenuine"), Vendor::Hygon);
        assert_eq!(named(b"GenuineIntel"), Vendor::Intel);
        assert_eq!(named(b"AuthenticAMD"), Vendor::Amd);
        assert_eq!(named(b"            "), Vendor::Other);
    }

    #[test]
    fn only_their_makers_processors_announce_instructions_of_their_own() {
        let vendor = Vendor::detect();
        assert!(!vendor.announces_own_instructions() || matches!(vendor, Vendor::Zhaoxin | Vendor::Hygon));
    }
}
