//! SM4 (GB/T 32907-2016) and its modes.
//!
//! Keys and data are secret: no kernel indexes memory by them or branches on them.
//!
//! * [`cbc`]: cipher block chaining of whole blocks.
//! * [`ctr`]: counter mode, 128-bit big-endian counter.
//! * [`gcm`]: Galois/counter mode of RFC 8998 (SP 800-38D with 12-byte nonces and full tags).
//! * [`xts`]: sector encryption with the tweak orders of GB/T 17964-2021 and of IEEE 1619, both named.

#[cfg(target_arch = "x86_64")]
mod aesni;
#[cfg(target_arch = "aarch64")]
mod armv8;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod batch;
pub mod cbc;
pub mod ctr;
pub mod gcm;
#[cfg(target_arch = "x86_64")]
mod gfni256;
#[cfg(target_arch = "x86_64")]
mod gfni512;
mod ghash;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod sbox;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod schedule;
#[cfg(target_arch = "x86_64")]
mod sm4ni;
#[cfg(target_arch = "x86_64")]
mod sse;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod words;
pub mod xts;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::memory::Kept;
use crate::{cpu, ct};
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::NonNull;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 16;
/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// More than the deepest frames of expanding a key take.
const STACK_BYTES: usize = 16 << 10;

/// FK of GB/T 32907 7.3.
const FK: [u32; 4] = [0xa3b1bac6, 0x56aa3350, 0x677d9197, 0xb27022dc];

/// CK of GB/T 32907 7.3: byte `j` of word `i` is `7(4i + j) mod 256`.
const CK: [u32; 32] = {
    let mut table = [0u32; 32];
    let mut i = 0;
    while i < 128 {
        table[i / 4] = (table[i / 4] << 8) | ((7 * i as u32) & 0xff);
        i += 1;
    }
    table
};

/// Blocks the modes hand to a kernel at once, a multiple of every kernel's own number.
const PARALLEL_BLOCKS: usize = 128;

/// Order of the round keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// Round key 0 first.
    Encrypt,
    /// Round key 31 first.
    Decrypt,
}

/// Round keys as one kernel wants them, wiped when dropped, and what it does with them. Only [`Kernel::crypt`] has no other way;
/// a kernel that adds while it has the blocks in registers brings the rest as well.
trait Kernel: Send + Sync + UnwindSafe + RefUnwindSafe {
    /// The name, by instruction set.
    fn name(&self) -> &'static str;

    /// Encrypts or decrypts any number of blocks in place.
    fn crypt(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]);

    /// Adds `masks`, of which there are as many, encrypts or decrypts, adds `masks` again: XEX.
    fn crypt_masked(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]) {
        assert_eq!(blocks.len(), masks.len(), "a mask for each block");
        add(blocks.as_flattened_mut(), masks.as_flattened());
        self.crypt(direction, blocks);
        add(blocks.as_flattened_mut(), masks.as_flattened());
    }

    /// XTS without stealing: as [`Kernel::crypt_masked`] with the next tweaks as masks.
    fn crypt_tweaked(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]], tweaks: &mut xts::Tweaks) {
        xts::crypt_by_masks::<PARALLEL_BLOCKS>(blocks, tweaks, |blocks, masks| {
            self.crypt_masked(direction, blocks, masks)
        });
    }

    /// CBC's decryption: adds to each block what stood before it, `chain` before the first. `chain` becomes the last.
    fn decrypt_chained(&self, chain: &mut [u8; BLOCK_BYTES], blocks: &mut [[u8; BLOCK_BYTES]]) {
        cbc::decrypt_by_copies(chain, blocks, |blocks| self.crypt(Direction::Decrypt, blocks));
    }

    /// Adds the key stream that starts at `counter` to `data`, after giving its first block to `first`, if wanted. The last
    /// four bytes of the counter count, modulo 2^32.
    fn add_stream(&self, counter: &[u8; BLOCK_BYTES], first: Option<&mut [u8; BLOCK_BYTES]>, data: &mut [u8]) {
        ctr::add_by_blocks(counter, first, data, |blocks| self.crypt(Direction::Encrypt, blocks));
    }
}

/// An expanded SM4 key, wiped when dropped.
pub struct Key {
    /// Boxed, so that moving a key leaves no copy behind.
    kernel: Kept<dyn Kernel>,
}

/// Names of the selected kernels.
pub(crate) struct KernelNames {
    pub(crate) cipher: &'static str,
    pub(crate) ghash: &'static str,
}

pub(crate) fn kernel_names() -> KernelNames {
    KernelNames { cipher: Key::new(&[0; KEY_BYTES]).kernel.name(), ghash: ghash::kernel_name() }
}

