//! Hashes and HMAC by one interface: SM3 is accel's, SHA-2 RustCrypto's.

use bixi_accel::sm3;
use hmac::{KeyInit as _, Mac as _};
use sha2::Digest as _;
use zeroize::Zeroizing;

use crate::profile::Hash;

/// Something being hashed.
pub(crate) enum Hasher {
    Sm3(sm3::Hasher),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hash {
    /// Bytes of a digest.
    pub(crate) fn digest_bytes(self) -> usize {
        match self {
            Hash::Sm3 | Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }
}

impl Hasher {
    pub(crate) fn new(hash: Hash) -> Self {
        match hash {
            Hash::Sm3 => Self::Sm3(sm3::Hasher::new()),
            Hash::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Hash::Sha384 => Self::Sha384(sha2::Sha384::new()),
            Hash::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub(crate) fn hash(&self) -> Hash {
        match self {
            Self::Sm3(_) => Hash::Sm3,
            Self::Sha256(_) => Hash::Sha256,
            Self::Sha384(_) => Hash::Sha384,
            Self::Sha512(_) => Hash::Sha512,
        }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sm3(hasher) => hasher.update(data),
            Self::Sha256(hasher) => hasher.update(data),
            Self::Sha384(hasher) => hasher.update(data),
            Self::Sha512(hasher) => hasher.update(data),
        }
    }

    pub(crate) fn finalize(self) -> Vec<u8> {
        match self {
            Self::Sm3(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha384(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// An HMAC being computed.
pub(crate) enum Hmac {
    Sm3(Box<sm3::Hmac>),
    Sha256(Box<hmac::Hmac<sha2::Sha256>>),
    Sha384(Box<hmac::Hmac<sha2::Sha384>>),
    Sha512(Box<hmac::Hmac<sha2::Sha512>>),
}

const ANY_KEY: &str = "HMAC takes keys of every length";

impl Hmac {
    pub(crate) fn new(hash: Hash, key: &[u8]) -> Self {
        match hash {
            Hash::Sm3 => Self::Sm3(Box::new(sm3::Hmac::new(key))),
            Hash::Sha256 => Self::Sha256(Box::new(hmac::Hmac::new_from_slice(key).expect(ANY_KEY))),
            Hash::Sha384 => Self::Sha384(Box::new(hmac::Hmac::new_from_slice(key).expect(ANY_KEY))),
            Hash::Sha512 => Self::Sha512(Box::new(hmac::Hmac::new_from_slice(key).expect(ANY_KEY))),
        }
    }

    pub(crate) fn hash(&self) -> Hash {
        match self {
            Self::Sm3(_) => Hash::Sm3,
            Self::Sha256(_) => Hash::Sha256,
            Self::Sha384(_) => Hash::Sha384,
            Self::Sha512(_) => Hash::Sha512,
        }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sm3(mac) => mac.update(data),
            Self::Sha256(mac) => mac.update(data),
            Self::Sha384(mac) => mac.update(data),
            Self::Sha512(mac) => mac.update(data),
        }
    }

    pub(crate) fn finalize(self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Sm3(mac) => mac.finalize().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        })
    }
}
