//! Round keys in both orders, for every kernel on vectors.

use super::xts::{self, Tweaks};
use super::{BLOCK_BYTES, Direction, Kernel, PARALLEL_BLOCKS, cbc, matrix};
use core::panic::{RefUnwindSafe, UnwindSafe};
use zeroize::Zeroize;

/// Blocks for which a room of masks for [`PARALLEL_BLOCKS`] would cost more than they do.
const FEW_BLOCKS: usize = 16;

/// What a kernel computes; implemented by the token that proves that its instructions are there.
pub(super) trait Engine: Copy + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// Round keys in the order of use, as the kernel reads them.
    type Keys: Zeroize + Send + Sync + UnwindSafe + RefUnwindSafe;

    /// The kernel's name, by instruction set.
    const NAME: &'static str;

    /// A round key as the kernel wants it: in memory's byte order behind `A` (see [`matrix`]), with its constant, unless it says otherwise.
    fn round_key(word: u32) -> u32 {
        matrix::enter(word.swap_bytes())
    }

    /// Lays out such round keys.
    fn keys(round_keys: &[u32; 32]) -> Self::Keys;

    /// As [`Kernel::crypt`].
    fn crypt(self, keys: &Self::Keys, blocks: &mut [[u8; BLOCK_BYTES]]);

    /// As [`Kernel::crypt_masked`].
    fn crypt_masked(self, keys: &Self::Keys, blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]);

    /// As [`Kernel::crypt_tweaked`].
    fn crypt_tweaked(self, keys: &Self::Keys, blocks: &mut [[u8; BLOCK_BYTES]], tweaks: &mut Tweaks) {
        let crypt = |blocks: &mut [_], masks: &[_]| self.crypt_masked(keys, blocks, masks);
        if blocks.len() <= FEW_BLOCKS {
            xts::crypt_by_masks::<FEW_BLOCKS>(blocks, tweaks, crypt);
        } else {
            xts::crypt_by_masks::<PARALLEL_BLOCKS>(blocks, tweaks, crypt);
        }
    }

    /// As [`Kernel::decrypt_chained`].
    fn decrypt_chained(self, keys: &Self::Keys, chain: &mut [u8; BLOCK_BYTES], blocks: &mut [[u8; BLOCK_BYTES]]) {
        cbc::decrypt_by_copies(chain, blocks, |blocks| self.crypt(keys, blocks));
    }

    /// As [`Kernel::add_stream`].
    fn add_stream(
        self,
        keys: &Self::Keys,
        counter: &[u8; BLOCK_BYTES],
        first: Option<&mut [u8; BLOCK_BYTES]>,
        data: &mut [u8],
    );
}

/// Round keys as the kernel wants them, in both orders of use; and the proof that they may be used. Wiped when dropped.
pub(super) struct Schedule<T: Engine> {
    encrypt: T::Keys,
    decrypt: T::Keys,
    token: T,
}

impl<T: Engine> Schedule<T> {
    pub(super) fn new(token: T, round_keys: &[u32; 32]) -> Self {
        let mut round_keys = round_keys.map(T::round_key);
        let encrypt = T::keys(&round_keys);
        round_keys.reverse();
        let decrypt = T::keys(&round_keys);
        round_keys.zeroize();
        Self { encrypt, decrypt, token }
    }

    fn keys(&self, direction: Direction) -> &T::Keys {
        match direction {
            Direction::Encrypt => &self.encrypt,
            Direction::Decrypt => &self.decrypt,
        }
    }
}

impl<T: Engine> Drop for Schedule<T> {
    fn drop(&mut self) {
        self.encrypt.zeroize();
        self.decrypt.zeroize();
    }
}

impl<T: Engine> Kernel for Schedule<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn crypt(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
        self.token.crypt(self.keys(direction), blocks);
    }

    fn crypt_masked(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]) {
        assert_eq!(blocks.len(), masks.len(), "a mask for each block");
        self.token.crypt_masked(self.keys(direction), blocks, masks);
    }

    fn crypt_tweaked(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]], tweaks: &mut Tweaks) {
        self.token.crypt_tweaked(self.keys(direction), blocks, tweaks);
    }

    fn decrypt_chained(&self, chain: &mut [u8; BLOCK_BYTES], blocks: &mut [[u8; BLOCK_BYTES]]) {
        self.token.decrypt_chained(&self.decrypt, chain, blocks);
    }

    fn add_stream(&self, counter: &[u8; BLOCK_BYTES], first: Option<&mut [u8; BLOCK_BYTES]>, data: &mut [u8]) {
        self.token.add_stream(&self.encrypt, counter, first, data);
    }
}
