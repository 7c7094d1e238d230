//! HMAC (RFC 2104, GB/T 15852.2) over SM3.

use super::{BLOCK_BYTES, Hasher, digest};
use crate::ct;
use zeroize::Zeroizing;

/// An incremental HMAC-SM3 computation. Cloning after [`Hmac::new`] reuses the work done on the key.
#[derive(Clone)]
pub struct Hmac {
    inner: Hasher,
    outer: Hasher,
}

impl Hmac {
    /// Starts with a key of any length; keys above one block are hashed first.
    pub fn new(key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0u8; BLOCK_BYTES]);
        if key.len() > BLOCK_BYTES {
            block[..32].copy_from_slice(&*Zeroizing::new(digest(key)));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let padded = |pad: u8| {
            let mut hasher = Hasher::new();
            hasher.update(&*Zeroizing::new(block.map(|byte| byte ^ pad)));
            hasher
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// Appends `data` to the message.
    pub fn update(&mut self, data: &[u8]) {
        self.inner.update(data);
    }

    /// The tag of the message.
    pub fn finalize(mut self) -> [u8; 32] {
        self.outer.update(&*Zeroizing::new(self.inner.finalize()));
        self.outer.finalize()
    }

    /// Whether `tag` is the message's full tag, compared in constant time.
    pub fn verify(self, tag: &[u8; 32]) -> bool {
        ct::eq(&*Zeroizing::new(self.finalize()), tag)
    }
}

impl core::fmt::Debug for Hmac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sm3::Hmac(..)")
    }
}
