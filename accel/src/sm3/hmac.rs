//! HMAC (RFC 2104, GB/T 15852.2) over SM3.

use super::lanes::{Cut, Whole};
use super::{BLOCK_BYTES, Hasher, digest, many, wipe};
use crate::ct;
use zeroize::Zeroizing;

/// Messages hashed together.
const AT_ONCE: usize = 48;

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

    /// The tags of many messages, each appended to what was given so far: `out[i]` becomes that of `messages[i]`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn finalize_many(&self, messages: &[&[u8]], out: &mut [[u8; 32]]) {
        assert_eq!(messages.len(), out.len(), "finalize_many: one tag per message");
        let (inner, begun) = self.inner.at_last_block();
        let (outer, _) = self.outer.at_last_block();
        let mut digests = [[0; 32]; AT_ONCE];
        for (messages, out) in messages.chunks(AT_ONCE).zip(out.chunks_mut(AT_ONCE)) {
            let digests = &mut digests[..messages.len()];
            let parts: [[&[u8]; 2]; AT_ONCE] =
                core::array::from_fn(|i| [begun, messages.get(i).copied().unwrap_or_default()]);
            many::digests(&inner, &Cut::new(&parts[..messages.len()]), digests);
            let parts: [&[u8]; AT_ONCE] = core::array::from_fn(|i| digests.get(i).map_or(&[][..], |digest| digest));
            many::digests(&outer, &Whole(&parts[..messages.len()]), out);
        }
        wipe(digests.as_flattened_mut(), 0);
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
