//! The crypto suite of a chain, fixed in genesis.

use borsh::{BorshDeserialize, BorshSerialize};
use sha3::Digest as _;

use crate::{Address, H256};

/// Which algorithms a chain uses for signatures, hashes and data at rest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum CryptoSuite {
    /// SM2 signatures, SM3 for every hash and address, SM4 at rest and in TLS.
    Sm,
    /// secp256k1 signatures, keccak256, AES-256-GCM.
    Std,
}

/// The hash that contracts see: opcode 0x20, CREATE/CREATE2, code hash, selectors.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EvmHash {
    /// FISCO BCOS's way in SM mode; contracts built by solc-gm.
    Sm3,
    /// Contracts built by the stock solc, whose compile-time hashes are keccak.
    Keccak256,
}

/// keccak256 of the concatenation of `parts` (the pre-NIST padding Ethereum uses).
pub fn keccak256(parts: &[&[u8]]) -> H256 {
    let mut hasher = sha3::Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    H256(hasher.finalize().into())
}

/// SM3 of the concatenation of `parts` (GB/T 32905).
pub fn sm3(parts: &[&[u8]]) -> H256 {
    let mut hasher = bixi_accel::sm3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    H256(hasher.finalize())
}

impl CryptoSuite {
    /// Hash of the concatenation of `parts`.
    pub fn hash(self, parts: &[&[u8]]) -> H256 {
        match self {
            Self::Sm => sm3(parts),
            Self::Std => keccak256(parts),
        }
    }

    /// [`Self::hash`] of many messages, each in parts: much faster than one by one.
    pub fn hash_many<'a, M: AsRef<[&'a [u8]]>>(self, messages: &[M]) -> Vec<H256> {
        match self {
            Self::Sm => {
                let mut digests = vec![[0; H256::LEN]; messages.len()];
                bixi_accel::sm3::digest_many_parts(messages, &mut digests);
                digests.into_iter().map(H256).collect()
            }
            Self::Std => messages.iter().map(|parts| keccak256(parts.as_ref())).collect(),
        }
    }

    /// Account address of a public key: the last 20 bytes of H(X ‖ Y).
    pub fn address(self, public_key: &[u8; 64]) -> Address {
        address_of(&self.hash(&[public_key]))
    }

    /// [`Self::address`] of many keys.
    pub fn address_many(self, public_keys: &[&[u8; 64]]) -> Vec<Address> {
        let images: Vec<[&[u8]; 1]> = public_keys.iter().map(|key| [key.as_slice()]).collect();
        self.hash_many(&images).iter().map(address_of).collect()
    }
}

fn address_of(hash: &H256) -> Address {
    let mut address = [0; 20];
    address.copy_from_slice(&hash.0[12..]);
    Address(address)
}

impl EvmHash {
    /// Hash of the concatenation of `parts`.
    pub fn hash(self, parts: &[&[u8]]) -> H256 {
        match self {
            Self::Sm3 => sm3(parts),
            Self::Keccak256 => keccak256(parts),
        }
    }
}
