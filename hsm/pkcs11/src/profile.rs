//! Vendor profiles: the numbers and habits of a vendor's module, as TOML files.
//!
//! PKCS#11 has no standard numbers for SM2, SM3 and SM4. The shipped files hold those of the vendors; a user's own file
//! takes precedence over them. Numbers are facts about a module's interface, retyped.

use bixi_hsm::profile::{ProfileError, VendorProfile};
use serde::Deserialize;

/// First number that is not the standard's own. Vendors belong at 0x80000000 and above, and not all keep to it.
const BEYOND_STANDARD: u64 = 0x1_0000;

/// One vendor's numbers and habits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name, as configuration and logs use it.
    pub name: String,
    /// Parts of module file names this profile is for.
    #[serde(default)]
    pub module: Vec<String>,
    /// Manufacturers, as the module reports them, this profile is for.
    #[serde(default)]
    pub manufacturer: Vec<String>,
    /// Signing keys.
    pub sm2: Sm2,
    /// The makers in `manufacturer` keep keys in hardware; in a profile that names no maker, whoever wrote it vouches for the
    /// device.
    #[serde(default)]
    pub hardware: bool,
    /// Key encryption keys.
    pub prf: Prf,
}

/// Numbers of SM2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sm2 {
    /// `CKK_` of an SM2 key.
    pub key_type: u64,
    /// `CKM_` that makes a pair.
    pub key_pair_generation: u64,
    /// `CKM_` that signs a 32-byte digest.
    pub sign_digest: u64,
    /// How the device writes a signature.
    pub signature: SignatureForm,
    /// Whether `CKA_EC_PARAMS` with the SM2 curve goes into the template of a new pair.
    #[serde(default)]
    pub send_curve: bool,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureForm {
    /// `r ‖ s`.
    Raw,
    /// `SEQUENCE { r, s }`.
    Der,
}

/// Numbers of the keyed function data at rest hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prf {
    /// Which primitive of the device is used.
    pub kind: PrfKind,
    /// `CKK_` of the key.
    pub key_type: u64,
    /// `CKM_` that makes the key.
    pub key_generation: u64,
    /// `CKM_` that uses the key.
    pub mechanism: u64,
}

/// The primitive behind a PRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrfKind {
    /// HMAC with SM3 and a 32-byte generic secret.
    HmacSm3,
    /// CBC-MAC with SM4 on inputs of one fixed length.
    Sm4Mac,
    /// SM4 ECB on whole blocks.
    Sm4Ecb,
}

impl VendorProfile for Profile {
    const SHIPPED: &'static [(&'static str, &'static str)] = &[
        ("bixi-token", include_str!("../profiles/bixi-token.toml")),
        ("sansec-std", include_str!("../profiles/sansec-std.toml")),
        ("sansec-dept3", include_str!("../profiles/sansec-dept3.toml")),
        ("sansec-itrus", include_str!("../profiles/sansec-itrus.toml")),
        ("tass", include_str!("../profiles/tass.toml")),
        ("koal", include_str!("../profiles/koal.toml")),
        ("luna", include_str!("../profiles/luna.toml")),
        ("ibm-ep11", include_str!("../profiles/ibm-ep11.toml")),
        ("mk-1", include_str!("../profiles/mk-1.toml")),
    ];

    fn matching(&self) -> (&[String], &[String]) {
        (&self.module, &self.manufacturer)
    }

    fn is_hardware(&self) -> bool {
        self.hardware
    }

    fn check(&self, origin: &str) -> Result<(), ProfileError> {
        let vendor = [
            ("sm2.key_type", self.sm2.key_type),
            ("sm2.sign_digest", self.sm2.sign_digest),
            ("prf.mechanism", self.prf.mechanism),
        ];
        for (field, number) in vendor {
            if number < BEYOND_STANDARD {
                let reason = match number {
                    cryptoki_sys::CKM_ECDSA => "CKM_ECDSA on an SM2 key is not an SM2 signature",
                    _ => "numbers below 0x10000 belong to the standard, which has none for this",
                };
                return Err(ProfileError::Number { origin: origin.into(), field, number, reason });
            }
        }
        let standard = [
            ("sm2.key_pair_generation", self.sm2.key_pair_generation, cryptoki_sys::CKM_EC_KEY_PAIR_GEN),
            ("prf.key_generation", self.prf.key_generation, cryptoki_sys::CKM_GENERIC_SECRET_KEY_GEN),
            ("prf.key_type", self.prf.key_type, cryptoki_sys::CKK_GENERIC_SECRET),
        ];
        for (field, number, allowed) in standard {
            if number < BEYOND_STANDARD && number != allowed {
                let reason = "below 0x10000 only the standard's own generation and generic secret are known here";
                return Err(ProfileError::Number { origin: origin.into(), field, number, reason });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bixi_hsm::profile::ProfileChoice;

    use super::*;

    #[test]
    fn every_shipped_profile_parses_under_its_own_name() {
        for name in Profile::names() {
            assert_eq!(Profile::named(name).unwrap().name, name);
        }
    }

    #[test]
    fn matches_by_module_file_then_by_manufacturer() {
        let matched = |module: &str, manufacturer: &str| {
            Profile::choose(&ProfileChoice::Matched, Path::new(module), manufacturer).map(|profile| profile.name)
        };
        assert_eq!(matched("/opt/x/libbixi_token.so", "").unwrap(), "bixi-token");
        assert_eq!(matched("/opt/x/renamed.so", "Sansec Technology").unwrap(), "sansec-std");
        let refused = matched("/opt/x/other.so", "Nobody").unwrap_err().to_string();
        assert!(refused.contains("name one of bixi-token, sansec-std"), "{refused}");
    }

    #[test]
    fn errors_name_the_field_and_the_reason() {
        let good = Profile::SHIPPED[0].1;
        let refused = |from: &str, to: &str| {
            assert!(good.contains(from), "the fixture has no {from}");
            Profile::parse(&good.replace(from, to), "x.toml").unwrap_err().to_string()
        };
        let ecdsa = refused("sign_digest = 0x80008105", "sign_digest = 0x1041");
        assert_eq!(ecdsa, "profile x.toml: sm2.sign_digest = 0x1041: CKM_ECDSA on an SM2 key is not an SM2 signature");
        assert!(refused("kind = \"hmac-sm3\"", "kind = \"md5\"").contains("unknown variant `md5`"));
        assert!(refused("name = \"bixi-token\"", "nmae = \"x\"").contains("unknown field `nmae`"));
        assert!(refused("[prf]", "[other]").contains("unknown field `other`"));
    }
}
