//! Vendor profiles: which number means which SM2, SM3 or SM4 mechanism.
//!
//! PKCS#11 has assigned no numbers for the Chinese algorithms, so each vendor took its own, nearly all from the range at
//! `CKM_VENDOR_DEFINED` (0x80000000). The token answers to one profile at a time (`profile` in `token.conf`), so that
//! software written for a vendor's module can be tried without the vendor's device. Key types are stored by meaning,
//! never by number: a profile can be changed without touching the stored keys.
//!
//! `bixi`, the default, is Sansec's row for SM2, SM3 and SM4, extended where that row is silent: HMAC-SM3 0x80009002,
//! SM4 MAC 0x8000010A, SM4 GCM 0x8000010F, SM4 CMAC 0x80000110.

use cryptoki_sys::{
    CK_FLAGS, CK_MECHANISM_TYPE, CKF_DECRYPT, CKF_DIGEST, CKF_EC_F_P, CKF_EC_NAMEDCURVE, CKF_EC_UNCOMPRESS,
    CKF_ENCRYPT, CKF_GENERATE, CKF_GENERATE_KEY_PAIR, CKF_SIGN, CKF_VERIFY, CKK_EC, CKK_GENERIC_SECRET,
    CKM_EC_KEY_PAIR_GEN, CKM_GENERIC_SECRET_KEY_GEN,
};

/// How an SM2 signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `r ‖ s`, 64 bytes.
    Raw,
    /// `SEQUENCE { r INTEGER, s INTEGER }`.
    Der,
}

/// What a signature mechanism is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `e`, 32 bytes: the caller has computed Z and SM3.
    Digest,
    /// The message; the token computes Z from the ID in the mechanism's parameter (default ID when absent).
    Message,
}

/// A mechanism by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SM2 key pair; the curve is implied.
    Sm2KeyPairGen,
    /// Key pair on the curve of `CKA_EC_PARAMS`, of which SM2's OID is known.
    EcKeyPairGen,
    /// SM2 signature (GB/T 32918.2).
    Sm2Sign(Input, Form),
    /// SM3 (GB/T 32905).
    Sm3,
    /// HMAC with SM3.
    HmacSm3,
    /// A 16-byte SM4 key.
    Sm4KeyGen,
    /// SM4 ECB, whole blocks (GB/T 32907).
    Sm4Ecb,
    /// SM4 CBC, with PKCS#7 padding or whole blocks.
    Sm4Cbc {
        /// Whether PKCS#7 padding is added and removed.
        pad: bool,
    },
    /// CBC-MAC with SM4, zero IV, whole blocks. A PRF for inputs of one fixed length only.
    Sm4Mac,
    /// CMAC with SM4 (SP 800-38B's construction).
    Sm4Cmac,
    /// SM4 GCM, 96-bit IV, 128-bit tag.
    Sm4Gcm,
    /// A generic secret, the key of HMAC.
    GenericSecretGen,
}

/// The kinds of keys the token holds, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// SM2, under the profile's number.
    Sm2,
    /// SM2, made or imported as `CKK_EC` with SM2's OID.
    EcSm2,
    /// SM4.
    Sm4,
    /// Generic secret.
    Generic,
}

/// One vendor's numbers.
#[derive(Debug)]
pub struct Profile {
    /// Name used in `token.conf`.
    pub name: &'static str,
    /// `CKK_SM2`.
    pub key_type_sm2: u64,
    /// `CKK_SM4`.
    pub key_type_sm4: u64,
    /// Number and meaning of each vendor mechanism.
    pub mechanisms: &'static [(u64, Algorithm)],
}

use Algorithm::{EcKeyPairGen, Sm4Mac};
use Algorithm::{GenericSecretGen, HmacSm3, Sm2KeyPairGen, Sm2Sign, Sm3, Sm4Cbc, Sm4Cmac, Sm4Ecb, Sm4Gcm, Sm4KeyGen};
use Form::{Der, Raw};
use Input::{Digest, Message};

/// The mechanisms with standard numbers, present in every profile.
const STANDARD: &[(u64, Algorithm)] =
    &[(CKM_EC_KEY_PAIR_GEN, EcKeyPairGen), (CKM_GENERIC_SECRET_KEY_GEN, GenericSecretGen)];

