//! The two AEADs behind one in-place interface.

use std::ops::Range;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, inout::InOutBuf},
};
use bixi_accel::memory::{Source, keep_keys_in};
use bixi_accel::sm4::gcm;
use bixi_platform::secret::arena::{self, Locked};
use zeroize::Zeroizing;

pub(crate) const TAG_BYTES: usize = 16;
pub(crate) type Tag = [u8; TAG_BYTES];

/// The cipher that seals files. It begins with an epoch of the keys; a reader goes by the file's own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtRest {
    /// SM4-GCM (GB/T 32907), what a new vault begins with.
    Sm4Gcm,
    /// AES-256-GCM (FIPS 197).
    Aes256Gcm,
}

impl AtRest {
    /// Its number wherever bytes name it: in the header of a file, in a vault.
    pub fn id(self) -> u8 {
        match self {
            Self::Sm4Gcm => 1,
            Self::Aes256Gcm => 2,
        }
    }

    /// The cipher of a number; none for one that names none.
    pub fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Sm4Gcm),
            2 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sm4Gcm => "SM4-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
        }
    }
}

/// An expanded segment key, in locked pages ([`arena`]). Both key types wipe themselves on drop.
pub(crate) enum Aead {
    Sm4(gcm::Key),
    Aes(Locked<Aes256Gcm>),
}

impl Aead {
    /// Expands the first bytes of `material` into the suite's key.
    pub(crate) fn new(suite: AtRest, material: &Zeroizing<[u8; 32]>) -> Self {
        match suite {
            AtRest::Sm4Gcm => {
                let key = Zeroizing::new(<[u8; 16]>::try_from(&material[..16]).expect("16 of 32 bytes"));
                keep_keys_in(Source::new(|layout| Some(arena::lend(layout)), arena::give_back));
                Self::Sm4(gcm::Key::new(&key))
            }
            AtRest::Aes256Gcm => Self::Aes(Locked::new(Aes256Gcm::new((&**material).into()))),
        }
    }

    /// Encrypts `data` in place and returns the tag over it and `aad`. Each `counter` may be used once per key.
    pub(crate) fn seal(&self, counter: u64, aad: &[u8], data: &mut [u8]) -> Tag {
        let nonce = nonce(counter);
        match self {
            Self::Sm4(key) => gcm::seal(key, &nonce, aad, data),
            Self::Aes(key) => key
                .encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(data))
                .expect("frames and pages are far below GCM's 64 GiB per message")
                .into(),
        }
    }

    /// Decrypts `data` in place; false, with `data` of no meaning, when the tag does not fit.
    #[must_use]
    pub(crate) fn open(&self, counter: u64, aad: &[u8], data: &mut [u8], tag: &Tag) -> bool {
        let nonce = nonce(counter);
        match self {
            Self::Sm4(key) => gcm::open(key, &nonce, aad, data, tag).is_ok(),
            Self::Aes(key) => {
                key.decrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(data), &(*tag).into()).is_ok()
            }
        }
    }

    /// [`Aead::open`], after which at least `part` is plaintext; what lies outside it is of no meaning.
    #[must_use]
    pub(crate) fn open_part(&self, counter: u64, aad: &[u8], data: &mut [u8], tag: &Tag, part: Range<usize>) -> bool {
        match self {
            Self::Sm4(key) => gcm::open_part(key, &nonce(counter), aad, data, tag, part).is_ok(),
            Self::Aes(_) => self.open(counter, aad, data, tag),
        }
    }
}

/// The deterministic 96-bit nonce of SP 800-38D 8.2.1: the fixed field is zero because the key belongs to one segment.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this process that are locked.
    fn locked() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    #[test]
    fn expanded_keys_are_in_locked_memory() {
        let mut kept = Vec::new();
        for suite in [AtRest::Sm4Gcm, AtRest::Aes256Gcm] {
            let before = locked();
            let keys: Vec<Aead> =
                (0..700).map(|number| Aead::new(suite, &Zeroizing::new([number as u8; 32]))).collect();
            // Round keys alone have 128 bytes and more; some take places that others have left.
            let expected = keys.len() * 64;
            let grown = locked().saturating_sub(before);
            assert!(grown >= expected || bixi_platform::secret::unlocked_secrets() > 0, "{}: {grown}", suite.name());
            let (mut data, other) = (*b"sealed by the last of them", &keys[0]);
            let tag = keys[699].seal(1, b"", &mut data);
            assert!(!other.open(1, b"", &mut data.clone(), &tag));
            assert!(keys[699].open(1, b"", &mut data, &tag));
            kept.push(keys);
        }
    }
}
