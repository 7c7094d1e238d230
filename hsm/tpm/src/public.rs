//! Public areas of keys (part 2, 12.2): the templates keys are made from, and what is read back.
//!
//! Every key is `fixedTPM` and `fixedParent` (it leaves neither this TPM nor its parent), was made inside
//! (`sensitiveDataOrigin`), and is used with its authorization value (`userWithAuth`). Its *name* is the hash of its public area
//! (part 1, 16), so a name stands for all of that and for the public key.

use bixi_hsm::KeyKind;

use crate::kdf::sha256;
use crate::wire::{Malformed, Reader, Writer, number};

const ALG_HMAC: u16 = 0x0005;
const ALG_AES: u16 = 0x0006;
const ALG_KEYED_HASH: u16 = 0x0008;
pub(crate) const ALG_XOR: u16 = 0x000A;
pub(crate) const ALG_SHA256: u16 = 0x000B;
pub(crate) const ALG_NULL: u16 = 0x0010;
pub(crate) const ALG_SM3: u16 = 0x0012;
const ALG_SM4: u16 = 0x0013;
pub(crate) const ALG_ECDSA: u16 = 0x0018;
pub(crate) const ALG_SM2: u16 = 0x001B;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;
pub(crate) const CURVE_SM2: u16 = 0x0020;

const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
const NO_DICTIONARY_ATTACK: u32 = 1 << 10;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;
/// What every key of ours has.
const SEALED_IN: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH;

/// What a parent of keys of ours has, and nothing more.
const STORAGE: u32 = SEALED_IN | NO_DICTIONARY_ATTACK | RESTRICTED | DECRYPT;

/// Longest public area that is read.
pub(crate) const PUBLIC_BYTES_MAX: usize = 512;
/// Longest wrapped private part that is read.
pub(crate) const PRIVATE_BYTES_MAX: usize = 1024;

/// What this TPM knows besides what all of them know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithms {
    pub(crate) sm3: bool,
    pub(crate) aes: bool,
}

/// A point of a 256-bit curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) x: [u8; 32],
    pub(crate) y: [u8; 32],
}

impl Point {
    /// 04 ‖ x ‖ y (SEC 1).
    pub(crate) fn sec1(&self) -> [u8; 65] {
        let mut bytes = [4; 65];
        bytes[1..33].copy_from_slice(&self.x);
        bytes[33..].copy_from_slice(&self.y);
        bytes
    }

    pub(crate) fn xy(&self) -> [u8; 64] {
        self.sec1()[1..].try_into().expect("64 bytes follow the tag")
    }
}

/// What a public area says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Public {
    /// An elliptic-curve key with its signature scheme, [`ALG_NULL`] for none.
    Ecc { attributes: u32, scheme: u16, curve: u16, point: Point },
    /// An HMAC key.
    Hmac { attributes: u32 },
}

impl Public {
    /// Reads a public area of one of the shapes below; every other is refused.
    pub(crate) fn decode(area: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(area);
        let kind = reader.u16("type of the key")?;
        reader.expect(ALG_SHA256, "name algorithm")?;
        let attributes = reader.u32("attributes of the key")?;
        reader.sized(0, "policy of the key")?;
        let public = match kind {
            ALG_ECC => {
                if reader.u16("symmetric cipher")? != ALG_NULL {
                    reader.take(4, "symmetric cipher")?;
                }
                let scheme = reader.u16("scheme")?;
                if scheme != ALG_NULL {
                    reader.u16("hash of the scheme")?;
                }
                let curve = reader.u16("curve")?;
                reader.expect(ALG_NULL, "key derivation")?;
                let x = number(reader.sized(66, "x")?, "x")?;
                let y = number(reader.sized(66, "y")?, "y")?;
                Self::Ecc { attributes, scheme, curve, point: Point { x, y } }
            }
            ALG_KEYED_HASH => {
                reader.expect(ALG_HMAC, "scheme")?;
                reader.expect(ALG_SHA256, "hash of the scheme")?;
                reader.sized(32, "unique")?;
                Self::Hmac { attributes }
            }
            _ => return Err(Malformed("type of the key")),
        };
        reader.end("end of the public area")?;
        Ok(public)
    }