impl Key {
    /// Expands a key (GB/T 32907 7.3) in constant time.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self::with(key, select)
    }

    /// A key for the portable kernel.
    #[cfg(test)]
    fn portable(key: &[u8; KEY_BYTES]) -> Self {
        Self::with(key, |round_keys| boxed(portable::Schedule::new(round_keys)))
    }

    /// A key for the kernel that `choose` makes of the round keys. A schedule is made on the stack before it goes to key memory.
    fn with(key: &[u8; KEY_BYTES], choose: impl FnOnce(&[u32; 32]) -> Kept<dyn Kernel>) -> Self {
        ct::on_wiped_stack::<STACK_BYTES, _>(|| {
            let mut round_keys = expand(key);
            let kernel = choose(&round_keys);
            round_keys.zeroize();
            Self { kernel }
        })
    }

    /// Encrypts every block on its own (ECB; the building block of the modes). Sixteen at a time cost as much as one.
    pub fn encrypt_blocks(&self, blocks: &mut [[u8; BLOCK_BYTES]]) {
        self.kernel.crypt(Direction::Encrypt, blocks);
    }

    /// Decrypts every block on its own.
    pub fn decrypt_blocks(&self, blocks: &mut [[u8; BLOCK_BYTES]]) {
        self.kernel.crypt(Direction::Decrypt, blocks);
    }
}

/// A kernel in key memory.
#[allow(unsafe_code)]
fn boxed<K: Kernel + 'static>(kernel: K) -> Kept<dyn Kernel> {
    // SAFETY: the pointer becomes one of a trait that the value has.
    unsafe { Kept::key(kernel).map(|kernel| kernel as NonNull<dyn Kernel>) }
}

/// The best kernel of this processor below the limit.
fn select(round_keys: &[u32; 32]) -> Kept<dyn Kernel> {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(token) = cpu::Gfni512::selected() {
            return boxed(schedule::Schedule::new(token, round_keys));
        }
        // Processors that have these and AVX-512 do not exist yet; on 512 bits the general kernel does more at once.
        if let Some(token) = cpu::Sm4Ni::selected() {
            return boxed(sm4ni::Schedule::new(token, round_keys));
        }
        if let Some(token) = cpu::Gfni256::selected() {
            return boxed(schedule::Schedule::new(token, round_keys));
        }
        if let Some(aes) = cpu::AesNi::selected() {
            return match cpu::Avx2::selected() {
                Some(avx2) => boxed(schedule::Schedule::new((avx2, aes), round_keys)),
                None => boxed(schedule::Schedule::new(aes, round_keys)),
            };
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        if let Some(token) = cpu::NeonSm::selected() {
            return boxed(schedule::Schedule::new(batch::Batched(token), round_keys));
        }
        if let Some(token) = cpu::NeonAes::selected() {
            return boxed(schedule::Schedule::new(batch::Batched(token), round_keys));
        }
        if let Some(token) = cpu::Neon::selected() {
            return boxed(schedule::Schedule::new(batch::Batched(token), round_keys));
        }
    }
    boxed(portable::Schedule::new(round_keys))
}

/// The counter block `steps` later: inc32 of SP 800-38D 6.2.
fn count(counter: &mut [u8; BLOCK_BYTES], steps: u32) {
    let (_, number) = counter.split_at_mut(BLOCK_BYTES - 4);
    let next = u32::from_be_bytes(number.try_into().expect("four bytes")).wrapping_add(steps);
    number.copy_from_slice(&next.to_be_bytes());
}

/// `data ^= stream`, the stream at least as long.
fn add(data: &mut [u8], stream: &[u8]) {
    for (byte, pad) in data.iter_mut().zip(stream) {
        *byte ^= pad;
    }
}

// Each schedule wipes itself.
impl ZeroizeOnDrop for Key {}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sm4::Key(..)")
    }
}

/// The 32 round keys, GB/T 32907 7.3, by the selected instructions.
fn expand(key: &[u8; KEY_BYTES]) -> [u32; 32] {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = cpu::Sm4Ni::selected() {
        return sm4ni::expand(token, key);
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(token) = cpu::NeonSm::selected() {
        return armv8::expand(token, key);
    }
    expand_portable(key)
}

/// The 32 round keys, GB/T 32907 7.3.
fn expand_portable(key: &[u8; KEY_BYTES]) -> [u32; 32] {
    let (words, _) = key.as_chunks::<4>();
    let mut k: [u32; 4] = core::array::from_fn(|i| u32::from_be_bytes(words[i]) ^ FK[i]);
    let mut round_keys = [0; 32];
    for (round_key, ck) in round_keys.iter_mut().zip(CK) {
        let b = sbox::substitute_word(k[1] ^ k[2] ^ k[3] ^ ck);
        let next = k[0] ^ b ^ b.rotate_left(13) ^ b.rotate_left(23);
        k = [k[1], k[2], k[3], next];
        *round_key = next;
    }
    k.zeroize();
    round_keys
}
