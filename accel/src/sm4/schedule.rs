//! Round keys behind `A` (see [`super::matrix`]), for every kernel on vectors that keeps its states there.

use super::{BLOCK_BYTES, Direction, Kernel, matrix};
use core::panic::{RefUnwindSafe, UnwindSafe};
use zeroize::ZeroizeOnDrop;

/// What a kernel computes with round keys behind `A`; implemented by the token that proves that its instructions are there.
pub(super) trait Engine: Copy + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// The kernel's name, by instruction set.
    const NAME: &'static str;

    /// [`Kernel::crypt`] with round keys in the order of use.
    fn crypt(self, round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]]);

    /// [`Kernel::crypt_masked`] with round keys in the order of use.
    fn crypt_masked(self, round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]);

    /// [`Kernel::add_stream`] with the round keys of encryption.
    fn add_stream(
        self,
        round_keys: &[u32; 32],
        counter: &[u8; BLOCK_BYTES],
        first: Option<&mut [u8; BLOCK_BYTES]>,
        data: &mut [u8],
    );
}

/// Round keys in memory's byte order behind `A`, with its constant, in both orders of use; and the proof that they may be used.
#[derive(ZeroizeOnDrop)]
pub(super) struct Schedule<T> {
    encrypt: [u32; 32],
    decrypt: [u32; 32],
    #[zeroize(skip)]
    token: T,
}

impl<T: Engine> Schedule<T> {
    pub(super) fn new(token: T, round_keys: &[u32; 32]) -> Self {
        let encrypt = round_keys.map(|key| matrix::enter(u32::swap_bytes(key)));
        let mut decrypt = encrypt;
        decrypt.reverse();
        Self { encrypt, decrypt, token }
    }

    fn round_keys(&self, direction: Direction) -> &[u32; 32] {
        match direction {
            Direction::Encrypt => &self.encrypt,
            Direction::Decrypt => &self.decrypt,
        }
    }
}

impl<T: Engine> Kernel for Schedule<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn crypt(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
        self.token.crypt(self.round_keys(direction), blocks);
    }

    fn crypt_masked(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]) {
        assert_eq!(blocks.len(), masks.len(), "a mask for each block");
        self.token.crypt_masked(self.round_keys(direction), blocks, masks);
    }

    fn add_stream(&self, counter: &[u8; BLOCK_BYTES], first: Option<&mut [u8; BLOCK_BYTES]>, data: &mut [u8]) {
        self.token.add_stream(&self.encrypt, counter, first, data);
    }
}
