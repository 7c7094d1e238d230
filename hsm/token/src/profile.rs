//! Profiles: which number means which mechanism.
//!
//! PKCS#11 has assigned no numbers for the Chinese algorithms, so each vendor took its own, nearly all from the range at
//! `CKM_VENDOR_DEFINED` (0x80000000). The token answers to one profile at a time (`profile` in `token.conf`), so that
//! software written for a vendor's module can be tried without the vendor's device. Key types are stored by meaning,
//! never by number: a profile can be changed without touching the stored keys.
//!
//! `bixi`, the default, is Sansec's row for SM2, SM3 and SM4, extended where that row is silent: HMAC-SM3 0x80009002,
//! SM4 MAC 0x8000010A, SM4 GCM 0x8000010F, SM4 CMAC 0x80000110.

mod numbers;

use cryptoki_sys::*;

use crate::curve::Curve;
pub use numbers::PROFILES;
use numbers::STANDARD;

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

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// GB/T 32905.
    Sm3,
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4.
    Sha384,
    /// FIPS 180-4.
    Sha512,
}

/// A block cipher of 16-byte blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// GB/T 32907.
    Sm4,
    /// FIPS 197, with keys of 16, 24 and 32 bytes.
    Aes,
}

/// What CBC does with a last block that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Refuses it.
    Whole,
    /// Pads by PKCS#7, and unpads.
    Padded,
}

/// A mechanism by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SM2 key pair; the curve is implied.
    Sm2KeyPairGen,
    /// Key pair on the curve of `CKA_EC_PARAMS`.
    EcKeyPairGen,
    /// SM2 signature (GB/T 32918.2).
    Sm2Sign(Input, Form),
    /// ECDSA (FIPS 186-5), of a digest or of a message by this hash; never with a key on the SM2 curve.
    Ecdsa(Option<Hash>),
    /// A digest.
    Hashing(Hash),
    /// HMAC (RFC 2104).
    Hmac(Hash),
    /// A key of this cipher.
    KeyGen(Block),
    /// ECB, whole blocks.
    Ecb(Block),
    /// CBC.
    Cbc(Block, Padding),
    /// CBC-MAC with SM4, zero IV, whole blocks. A PRF for inputs of one fixed length only.
    Sm4Mac,
    /// CMAC (SP 800-38B).
    Cmac(Block),
    /// GCM, 96-bit IV, 128-bit tag.
    Gcm(Block),
    /// AES key wrap (RFC 3394).
    KeyWrap,
    /// A generic secret, the key of HMAC.
    GenericSecretGen,
}

/// The kinds of keys the token holds, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// SM2, under the profile's number.
    Sm2,
    /// A curve's, made or imported as `CKK_EC` with the curve's OID.
    Ec(Curve),
    /// SM4.
    Sm4,
    /// AES.
    Aes,
    /// Generic secret.
    Generic,
    /// A secret for HMAC with this hash, imported as such.
    Hmac(Hash),
}

impl KeyType {
    /// The curve of a key pair.
    #[must_use]
    pub fn curve(self) -> Option<Curve> {
        match self {
            KeyType::Sm2 => Some(Curve::Sm2),
            KeyType::Ec(curve) => Some(curve),
            KeyType::Sm4 | KeyType::Aes | KeyType::Generic | KeyType::Hmac(_) => None,
        }
    }
}

impl Block {
    /// The type of its keys.
    #[must_use]
    pub fn key_type(self) -> KeyType {
        match self {
            Block::Sm4 => KeyType::Sm4,
            Block::Aes => KeyType::Aes,
        }
    }

    /// Smallest and largest key, bytes.
    #[must_use]
    pub fn key_bytes(self) -> (u64, u64) {
        match self {
            Block::Sm4 => (16, 16),
            Block::Aes => (16, 32),
        }
    }