/// Every profile; the first is the default.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: "bixi",
        key_type_sm2: 0x8000_0004,
        key_type_sm4: 0x8000_0106,
        mechanisms: &[
            (0x8000_8001, Sm2KeyPairGen),
            (0x8000_8100, Sm2Sign(Message, Raw)),
            (0x8000_8101, Sm2Sign(Message, Der)),
            (0x8000_8102, Sm2Sign(Message, Raw)),
            (0x8000_8103, Sm2Sign(Message, Der)),
            (0x8000_8104, Sm2Sign(Digest, Der)),
            (0x8000_8105, Sm2Sign(Digest, Raw)),
            (0x8000_9001, Sm3),
            (0x8000_9002, HmacSm3),
            (0x8000_0107, Sm4KeyGen),
            (0x8000_0108, Sm4Ecb),
            (0x8000_0109, Sm4Cbc { pad: false }),
            (0x8000_A201, Sm4Cbc { pad: true }),
            (0x8000_010A, Sm4Mac),
            (0x8000_0110, Sm4Cmac),
            (0x8000_010F, Sm4Gcm),
        ],
    },
    Profile {
        name: "tass",
        key_type_sm2: 0x8000_0004,
        key_type_sm4: 0x8000_0002,
        mechanisms: &[
            (0x8000_8001, Sm2KeyPairGen),
            (0x8000_8100, Sm2Sign(Message, Raw)),
            (0x8000_8101, Sm2Sign(Message, Der)),
            (0x8000_8000, Sm2Sign(Digest, Der)),
            (0x8000_0005, Sm3),
            (0x8000_0107, Sm4KeyGen),
            (0x8000_0108, Sm4Ecb),
            (0x8000_0109, Sm4Cbc { pad: false }),
            (0x8000_010C, Sm4Cbc { pad: true }),
            (0x8000_010A, Sm4Mac),
        ],
    },
    Profile {
        name: "koal",
        key_type_sm2: 0x8000_0004,
        key_type_sm4: 0x8000_0002,
        mechanisms: &[
            (0x8000_8001, Sm2KeyPairGen),
            (0x8000_8100, Sm2Sign(Message, Raw)),
            (0x8000_8101, Sm2Sign(Message, Der)),
            (0x8000_8104, Sm2Sign(Digest, Raw)),
            (0x8000_0005, Sm3),
            (0x8000_0107, Sm4KeyGen),
            (0x8000_0108, Sm4Ecb),
            (0x8000_0109, Sm4Cbc { pad: false }),
            (0x8000_010F, Sm4Gcm),
        ],
    },
    Profile {
        name: "luna",
        key_type_sm2: 0x8000_0016,
        key_type_sm4: 0x8000_0015,
        mechanisms: &[
            (0x8000_0B20, Sm2KeyPairGen),
            (0x8000_0B21, Sm2Sign(Digest, Raw)),
            (0x8000_0B22, Sm2Sign(Message, Raw)),
            (0x8000_0B01, Sm3),
            (0x8000_0B02, HmacSm3),
            (0x8000_0B10, Sm4KeyGen),
            (0x8000_0B11, Sm4Ecb),
            (0x8000_0B12, Sm4Cbc { pad: false }),
            (0x8000_0B13, Sm4Cbc { pad: true }),
        ],
    },
    Profile {
        name: "ibm-ep11",
        key_type_sm2: 0x8005_0002,
        key_type_sm4: 0x8005_0001,
        mechanisms: &[
            (0x8005_000A, Sm2KeyPairGen),
            (0x8005_000B, Sm2Sign(Digest, Raw)),
            (0x8005_000C, Sm2Sign(Message, Raw)),
            (0x8005_000E, Sm3),
            (0x8005_0001, Sm4KeyGen),
            (0x8005_0004, Sm4Ecb),
            (0x8005_0002, Sm4Cbc { pad: false }),
            (0x8005_8007, Sm4Mac),
        ],
    },
    // MsSince MK-1: numbers outside the vendors' range, which some clients refuse to pass on.
    Profile {
        name: "mk-1",
        key_type_sm2: 0x0001_0001,
        key_type_sm4: 0x0001_0002,
        mechanisms: &[
            (0x0001_0009, Sm2KeyPairGen),
            (0x0001_0002, Sm2Sign(Digest, Raw)),
            (0x0001_0004, Sm2Sign(Message, Raw)),
            (0x0001_0005, Sm3),
            (0x0001_000A, Sm4KeyGen),
            (0x0001_0007, Sm4Ecb),
            (0x0001_0008, Sm4Cbc { pad: false }),
        ],
    },
];

/// Range of key sizes and flags of a mechanism, as `C_GetMechanismInfo` reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MechanismInfo {
    /// Smallest key: bits for SM2, bytes for the others.
    pub key_size_min: u64,
    /// Largest key.
    pub key_size_max: u64,
    /// `CKF_` flags.
    pub flags: CK_FLAGS,
}

