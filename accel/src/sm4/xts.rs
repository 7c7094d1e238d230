//! XTS: sectors encrypted in place with ciphertext stealing.
//!
//! Two standards differ in how a tweak is multiplied by `x`:
//! * [`TweakOrder::Gbt17964`], GB/T 17964-2021: the block is a big-endian mirrored field element, as in GCM.
//! * [`TweakOrder::Ieee1619`], IEEE 1619-2018: the block is a little-endian field element, as in every disk encryption.
//!
//! The first block is the same in both.

use super::{BLOCK_BYTES, Direction, KEY_BYTES};
use crate::ct;
use zeroize::Zeroize;

/// Which standard's multiplication steps the tweak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TweakOrder {
    /// GB/T 17964-2021.
    Gbt17964,
    /// IEEE 1619-2018 clause 5.
    Ieee1619,
}

/// A sector cannot be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XtsError {
    /// Both standards need one whole block at least.
    #[error("SM4-XTS: a sector of {0} bytes; at least 16 are needed")]
    TooShort(usize),
    /// IEEE 1619-2018 5.1: the limit on blocks under one tweak.
    #[error("SM4-XTS: a sector of {0} bytes; at most 16 MiB (2^20 blocks) are allowed")]
    TooLong(usize),
}

/// The two halves of an XTS key refused by [`Key::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SM4-XTS: both halves of the key are equal; draw two independent keys")]
pub struct EqualHalves;

const SECTOR_BYTES_MAX: usize = BLOCK_BYTES << 20;

/// A data key, a tweak key and a tweak order.
#[derive(Debug)]
pub struct Key {
    data: super::Key,
    tweak: super::Key,
    order: TweakOrder,
}

impl Key {
    /// Expands `data key ‖ tweak key`. Equal halves are refused, as FIPS 140-2 IG A.9 asks.
    pub fn new(key: &[u8; 2 * KEY_BYTES], order: TweakOrder) -> Result<Self, EqualHalves> {
        let (halves, _) = key.as_chunks::<KEY_BYTES>();
        if crate::ct::eq(&halves[0], &halves[1]) {
            return Err(EqualHalves);
        }
        Ok(Self::with(super::Key::new(&halves[0]), super::Key::new(&halves[1]), order))
    }

    /// A key of two expanded ones.
    pub(super) fn with(data: super::Key, tweak: super::Key, order: TweakOrder) -> Self {
        Self { data, tweak, order }
    }

    /// Encrypts a sector of 16 bytes or more in place under its 16-byte tweak.
    pub fn encrypt(&self, tweak: &[u8; BLOCK_BYTES], data: &mut [u8]) -> Result<(), XtsError> {
        self.process(Direction::Encrypt, tweak, data)
    }

    /// Inverse of [`Key::encrypt`].
    pub fn decrypt(&self, tweak: &[u8; BLOCK_BYTES], data: &mut [u8]) -> Result<(), XtsError> {
        self.process(Direction::Decrypt, tweak, data)
    }

    fn process(&self, direction: Direction, tweak: &[u8; BLOCK_BYTES], data: &mut [u8]) -> Result<(), XtsError> {
        check_length(data.len())?;
        let mut tweaks = Tweaks::new(&self.tweak, tweak, self.order);
        let (blocks, tail) = data.as_chunks_mut::<BLOCK_BYTES>();
        let whole = blocks.len() - usize::from(!tail.is_empty());
        let (plain, last) = blocks.split_at_mut(whole);
        self.data.kernel.crypt_tweaked(direction, plain, &mut tweaks);
        if let [last] = last {
            self.steal(direction, last, tail, &mut tweaks);
        }
        Ok(())
    }

    /// The last whole block and the tail of fewer than sixteen bytes.
    fn steal(&self, direction: Direction, last: &mut [u8; BLOCK_BYTES], tail: &mut [u8], tweaks: &mut Tweaks) {
        let (first, second) = (tweaks.next(), tweaks.next());
        let order = if direction == Direction::Encrypt { [first, second] } else { [second, first] };
        self.data.kernel.crypt_masked(direction, core::slice::from_mut(last), &order[..1]);
        tail.swap_with_slice(&mut last[..tail.len()]);
        self.data.kernel.crypt_masked(direction, core::slice::from_mut(last), &order[1..]);
    }
}

/// XTS's inside for kernels that make no tweaks themselves: `crypt` is [`super::Kernel::crypt_masked`] in one direction,
/// for `AT_ONCE` blocks or fewer.
pub(super) fn crypt_by_masks<const AT_ONCE: usize>(
    blocks: &mut [[u8; BLOCK_BYTES]],
    tweaks: &mut Tweaks,
    crypt: impl Fn(&mut [[u8; BLOCK_BYTES]], &[[u8; BLOCK_BYTES]]),
) {
    let mut masks = [[0; BLOCK_BYTES]; AT_ONCE];
    for group in blocks.chunks_mut(AT_ONCE) {
        let masks = &mut masks[..group.len()];
        masks.fill_with(|| tweaks.next());
        crypt(group, masks);
    }
    ct::wipe(masks.as_flattened_mut());
}

fn check_length(bytes: usize) -> Result<(), XtsError> {
    match bytes {
        0..BLOCK_BYTES => Err(XtsError::TooShort(bytes)),
        BLOCK_BYTES..=SECTOR_BYTES_MAX => Ok(()),
        _ => Err(XtsError::TooLong(bytes)),
    }
}

/// The sequence `T`, `T·x`, `T·x²`, … of a sector.
pub(super) struct Tweaks {
    /// The next, as [`TweakOrder::element`] reads it.
    pub(super) value: u128,
    pub(super) order: TweakOrder,
}

impl Tweaks {
    fn new(key: &super::Key, tweak: &[u8; BLOCK_BYTES], order: TweakOrder) -> Self {
        let mut block = [*tweak];
        key.encrypt_blocks(&mut block);
        let value = order.element(&block[0]);
        block.zeroize();
        Self { value, order }
    }

    fn next(&mut self) -> [u8; BLOCK_BYTES] {
        let tweak = self.order.block(self.value);
        self.value = self.order.step(self.value);
        tweak
    }
}

impl TweakOrder {
    /// The next field element: times `x`.
    pub(super) fn step(self, t: u128) -> u128 {
        match self {
            Self::Gbt17964 => t >> 1 ^ ((t & 1).wrapping_neg() & 0xe1 << 120),
            Self::Ieee1619 => t << 1 ^ ((t >> 127).wrapping_neg() & 0x87),
        }
    }

    /// A block as a field element.
    pub(super) fn element(self, block: &[u8; BLOCK_BYTES]) -> u128 {
        match self {
            Self::Gbt17964 => u128::from_be_bytes(*block),
            Self::Ieee1619 => u128::from_le_bytes(*block),
        }
    }

    /// A field element as a block.
    fn block(self, t: u128) -> [u8; BLOCK_BYTES] {
        match self {
            Self::Gbt17964 => t.to_be_bytes(),
            Self::Ieee1619 => t.to_le_bytes(),
        }
    }
}

impl Drop for Tweaks {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}
