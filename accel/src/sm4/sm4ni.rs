//! SM4 by Intel's own instructions: VSM4RNDS4 does four rounds, VSM4KEY4 makes four round keys.
//!
//! A 256-bit register holds two blocks; eight registers side by side hide the latency of the one instruction there is to do. The
//! code around the instructions is written once, for whatever computes them: the tests give it a model after Intel's description
//! (Instruction Set Extensions Programming Reference, VSM4KEY4 and VSM4RNDS4), so that on a processor without them only the two
//! one-line intrinsics remain untested, and the power-on self-test decides on them before anything is encrypted.
#![allow(unsafe_code)]

use crate::cpu::Sm4Ni;
use core::arch::x86_64::*;

/// Defines `Schedule` and `expand` for `$token`, whose proof covers `$features`, from `$four_rounds` and `$four_keys`: on each lane of
/// four words, lowest first, F of GB/T 32907 6.1 (or 7.3's, for keys) with one word of the second operand after the other.
macro_rules! sm4_by_four_rounds {
    ($name:literal, $token:ty, $features:tt, $four_rounds:path, $four_keys:path) => {
        use crate::ct;
        use crate::sm4::{BLOCK_BYTES, CK, Direction, FK, KEY_BYTES, Kernel};
        use zeroize::ZeroizeOnDrop;

        /// Blocks of all registers.
        const WIDE: usize = 16;

        /// Round keys in both orders, with the proof that they may be used here.
        #[derive(ZeroizeOnDrop)]
        pub(in crate::sm4) struct Schedule {
            encrypt: [u32; 32],
            decrypt: [u32; 32],
            #[zeroize(skip)]
            _token: $token,
        }

        impl Schedule {
            pub(in crate::sm4) fn new(token: $token, round_keys: &[u32; 32]) -> Self {
                let mut decrypt = *round_keys;
                decrypt.reverse();
                Self { encrypt: *round_keys, decrypt, _token: token }
            }
        }

        impl Kernel for Schedule {
            fn name(&self) -> &'static str {
                $name
            }

            fn crypt(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
                let round_keys = match direction {
                    Direction::Encrypt => &self.encrypt,
                    Direction::Decrypt => &self.decrypt,
                };
                // SAFETY: `_token` exists only where these instructions were detected.
                unsafe { crypt(round_keys, blocks) }
            }
        }

        /// The 32 round keys, GB/T 32907 7.3.
        pub(in crate::sm4) fn expand(_token: $token, key: &[u8; KEY_BYTES]) -> [u32; 32] {
            // SAFETY: the token exists only where these instructions were detected.
            unsafe { expand_key(key) }
        }

        #[target_feature(enable = $features)]
        fn expand_key(key: &[u8; KEY_BYTES]) -> [u32; 32] {
            let mut k = _mm_xor_si128(swap_words(block(*key)), words(FK));
            let mut round_keys = [0; 32];
            for (round_keys, ck) in round_keys.as_chunks_mut::<4>().0.iter_mut().zip(CK.as_chunks::<4>().0) {
                k = $four_keys(k, words(*ck));
                // SAFETY: a vector is four words.
                *round_keys = unsafe { core::mem::transmute::<__m128i, [u32; 4]>(k) };
            }
            round_keys
        }

        #[target_feature(enable = $features)]
        fn crypt(round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]]) {
            let (wide, rest) = blocks.as_chunks_mut::<WIDE>();
            for blocks in wide {
                crypt_registers::<{ WIDE / 2 }>(round_keys, blocks.as_chunks_mut().0);
            }
            if rest.is_empty() {
                return;
            }
            let mut buffer = [[0; BLOCK_BYTES]; WIDE];
            buffer[..rest.len()].copy_from_slice(rest);
            let (registers, _) = buffer.as_chunks_mut();
            match rest.len() {
                ..=2 => crypt_registers::<1>(round_keys, &mut registers[..1]),
                _ => crypt_registers::<{ WIDE / 2 }>(round_keys, registers),
            }
            rest.copy_from_slice(&buffer[..rest.len()]);
            ct::wipe(buffer.as_flattened_mut());
        }

        /// `N` registers' blocks.
        #[target_feature(enable = $features)]
        #[inline]
        fn crypt_registers<const N: usize>(round_keys: &[u32; 32], registers: &mut [[[u8; BLOCK_BYTES]; 2]]) {
            let registers: &mut [_; N] = registers.try_into().expect("as many registers");
            // Words in number's byte order on the way in; on the way out that undone and the words reversed (R of 7.1).
            let swap = _mm256_broadcastsi128_si256(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
            let mirror =
                _mm256_broadcastsi128_si256(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
            let mut x = [_mm256_setzero_si256(); N];
            for (x, blocks) in x.iter_mut().zip(&*registers) {
                // SAFETY: any two blocks are a vector.
                *x = unsafe { core::mem::transmute::<[[u8; BLOCK_BYTES]; 2], __m256i>(*blocks) };
                *x = _mm256_shuffle_epi8(*x, swap);
            }
            for keys in round_keys.as_chunks::<4>().0 {
                let keys = _mm256_broadcastsi128_si256(words(*keys));
                for x in &mut x {
                    *x = $four_rounds(*x, keys);
                }
            }
            for (x, blocks) in x.iter().zip(registers) {
                let x = _mm256_shuffle_epi8(*x, mirror);
                // SAFETY: a vector is two blocks.
                *blocks = unsafe { core::mem::transmute::<__m256i, [[u8; BLOCK_BYTES]; 2]>(x) };
            }
        }
    };
}

