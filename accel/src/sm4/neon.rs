//! What SM4 kernels on NEON share: one word of four blocks per register, groups of four registers side by side.
//!
//! With the byte parts of `L`, `U = B ⊕ (B≪2)` and `V = B⋘2` in every byte, and `Y = U ⊕ V⋘16` on words, `L(B) = Y ⊕ (Y ⊕ V)⋘24`:
//! two turns by whole bytes and four XORs, that to the old word included. Words stay in memory's byte order, so nothing is swapped but
//! round keys and counters.
//!
//! [`sm4_on_neon`] writes everything around the S-box; a kernel brings `Constants`, `constants`, `enter` (the map its states stay behind),
//! `leave` (back) and `substitute`. A macro, because a function compiled for one set of instructions cannot be inlined into one
//! compiled for fewer, which is what a trait's method would have to be.
#![allow(unsafe_code)]

mod aese;
mod tbl;

use super::batch::Block;
use crate::transpose::words_128;
use core::arch::aarch64::*;

/// Blocks of a group.
const GROUP: usize = 4;

/// One word of four blocks in each register.
type State = [uint8x16_t; 4];

/// Makes `$token`, whose proof covers `$features`, a [`Batch`](super::batch::Batch) of `$groups` groups, from `constants`, `enter`, `leave`,
/// `substitute` and `round_key` of the calling module.
macro_rules! sm4_on_neon {
    ($name:literal, $token:ty, $features:tt, $groups:literal groups) => {
        use super::super::batch::{Batch, Block};
        use super::*;

        /// Blocks of a kernel call.
        const BLOCKS: usize = $groups * GROUP;

        impl Batch<BLOCKS> for $token {
            const NAME: &'static str = $name;

            fn round_key(word: u32) -> u32 {
                round_key(word)
            }

            fn crypt(self, round_keys: &[u32; 32], blocks: &mut [Block; BLOCKS], live: usize) {
                // SAFETY: the token exists only where these instructions were detected.
                unsafe {
                    match live {
                        ..=GROUP => crypt::<1>(round_keys, blocks, None),
                        _ => crypt::<$groups>(round_keys, blocks, None),
                    }
                }
            }

            fn crypt_masked(
                self,
                round_keys: &[u32; 32],
                blocks: &mut [Block; BLOCKS],
                masks: &[Block; BLOCKS],
                live: usize,
            ) {
                // SAFETY: as in `crypt`.
                unsafe {
                    match live {
                        ..=GROUP => crypt::<1>(round_keys, blocks, Some(masks)),
                        _ => crypt::<$groups>(round_keys, blocks, Some(masks)),
                    }
                }
            }

            fn add_stream(self, round_keys: &[u32; 32], counter: &Block, blocks: &mut [Block; BLOCKS], live: usize) {
                // SAFETY: as in `crypt`.
                unsafe {
                    match live {
                        ..=GROUP => add_stream::<1>(round_keys, counter, blocks),
                        _ => add_stream::<$groups>(round_keys, counter, blocks),
                    }
                }
            }
        }

        /// The first `G` groups of `blocks`, with `masks` added before and after.
        #[target_feature(enable = $features)]
        #[inline]
        fn crypt<const G: usize>(
            round_keys: &[u32; 32],
            blocks: &mut [Block; BLOCKS],
            masks: Option<&[Block; BLOCKS]>,
        ) {
            let (groups, _) = blocks.as_chunks_mut::<GROUP>();
            let masks = masks.map(|masks| masks.as_chunks::<GROUP>().0);
            let constants = &constants();
            let mut x = [[vdupq_n_u8(0); 4]; G];
            for (group, x) in x.iter_mut().enumerate() {
                *x = load(&groups[group]);
                if let Some(masks) = masks {
                    *x = sum(*x, load(&masks[group]));
                }
                for word in x {
                    *word = enter(constants, *word);
                }
            }
            for (group, x) in rounds(constants, round_keys, x).into_iter().enumerate() {
                let mut x = finish(constants, x);
                if let Some(masks) = masks {
                    x = sum(x, load(&masks[group]));
                }
                store(&mut groups[group], x);
            }
        }

        /// Adds the key stream from `counter` on to the first `G` groups of `blocks`.
        #[target_feature(enable = $features)]
        #[inline]
        fn add_stream<const G: usize>(round_keys: &[u32; 32], counter: &Block, blocks: &mut [Block; BLOCKS]) {
            let (groups, _) = blocks.as_chunks_mut::<GROUP>();
            let constants = &constants();
            let (words, _) = counter.as_chunks::<4>();
            let mut x = [[vdupq_n_u8(0); 4]; G];
            for word in 0..3 {
                let fixed = enter(constants, splat(words[word]));
                for x in &mut x {
                    x[word] = fixed;
                }
            }
            let mut number = u32::from_be_bytes(words[3]);
            for x in &mut x {
                x[3] = enter(constants, counting(number));
                number = number.wrapping_add(GROUP as u32);
            }
            for (blocks, x) in groups.iter_mut().zip(rounds(constants, round_keys, x)) {
                store(blocks, sum(load(blocks), finish(constants, x)));
            }
        }

        /// All 32 rounds. Two rounds in a row share the sum of the two words that both take.
        #[target_feature(enable = $features)]
        #[inline]
        fn rounds<const G: usize>(constants: &Constants, round_keys: &[u32; 32], mut x: [State; G]) -> [State; G] {
            let (quads, _) = round_keys.as_chunks::<4>();
            for keys in quads {
                let keys = keys.map(|key| splat(key.to_ne_bytes()));
                let mut shared = x;
                for ([a, b, c, d], shared) in x.iter_mut().zip(&mut shared) {
                    shared[0] = veorq_u8(*c, *d);
                    *a = round(constants, *a, veorq_u8(*b, keys[0]), shared[0]);
                }
                for ([a, b, _, _], shared) in x.iter_mut().zip(&mut shared) {
                    *b = round(constants, *b, veorq_u8(*a, keys[1]), shared[0]);
                }
                for ([a, b, c, d], shared) in x.iter_mut().zip(&mut shared) {
                    shared[0] = veorq_u8(*a, *b);
                    *c = round(constants, *c, veorq_u8(*d, keys[2]), shared[0]);
                }
                for ([_, _, c, d], shared) in x.iter_mut().zip(&shared) {
                    *d = round(constants, *d, veorq_u8(*c, keys[3]), shared[0]);
                }
            }
            x
        }

        /// `x0 ⊕ L(τ(y ⊕ z))` (F of GB/T 32907 6.1), behind the kernel's map.
        #[target_feature(enable = $features)]
        #[inline]
        fn round(constants: &Constants, x0: uint8x16_t, y: uint8x16_t, z: uint8x16_t) -> uint8x16_t {
            let [u, v] = substitute(constants, y, z);
            let near = veorq_u8(u, turn_16(v));
            let far = turn_24(veorq_u8(near, v), constants.turn_24);
            veorq_u8(veorq_u8(x0, near), far)
        }

        /// Four blocks in memory's order: the words reversed (R of GB/T 32907 7.1), in front of the kernel's map again.
        #[target_feature(enable = $features)]
        #[inline]
        fn finish(constants: &Constants, x: State) -> State {
            [leave(constants, x[3]), leave(constants, x[2]), leave(constants, x[1]), leave(constants, x[0])]
        }
    };
}

