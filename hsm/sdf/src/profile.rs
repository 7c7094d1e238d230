//! What differs between vendors' SDF libraries, as TOML files.
//!
//! The standard numbers algorithms and lays out structures; vendors' older libraries number some of them differently, cut
//! `ECCCipher` at other lengths, answer an index without a key by codes of their own, and make key pairs by calls of their own.

use bixi_hsm::profile::{ProfileError, VendorProfile};
use serde::Deserialize;

/// Room for an SM4 key, and what the largest known declaration has twice.
const CIPHER_BYTES: std::ops::RangeInclusive<u64> = 1..=512;

/// One vendor's numbers and habits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name, as configuration and logs use it.
    pub name: String,
    /// Parts of library file names this profile is for.
    #[serde(default)]
    pub library: Vec<String>,
    /// Makers, as `DEVICEINFO` reports them, this profile is for.
    #[serde(default)]
    pub manufacturer: Vec<String>,
    /// Algorithm identifiers.
    pub algorithms: Algorithms,
    /// Declared length of the array that ends `ECCCipher`; 1 stands for "as long as it must be".
    pub cipher_bytes: u64,
    /// Answers, besides `SDR_KEYNOTEXIST`, of an index that holds no key.
    #[serde(default)]
    pub no_key: Vec<u32>,
    /// The vendor's call that makes a key pair at an index; the standard has none.
    #[serde(default)]
    pub key_pair: KeyPairCall,
    /// The vendor's tool that makes key pairs, for advice.
    pub tool: String,
    /// The makers in `manufacturer` keep keys in hardware; in a profile that names no maker, whoever wrote it vouches for the
    /// device.
    #[serde(default)]
    pub hardware: bool,
}

/// Algorithm identifiers, `SGD_` in the standard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Algorithms {
    /// SM4 in mode ECB.
    pub sm4_ecb: u32,
}

/// How a vendor's library makes a key pair inside the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPairCall {
    /// It does not: the vendor's tool does.
    #[default]
    None,
    /// `SDF_CreateKeyPair_ECC(session, sign flag, index, public key)`.
    Flagged,
    /// `SWCSM_GenerateECCKeyPair(session, number)` with numbers 2i − 1 for signing and 2i for encryption.
    Numbered,
}

impl VendorProfile for Profile {
    const SHIPPED: &'static [(&'static str, &'static str)] =
        &[("sansec", include_str!("../profiles/sansec.toml")), ("standard", include_str!("../profiles/standard.toml"))];

    fn check(&self, origin: &str) -> Result<(), ProfileError> {
        let refuse = |field, number, reason| Err(ProfileError::Number { origin: origin.into(), field, number, reason });
        if !CIPHER_BYTES.contains(&self.cipher_bytes) {
            return refuse("cipher_bytes", self.cipher_bytes, "the array that ends ECCCipher has 1 to 512 bytes");
        }
        if self.algorithms.sm4_ecb & 0xFF != 0x01 {
            let reason = "the low byte of an ECB identifier is 0x01; other modes are not a permutation of blocks";
            return refuse("algorithms.sm4_ecb", self.algorithms.sm4_ecb.into(), reason);
        }
        Ok(())
    }

    fn matching(&self) -> (&[String], &[String]) {
        (&self.library, &self.manufacturer)
    }

    fn is_hardware(&self) -> bool {
        self.hardware
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_parses_under_its_own_name() {
        for name in Profile::names() {
            assert_eq!(Profile::named(name).unwrap().name, name);
        }
    }

    #[test]
    fn errors_name_the_field_and_the_reason() {
        let good = include_str!("../profiles/standard.toml");
        let refused = |from: &str, to: &str| {
            assert!(good.contains(from), "the fixture has no {from}");
            Profile::parse(&good.replace(from, to), "x.toml").unwrap_err().to_string()
        };
        let cbc = refused("sm4_ecb = 0x401", "sm4_ecb = 0x402");
        assert!(cbc.starts_with("profile x.toml: algorithms.sm4_ecb = 0x402: the low byte of an ECB"), "{cbc}");
        assert!(refused("cipher_bytes = 1", "cipher_bytes = 0").contains("1 to 512"));
        assert!(refused("cipher_bytes = 1", "cipher_bytes = 513").contains("1 to 512"));
        assert!(refused("name = ", "nmae = ").contains("unknown field `nmae`"));
    }
}