    /// What a key of ours is for; `None` for one that is not sealed in, or is for something else.
    pub(crate) fn kind(&self) -> Option<KeyKind> {
        match *self {
            Self::Ecc { attributes, scheme: ALG_SM2, curve: CURVE_SM2, .. } if attributes == SEALED_IN | SIGN => {
                Some(KeyKind::Sm2Sign)
            }
            Self::Hmac { attributes } if attributes == SEALED_IN | SIGN => Some(KeyKind::Kek),
            _ => None,
        }
    }

    /// The point of a key that signs what the TPM states, and nothing else.
    pub(crate) fn attestation_point(&self) -> Option<Point> {
        match *self {
            Self::Ecc { attributes, scheme: ALG_ECDSA, curve: CURVE_P256, point }
                if attributes & (SEALED_IN | RESTRICTED | SIGN | DECRYPT) == SEALED_IN | RESTRICTED | SIGN =>
            {
                Some(point)
            }
            _ => None,
        }
    }

    /// The point of a storage key.
    pub(crate) fn storage_point(&self) -> Option<Point> {
        match *self {
            Self::Ecc { attributes, scheme: ALG_NULL, curve: CURVE_P256, point } if attributes == STORAGE => {
                Some(point)
            }
            _ => None,
        }
    }
}

/// Name algorithm ‖ SHA-256 of the public area.
pub(crate) fn name_of(area: &[u8]) -> Vec<u8> {
    [&ALG_SHA256.to_be_bytes()[..], &sha256(&[area])].concat()
}

/// A public area without its unique part: what a key is made from, and what the one that was made must begin with.
pub(crate) struct Template {
    stem: Writer,
    unique: &'static [u8],
}

impl Template {
    /// The parent of all keys of a store: the storage key of TCG's provisioning guidance, on P-256. The same seed and template
    /// give the same key.
    pub(crate) fn storage(algorithms: Algorithms) -> Self {
        let cipher = if algorithms.aes { ALG_AES } else { ALG_SM4 };
        let stem = head(ALG_ECC, STORAGE).u16(cipher).u16(128).u16(ALG_CFB).u16(ALG_NULL);
        Self { stem: stem.u16(CURVE_P256).u16(ALG_NULL), unique: &[0; 4] }
    }

    /// Whether `area` is of a parent that some TPM would have made from our template.
    pub(crate) fn made_storage(area: &[u8]) -> bool {
        [true, false].into_iter().any(|aes| Self::storage(Algorithms { sm3: false, aes }).made(area))
    }

    /// A key of a user's.
    pub(crate) fn key(kind: KeyKind, algorithms: Algorithms) -> Option<Self> {
        match kind {
            KeyKind::Sm2Sign => {
                // The digest comes ready: the hash named here is neither computed nor part of the signature.
                let hash = if algorithms.sm3 { ALG_SM3 } else { ALG_SHA256 };
                let stem = head(ALG_ECC, SEALED_IN | SIGN).u16(ALG_NULL).u16(ALG_SM2).u16(hash);
                Some(Self { stem: stem.u16(CURVE_SM2).u16(ALG_NULL), unique: &[0; 4] })
            }
            KeyKind::Kek => Some(Self::hmac()),
            _ => None,
        }
    }

    /// An HMAC-SHA-256 key.
    pub(crate) fn hmac() -> Self {
        Self { stem: head(ALG_KEYED_HASH, SEALED_IN | SIGN).u16(ALG_HMAC).u16(ALG_SHA256), unique: &[0; 2] }
    }

    /// Signs what the TPM states, and nothing a caller brings; so it needs no PIN.
    pub(crate) fn attestation() -> Self {
        let attributes = SEALED_IN | NO_DICTIONARY_ATTACK | RESTRICTED | SIGN;
        let stem = head(ALG_ECC, attributes).u16(ALG_NULL).u16(ALG_ECDSA).u16(ALG_SHA256);
        Self { stem: stem.u16(CURVE_P256).u16(ALG_NULL), unique: &[0; 4] }
    }

