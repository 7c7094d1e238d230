//! The tables: vendors' numbers, and the standard's own.

use cryptoki_sys::*;

use super::Algorithm::{
    self, Cbc, Cmac, EcKeyPairGen, Ecb, Ecdsa, Gcm, GenericSecretGen, Hashing, Hmac, KeyGen, KeyWrap, Sm2KeyPairGen,
    Sm2Sign, Sm4Mac,
};
use super::Form::{Der, Raw};
use super::Input::{Digest, Message};
use super::Padding::{Padded, Whole};
use super::{Block, Hash, Profile};

/// The mechanisms with standard numbers, present in every profile: what clients of any token expect, RSA and SHA-1 excepted.
pub(super) const STANDARD: &[(u64, Algorithm)] = &[
    (CKM_EC_KEY_PAIR_GEN, EcKeyPairGen),
    (CKM_ECDSA, Ecdsa(None)),
    (CKM_ECDSA_SHA256, Ecdsa(Some(Hash::Sha256))),
    (CKM_ECDSA_SHA384, Ecdsa(Some(Hash::Sha384))),
    (CKM_ECDSA_SHA512, Ecdsa(Some(Hash::Sha512))),
    (CKM_SHA256, Hashing(Hash::Sha256)),
    (CKM_SHA384, Hashing(Hash::Sha384)),
    (CKM_SHA512, Hashing(Hash::Sha512)),
    (CKM_SHA256_HMAC, Hmac(Hash::Sha256)),
    (CKM_SHA384_HMAC, Hmac(Hash::Sha384)),
    (CKM_SHA512_HMAC, Hmac(Hash::Sha512)),
    (CKM_GENERIC_SECRET_KEY_GEN, GenericSecretGen),
    (CKM_AES_KEY_GEN, KeyGen(Block::Aes)),
    (CKM_AES_ECB, Ecb(Block::Aes)),
    (CKM_AES_CBC, Cbc(Block::Aes, Whole)),
    (CKM_AES_CBC_PAD, Cbc(Block::Aes, Padded)),
    (CKM_AES_CMAC, Cmac(Block::Aes)),
    (CKM_AES_GCM, Gcm(Block::Aes)),
    (CKM_AES_KEY_WRAP, KeyWrap),
];

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
            (0x8000_9001, Hashing(Hash::Sm3)),
            (0x8000_9002, Hmac(Hash::Sm3)),
            (0x8000_0107, KeyGen(Block::Sm4)),
            (0x8000_0108, Ecb(Block::Sm4)),
            (0x8000_0109, Cbc(Block::Sm4, Whole)),
            (0x8000_A201, Cbc(Block::Sm4, Padded)),
            (0x8000_010A, Sm4Mac),
            (0x8000_0110, Cmac(Block::Sm4)),
            (0x8000_010F, Gcm(Block::Sm4)),
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
            (0x8000_0005, Hashing(Hash::Sm3)),
            (0x8000_0107, KeyGen(Block::Sm4)),
            (0x8000_0108, Ecb(Block::Sm4)),
            (0x8000_0109, Cbc(Block::Sm4, Whole)),
            (0x8000_010C, Cbc(Block::Sm4, Padded)),
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
            (0x8000_0005, Hashing(Hash::Sm3)),
            (0x8000_0107, KeyGen(Block::Sm4)),
            (0x8000_0108, Ecb(Block::Sm4)),
            (0x8000_0109, Cbc(Block::Sm4, Whole)),
            (0x8000_010F, Gcm(Block::Sm4)),
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
            (0x8000_0B01, Hashing(Hash::Sm3)),
            (0x8000_0B02, Hmac(Hash::Sm3)),
            (0x8000_0B10, KeyGen(Block::Sm4)),
            (0x8000_0B11, Ecb(Block::Sm4)),
            (0x8000_0B12, Cbc(Block::Sm4, Whole)),
            (0x8000_0B13, Cbc(Block::Sm4, Padded)),
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
            (0x8005_000E, Hashing(Hash::Sm3)),
            (0x8005_0001, KeyGen(Block::Sm4)),
            (0x8005_0004, Ecb(Block::Sm4)),
            (0x8005_0002, Cbc(Block::Sm4, Whole)),
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
            (0x0001_0005, Hashing(Hash::Sm3)),
            (0x0001_000A, KeyGen(Block::Sm4)),
            (0x0001_0007, Ecb(Block::Sm4)),
            (0x0001_0008, Cbc(Block::Sm4, Whole)),
        ],
    },
];