sm4_by_four_rounds!("sm4ni", Sm4Ni, "avx2,sm4", _mm256_sm4rnds4_epi32, _mm_sm4key4_epi32);

#[target_feature(enable = "avx2")]
#[inline]
fn block(bytes: [u8; 16]) -> __m128i {
    // SAFETY: any sixteen bytes are a vector.
    unsafe { core::mem::transmute::<[u8; 16], __m128i>(bytes) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn words(words: [u32; 4]) -> __m128i {
    // SAFETY: any four words are a vector.
    unsafe { core::mem::transmute::<[u32; 4], __m128i>(words) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn swap_words(x: __m128i) -> __m128i {
    _mm_shuffle_epi8(x, _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3))
}

/// The same code around a model of the two instructions.
#[cfg(test)]
pub(super) mod modelled {
    use super::{block, swap_words, words};
    use crate::cpu::Avx2;
    use crate::sm4::sbox;
    use core::arch::x86_64::*;

    sm4_by_four_rounds!("sm4ni, modelled", Avx2, "avx2", four_rounds, four_keys);

    /// `F_RND` and `F_KEY` of Intel's description: `linear` is `L_RND` or `L_KEY`.
    fn four_times(mut p: [u32; 4], operands: [u32; 4], linear: fn(u32) -> u32) -> [u32; 4] {
        for operand in operands {
            let c = p[0] ^ linear(sbox::substitute_word(p[1] ^ p[2] ^ p[3] ^ operand));
            p = [p[1], p[2], p[3], c];
        }
        p
    }

    #[target_feature(enable = "avx2")]
    fn four_rounds(x: __m256i, keys: __m256i) -> __m256i {
        // SAFETY: a vector is two lanes of four words, and these are a vector.
        unsafe {
            let [x, keys] = core::mem::transmute::<[__m256i; 2], [[[u32; 4]; 2]; 2]>([x, keys]);
            let linear = |b: u32| b ^ b.rotate_left(2) ^ b.rotate_left(10) ^ b.rotate_left(18) ^ b.rotate_left(24);
            core::mem::transmute::<[[u32; 4]; 2], __m256i>([
                four_times(x[0], keys[0], linear),
                four_times(x[1], keys[1], linear),
            ])
        }
    }

    #[target_feature(enable = "avx2")]
    fn four_keys(k: __m128i, constants: __m128i) -> __m128i {
        // SAFETY: a vector is four words, and these are a vector.
        unsafe {
            let [k, constants] = core::mem::transmute::<[__m128i; 2], [[u32; 4]; 2]>([k, constants]);
            let linear = |b: u32| b ^ b.rotate_left(13) ^ b.rotate_left(23);
            core::mem::transmute::<[u32; 4], __m128i>(four_times(k, constants, linear))
        }
    }
}