    /// The area to send.
    pub(crate) fn area(&self) -> Vec<u8> {
        [self.stem.as_slice(), self.unique].concat()
    }

    /// Whether `area` is of a key made from this template.
    pub(crate) fn made(&self, area: &[u8]) -> bool {
        area.starts_with(self.stem.as_slice())
    }
}

/// Type, name algorithm, attributes, no policy.
fn head(kind: u16, attributes: u32) -> Writer {
    Writer::new().u16(kind).u16(ALG_SHA256).u32(attributes).sized(&[])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALGORITHMS: Algorithms = Algorithms { sm3: false, aes: true };

    fn templates() -> [Template; 4] {
        let key = |kind| Template::key(kind, ALGORITHMS).unwrap();
        [Template::storage(ALGORITHMS), key(KeyKind::Sm2Sign), key(KeyKind::Kek), Template::attestation()]
    }

    #[test]
    fn every_template_is_read_as_what_it_is_for() {
        let [storage, sign, kek, attestation] = templates().map(|it| Public::decode(&it.area()).unwrap());
        assert_eq!(
            [storage, sign, kek, attestation].map(|it| it.storage_point().is_some()),
            [true, false, false, false]
        );
        assert_eq!(sign.kind(), Some(KeyKind::Sm2Sign));
        assert_eq!(kek.kind(), Some(KeyKind::Kek));
        assert_eq!([storage, attestation].map(|it| it.kind()), [None; 2]);
        assert_eq!(
            [storage, sign, kek, attestation].map(|it| it.attestation_point().is_some()),
            [false, false, false, true]
        );
    }

    #[test]
    fn a_key_that_could_leave_is_none_of_ours() {
        for bit in [FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN, USER_WITH_AUTH, SIGN] {
            let mut area = Template::hmac().area();
            let attributes = (SEALED_IN | SIGN) & !bit;
            area[4..8].copy_from_slice(&attributes.to_be_bytes());
            assert_eq!(Public::decode(&area).unwrap().kind(), None);
            assert!(!Template::hmac().made(&area));
        }
    }

    #[test]
    fn a_parent_is_of_our_template_and_of_no_other() {
        let area = |aes| Template::storage(Algorithms { sm3: false, aes }).area();
        assert!([true, false].into_iter().all(|aes| Template::made_storage(&area(aes))));
        for bit in (0..32).map(|at| 1u32 << at) {
            let mut other = area(true);
            other[4..8].copy_from_slice(&(STORAGE ^ bit).to_be_bytes());
            let point = Public::decode(&other).unwrap().storage_point();
            assert!(point.is_none() && !Template::made_storage(&other), "attribute {bit:#x}");
        }
        let mut shorter_key = area(true);
        shorter_key[12..14].copy_from_slice(&64u16.to_be_bytes());
        assert!(!Template::made_storage(&shorter_key));
    }

    #[test]
    fn a_name_is_the_hash_of_the_area() {
        let area = Template::hmac().area();
        let name = name_of(&area);
        assert_eq!((name.len(), &name[..2]), (34, &[0, 0x0B][..]));
        assert_ne!(name, name_of(&area[1..]));
    }

    proptest! {
        /// Whatever stands in a file or comes from a TPM, reading a public area ends with a value or an error.
        #[test]
        fn any_area_is_read_or_refused(
            which in 0..4usize,
            cut in 0..64usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            tail in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut area = templates()[which].area();
            area.truncate(area.len().saturating_sub(cut));
            area.extend(tail);
            for (at, byte) in changes {
                if !area.is_empty() {
                    let at = at.index(area.len());
                    area[at] = byte;
                }
            }
            if let Ok(public) = Public::decode(&area) {
                let _ = (public.kind(), public.attestation_point(), public.storage_point());
            }
        }
    }
}
