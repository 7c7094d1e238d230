//! SM4 (GB/T 32907-2016) and its modes.
//!
//! Keys and data are secret: no kernel indexes memory by them or branches on them.
//!
//! * [`ctr`]: counter mode, 128-bit big-endian counter.
//! * [`gcm`]: Galois/counter mode of RFC 8998 (SP 800-38D with 12-byte nonces and full tags).
//! * [`xts`]: sector encryption with the tweak orders of GB/T 17964-2021 and of IEEE 1619, both named.

pub mod ctr;
pub mod gcm;
#[cfg(target_arch = "x86_64")]
mod gfni512;
mod ghash;
mod portable;
mod sbox;
#[cfg(test)]
mod tests;
pub mod xts;

#[cfg(target_arch = "x86_64")]
use crate::cpu;
use crate::ct;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 16;
/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

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
const PARALLEL_BLOCKS: usize = 96;

/// Order of the round keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// Round key 0 first.
    Encrypt,
    /// Round key 31 first.
    Decrypt,
}

/// An expanded SM4 key, wiped when dropped.
pub struct Key {
    schedule: Schedule,
}

/// The round keys as the selected kernel wants them; boxed, so that moving a key leaves no copy behind.
enum Schedule {
    Portable(Box<portable::Schedule>),
    #[cfg(target_arch = "x86_64")]
    Gfni512(Box<gfni512::Schedule>),
}

/// Names of the selected kernels.
pub(crate) struct KernelNames {
    pub(crate) cipher: &'static str,
    pub(crate) ghash: &'static str,
}

pub(crate) fn kernel_names() -> KernelNames {
    let key = Key::new(&[0; KEY_BYTES]);
    let cipher = match key.schedule {
        Schedule::Portable(_) => "portable",
        #[cfg(target_arch = "x86_64")]
        Schedule::Gfni512(_) => "gfni512",
    };
    KernelNames { cipher, ghash: ghash::kernel_name() }
}

impl Key {
    /// Expands a key (GB/T 32907 7.3) in constant time.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = cpu::Gfni512::selected() {
            let mut round_keys = expand(key);
            let schedule = Schedule::Gfni512(Box::new(gfni512::Schedule::new(token, &round_keys)));
            round_keys.zeroize();
            return Self { schedule };
        }
        Self::portable(key)
    }

    /// A key for the portable kernel.
    fn portable(key: &[u8; KEY_BYTES]) -> Self {
        let mut round_keys = expand(key);
        let schedule = Schedule::Portable(Box::new(portable::Schedule::new(&round_keys)));
        round_keys.zeroize();
        Self { schedule }
    }

    /// Encrypts every block on its own (ECB; the building block of the modes). Sixteen at a time cost as much as one.
    pub fn encrypt_blocks(&self, blocks: &mut [[u8; BLOCK_BYTES]]) {
        self.crypt(Direction::Encrypt, blocks);
    }

    /// Decrypts every block on its own.
    pub fn decrypt_blocks(&self, blocks: &mut [[u8; BLOCK_BYTES]]) {
        self.crypt(Direction::Decrypt, blocks);
    }

    fn crypt(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
        match &self.schedule {
            Schedule::Portable(schedule) => {
                for group in blocks.chunks_mut(portable::BLOCKS) {
                    portable::crypt(schedule, direction, group);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Schedule::Gfni512(schedule) => match direction {
                Direction::Encrypt => schedule.encrypt(blocks),
                Direction::Decrypt => schedule.decrypt(blocks),
            },
        }
    }

    /// Adds `masks` to `blocks`, encrypts or decrypts, adds `masks` again.
    fn crypt_masked(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]) {
        match (&self.schedule, direction) {
            #[cfg(target_arch = "x86_64")]
            (Schedule::Gfni512(schedule), Direction::Encrypt) => schedule.encrypt_masked(blocks, masks),
            #[cfg(target_arch = "x86_64")]
            (Schedule::Gfni512(schedule), Direction::Decrypt) => schedule.decrypt_masked(blocks, masks),
            (Schedule::Portable(_), _) => {
                add(blocks.as_flattened_mut(), masks.as_flattened());
                self.crypt(direction, blocks);
                add(blocks.as_flattened_mut(), masks.as_flattened());
            }
        }
    }

    /// Adds the key stream that starts at `counter` to `data`, after giving its first block to `first`, if wanted. The last
    /// four bytes of the counter count, modulo 2^32.
    fn add_stream(&self, counter: &[u8; BLOCK_BYTES], mut first: Option<&mut [u8; BLOCK_BYTES]>, mut data: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if let Schedule::Gfni512(schedule) = &self.schedule {
            return schedule.add_stream(counter, first, data);
        }
        let mut next = *counter;
        let mut stream = [[0; BLOCK_BYTES]; portable::BLOCKS];
        while first.is_some() || !data.is_empty() {
            for block in &mut stream {
                *block = next;
                count(&mut next, 1);
            }
            self.encrypt_blocks(&mut stream);
            let mut stream = stream.as_flattened();
            if let Some(first) = first.take() {
                let (head, rest) = stream.split_at(BLOCK_BYTES);
                first.copy_from_slice(head);
                stream = rest;
            }
            let (now, later) = data.split_at_mut(data.len().min(stream.len()));
            add(now, stream);
            data = later;
        }
        ct::wipe(stream.as_flattened_mut());
    }
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

/// The 32 round keys, GB/T 32907 7.3.
fn expand(key: &[u8; KEY_BYTES]) -> [u32; 32] {
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