    /// Whether a key can have that many bytes.
    #[must_use]
    pub fn takes(self, bytes: u64) -> bool {
        let (least, most) = self.key_bytes();
        (least..=most).contains(&bytes) && bytes.is_multiple_of(8)
    }
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

/// Range of key sizes and flags of a mechanism, as `C_GetMechanismInfo` reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MechanismInfo {
    /// Smallest key: bits for key pairs, bytes for the others.
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
            KeyType::Ec(_) => CKK_EC,
            KeyType::Sm4 => self.key_type_sm4,
            KeyType::Aes => CKK_AES,
            KeyType::Generic => CKK_GENERIC_SECRET,
            // SM3 has no number of its own: its keys are generic.
            KeyType::Hmac(Hash::Sm3) => CKK_GENERIC_SECRET,
            KeyType::Hmac(Hash::Sha256) => CKK_SHA256_HMAC,
            KeyType::Hmac(Hash::Sha384) => CKK_SHA384_HMAC,
            KeyType::Hmac(Hash::Sha512) => CKK_SHA512_HMAC,
        }
    }

    /// The key type behind a `CKK_` number; for `CKK_EC` the curve decides.
    #[must_use]
    pub fn key_type(&self, number: u64, curve: Option<Curve>) -> Option<KeyType> {
        if number == CKK_EC {
            return curve.map(KeyType::Ec);
        }
        let hmac = [Hash::Sha256, Hash::Sha384, Hash::Sha512].map(KeyType::Hmac);
        [KeyType::Sm2, KeyType::Sm4, KeyType::Aes, KeyType::Generic]
            .into_iter()
            .chain(hmac)
            .find(|key_type| self.key_type_number(*key_type) == number)
    }
}

impl Algorithm {
    /// Key sizes and flags.
    #[must_use]
    pub fn info(self) -> MechanismInfo {
        const CURVE: CK_FLAGS = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
        let ((key_size_min, key_size_max), flags) = match self {
            Self::Sm2KeyPairGen | Self::EcKeyPairGen => ((256, 256), CKF_GENERATE_KEY_PAIR | CURVE),
            Self::Sm2Sign(..) | Self::Ecdsa(_) => ((256, 256), CKF_SIGN | CKF_VERIFY | CURVE),
            Self::Hashing(_) => ((0, 0), CKF_DIGEST),
            Self::Hmac(_) => ((GENERIC_BYTES_MIN, GENERIC_BYTES_MAX), CKF_SIGN | CKF_VERIFY),
            Self::KeyGen(block) => (block.key_bytes(), CKF_GENERATE),
            Self::Ecb(block) | Self::Cbc(block, _) | Self::Gcm(block) => (block.key_bytes(), CKF_ENCRYPT | CKF_DECRYPT),
            Self::Sm4Mac => (Block::Sm4.key_bytes(), CKF_SIGN | CKF_VERIFY),
            Self::Cmac(block) => (block.key_bytes(), CKF_SIGN | CKF_VERIFY),
            Self::KeyWrap => (Block::Aes.key_bytes(), CKF_WRAP | CKF_UNWRAP),
            Self::GenericSecretGen => ((GENERIC_BYTES_MIN, GENERIC_BYTES_MAX), CKF_GENERATE),
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
            assert!(has(|a| matches!(a, Algorithm::Sm2KeyPairGen)), "{}", profile.name);
            assert!(has(|a| matches!(a, Algorithm::Sm2Sign(Input::Digest, _))), "{}", profile.name);
            assert!(
                has(|a| matches!(a, Algorithm::Hmac(_) | Algorithm::Sm4Mac | Algorithm::Ecb(_))),
                "{} has no PRF",
                profile.name
            );
        }
    }

    #[test]
    fn key_types_survive_the_round_trip_through_numbers() {
        for profile in PROFILES {
            let curves = Curve::ALL.map(KeyType::Ec);
            let hmac = [Hash::Sha256, Hash::Sha384, Hash::Sha512].map(KeyType::Hmac);
            let plain = [KeyType::Sm2, KeyType::Sm4, KeyType::Aes, KeyType::Generic];
            for key_type in plain.into_iter().chain(curves).chain(hmac) {
                let number = profile.key_type_number(key_type);
                assert_eq!(profile.key_type(number, key_type.curve()), Some(key_type));
            }
        }
    }
}