use sm4_on_neon;

/// The words of four blocks, a word of each in a register.
#[target_feature(enable = "neon")]
#[inline]
fn load(blocks: &[Block; GROUP]) -> State {
    // SAFETY: any four blocks are four vectors.
    words_128(unsafe { core::mem::transmute::<[Block; GROUP], [uint32x4_t; 4]>(*blocks) })
        .map(|word| vreinterpretq_u8_u32(word))
}

/// Inverse of [`load`].
#[target_feature(enable = "neon")]
#[inline]
fn store(blocks: &mut [Block; GROUP], state: State) {
    let rows = words_128(state.map(|word| vreinterpretq_u32_u8(word)));
    // SAFETY: four vectors are four blocks.
    *blocks = unsafe { core::mem::transmute::<[uint32x4_t; 4], [Block; GROUP]>(rows) };
}

#[target_feature(enable = "neon")]
#[inline]
fn sum(a: State, b: State) -> State {
    core::array::from_fn(|word| veorq_u8(a[word], b[word]))
}

/// Four times the same word.
#[target_feature(enable = "neon")]
#[inline]
fn splat(word: [u8; 4]) -> uint8x16_t {
    vreinterpretq_u8_u32(vdupq_n_u32(u32::from_ne_bytes(word)))
}

/// The words that count, of four blocks from number `next` on.
#[target_feature(enable = "neon")]
#[inline]
fn counting(next: u32) -> uint8x16_t {
    let numbers = vaddq_u32(
        vdupq_n_u32(next),
        vreinterpretq_u32_u8(vector(0x03_0000_0002_0000_0001_0000_0000_u128.to_le_bytes())),
    );
    vrev32q_u8(vreinterpretq_u8_u32(numbers))
}

/// Every word turned by two bytes.
#[target_feature(enable = "neon")]
#[inline]
fn turn_16(words: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vrev32q_u16(vreinterpretq_u16_u8(words)))
}

/// Every word turned by three bytes: to the left in the standard's order, to the right in memory's.
#[target_feature(enable = "neon")]
#[inline]
fn turn_24(words: uint8x16_t, order: uint8x16_t) -> uint8x16_t {
    vqtbl1q_u8(words, order)
}

/// The order of bytes that [`turn_24`] takes.
const TURN_24: [u8; 16] = [3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14];

fn vector(bytes: [u8; 16]) -> uint8x16_t {
    // SAFETY: any sixteen bytes are a vector.
    unsafe { core::mem::transmute::<[u8; 16], uint8x16_t>(bytes) }
}