impl Profile {
    /// The profile of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// What `number` means under this profile.
    #[must_use]
    pub fn algorithm(&self, number: CK_MECHANISM_TYPE) -> Option<Algorithm> {
        let all = self.mechanisms.iter().chain(STANDARD);
        all.into_iter().find(|(listed, _)| *listed == number).map(|(_, algorithm)| *algorithm)
    }

    /// Every mechanism number, ascending.
    #[must_use]
    pub fn numbers(&self) -> Vec<CK_MECHANISM_TYPE> {
        let mut numbers: Vec<_> = self.mechanisms.iter().chain(STANDARD).map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The `CKK_` number of a key type.
    #[must_use]
    pub fn key_type_number(&self, key_type: KeyType) -> u64 {
        match key_type {
            KeyType::Sm2 => self.key_type_sm2,
            KeyType::EcSm2 => CKK_EC,
            KeyType::Sm4 => self.key_type_sm4,
            KeyType::Generic => CKK_GENERIC_SECRET,
        }
    }

    /// The key type behind a `CKK_` number.
    #[must_use]
    pub fn key_type(&self, number: u64) -> Option<KeyType> {
        [KeyType::Sm2, KeyType::EcSm2, KeyType::Sm4, KeyType::Generic]
            .into_iter()
            .find(|key_type| self.key_type_number(*key_type) == number)
    }
}

impl Algorithm {
    /// Key sizes and flags.
    #[must_use]
    pub fn info(self) -> MechanismInfo {
        const CURVE: CK_FLAGS = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
        let (key_size_min, key_size_max, flags) = match self {
            Sm2KeyPairGen | EcKeyPairGen => (256, 256, CKF_GENERATE_KEY_PAIR | CURVE),
            Sm2Sign(..) => (256, 256, CKF_SIGN | CKF_VERIFY | CURVE),
            Sm3 => (0, 0, CKF_DIGEST),
            HmacSm3 => (GENERIC_BYTES_MIN, GENERIC_BYTES_MAX, CKF_SIGN | CKF_VERIFY),
            Sm4KeyGen => (16, 16, CKF_GENERATE),
            Sm4Ecb | Sm4Cbc { .. } | Sm4Gcm => (16, 16, CKF_ENCRYPT | CKF_DECRYPT),
            Sm4Mac | Sm4Cmac => (16, 16, CKF_SIGN | CKF_VERIFY),
            GenericSecretGen => (GENERIC_BYTES_MIN, GENERIC_BYTES_MAX, CKF_GENERATE),
        };
        MechanismInfo { key_size_min, key_size_max, flags }
    }
}

/// Smallest generic secret, bytes: below 128 bits an HMAC key is guessable.
pub const GENERIC_BYTES_MIN: u64 = 16;
/// Largest generic secret, bytes.
pub const GENERIC_BYTES_MAX: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_profile_maps_a_number_to_one_meaning() {
        for profile in PROFILES {
            let numbers = profile.numbers();
            let distinct: BTreeSet<_> = numbers.iter().collect();
            assert_eq!(distinct.len(), numbers.len(), "{} lists a number twice", profile.name);
            // The standard's own numbers end far below; MK-1 alone does not keep to the vendors' range.
            let first = if profile.name == "mk-1" { 0x1_0000 } else { 0x8000_0000 };
            assert!(profile.mechanisms.iter().all(|(number, _)| *number >= first), "{}", profile.name);
        }
    }

    #[test]
    fn every_profile_can_make_keys_and_sign_a_digest() {
        for profile in PROFILES {
            let has = |wanted: fn(&Algorithm) -> bool| profile.mechanisms.iter().any(|(_, a)| wanted(a));
            assert!(has(|a| matches!(a, Sm2KeyPairGen)), "{}", profile.name);
            assert!(has(|a| matches!(a, Sm2Sign(Digest, _))), "{}", profile.name);
            assert!(has(|a| matches!(a, HmacSm3 | Sm4Mac | Sm4Ecb)), "{} has no PRF", profile.name);
        }
    }

    #[test]
    fn key_types_survive_the_round_trip_through_numbers() {
        for profile in PROFILES {
            for key_type in [KeyType::Sm2, KeyType::EcSm2, KeyType::Sm4, KeyType::Generic] {
                assert_eq!(profile.key_type(profile.key_type_number(key_type)), Some(key_type));
            }
        }
    }
}
