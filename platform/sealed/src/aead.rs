//! The two AEADs behind one in-place interface.

use std::ops::Range;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, inout::InOutBuf},
};
use bixi_accel::sm4::gcm;
use zeroize::Zeroizing;

pub(crate) const TAG_BYTES: usize = 16;
pub(crate) type Tag = [u8; TAG_BYTES];

/// The cipher that seals files. A chain's suite chooses it; a reader goes by the file's own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtRest {
    /// SM4-GCM, for the `sm` suite.
    Sm4Gcm,
    /// AES-256-GCM, for the `std` suite.
    Aes256Gcm,
}

impl AtRest {
    /// Number in the file header.
    pub(crate) fn id(self) -> u8 {
        match self {
            Self::Sm4Gcm => 1,
            Self::Aes256Gcm => 2,
        }
    }

    pub(crate) fn from_id(id: u8) -> Option<Self> {
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

/// An expanded segment key. Both key types wipe themselves on drop; they are on the heap, not in locked pages.
pub(crate) enum Aead {
    Sm4(Box<gcm::Key>),
    Aes(Box<Aes256Gcm>),
}

impl Aead {
    /// Expands the first bytes of `material` into the suite's key.
    pub(crate) fn new(suite: AtRest, material: &Zeroizing<[u8; 32]>) -> Self {
        match suite {
            AtRest::Sm4Gcm => {
                let key = Zeroizing::new(<[u8; 16]>::try_from(&material[..16]).expect("16 of 32 bytes"));
                Self::Sm4(Box::new(gcm::Key::new(&key)))
            }
            AtRest::Aes256Gcm => Self::Aes(Box::new(Aes256Gcm::new((&**material).into()))),
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
