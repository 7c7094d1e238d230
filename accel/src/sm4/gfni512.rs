//! SM4 with AVX-512 and GFNI: twice 64 blocks side by side, each byte of a block in a register of its own ([`planes`]).
//!
//! The S-box is an affine map `A` into the field of AES, the inversion there, and an affine map back. Two ideas make a round 26
//! instructions for 1,024 bytes:
//! - the state stays behind `A`: it is mapped once on the way in and once on the way out, and `A` of the round keys, with the
//!   constant, is computed with the key. `A` works on bytes, so it commutes with rotations by bytes;
//! - `L(B) = M·B ⊕ R·B⋘8 ⊕ R·B⋘16 ⊕ (M⊕R)·B⋘24` with byte matrices `M = I ⊕ (x≪2)` and `R = (x⋘2)`, because what a rotation by
//!   two moves over the edge of a byte, a rotation by eight brings to its place. So the map back, `L`'s byte part and the map in
//!   again are one matrix, and each is merged with the inversion in one instruction.
//!
//! Words stay in memory's byte order, so nothing is swapped but round keys and counters. No address, branch or timing depends on
//! data.
#![allow(unsafe_code)]

mod blocks;
mod planes;
mod tweaks;
mod words;

use super::schedule::Engine;
use super::xts::{self, TweakOrder, Tweaks};
use super::{BLOCK_BYTES, PARALLEL_BLOCKS};
use crate::cpu::Gfni512;
use crate::ct;
use blocks::Blocks;
use core::arch::x86_64::*;
use planes::{BYTES, Planes, RoundKeys, States};
use tweaks::{Chain, Masks};
use zeroize::Zeroize;

/// Round keys behind `A`.
#[derive(Zeroize)]
pub(super) struct Keys {
    words: [u32; 32],
    bytes: RoundKeys,
}

impl Engine for Gfni512 {
    type Keys = Keys;
    const NAME: &'static str = "gfni512";

    fn keys(entered: &[u32; 32]) -> Keys {
        let bytes = entered.map(|key| key.to_ne_bytes().map(|byte| u32::from_ne_bytes([byte; 4])));
        Keys { words: *entered, bytes }
    }

    fn crypt(self, keys: &Keys, blocks: &mut [[u8; BLOCK_BYTES]]) {
        // SAFETY: the token exists only where AVX-512 F and BW and GFNI were detected.
        unsafe { crypt::<PLAIN>(keys, blocks.as_flattened_mut(), &[], &mut [0; BLOCK_BYTES]) }
    }

    fn crypt_masked(self, keys: &Keys, blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]) {
        // SAFETY: as in `crypt`.
        unsafe { crypt::<MASKED>(keys, blocks.as_flattened_mut(), masks.as_flattened(), &mut [0; BLOCK_BYTES]) }
    }

    fn crypt_tweaked(self, keys: &Keys, blocks: &mut [[u8; BLOCK_BYTES]], tweaks: &mut Tweaks) {
        // SAFETY: as in `crypt`.
        tweaks.value = unsafe {
            match tweaks.order {
                TweakOrder::Gbt17964 => crypt_tweaked::<true>(keys, blocks, tweaks.value),
                TweakOrder::Ieee1619 => crypt_tweaked::<false>(keys, blocks, tweaks.value),
            }
        };
    }

    fn decrypt_chained(self, keys: &Keys, chain: &mut [u8; BLOCK_BYTES], blocks: &mut [[u8; BLOCK_BYTES]]) {
        // SAFETY: as in `crypt`.
        unsafe { crypt::<CHAINED>(keys, blocks.as_flattened_mut(), &[], chain) }
    }

    fn add_stream(
        self,
        keys: &Keys,
        counter: &[u8; BLOCK_BYTES],
        first: Option<&mut [u8; BLOCK_BYTES]>,
        data: &mut [u8],
    ) {
        // SAFETY: as in `crypt`.
        unsafe { add_stream(keys, counter, first, data) }
    }
}

/// What is added to the blocks: nothing;
const PLAIN: u8 = 0;
/// masks, before the cipher and after it;
const MASKED: u8 = 1;
/// after the cipher what stood before it in front of each block, as CBC's decryption does.
const CHAINED: u8 = 2;

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn crypt<const SUM: u8>(keys: &Keys, data: &mut [u8], mut masks: &[u8], chain: &mut [u8; BLOCK_BYTES]) {
    if data.len() <= words::BYTES {
        return crypt_words::<SUM>(keys, data, masks, chain);
    }
    let mut states = States::new();
    for data in data.chunks_mut(2 * BYTES) {
        let now;
        (now, masks) = masks.split_at(if SUM == MASKED { data.len() } else { 0 });
        crypt_states::<SUM>(keys, &mut states, data, now, chain);
    }
    states.wipe();
}

/// Returns the tweak after those of `blocks`, of which `value` is the first.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn crypt_tweaked<const MIRRORED: bool>(keys: &Keys, blocks: &mut [[u8; BLOCK_BYTES]], mut value: u128) -> u128 {
    if blocks.len() <= words::BLOCKS {
        let mut tweaks = Tweaks { value, order: Chain::<MIRRORED>::ORDER };
        xts::crypt_by_masks::<{ words::BLOCKS }>(blocks, &mut tweaks, |blocks, masks| {
            crypt_words::<MASKED>(keys, blocks.as_flattened_mut(), masks.as_flattened(), &mut [0; BLOCK_BYTES]);
        });
        return tweaks.value;
    }
    let mut states = States::new();
    let mut masks = Masks([[0; BLOCK_BYTES]; PARALLEL_BLOCKS]);
    let mut tweaks = Chain::<MIRRORED>::new(value);
    for blocks in blocks.chunks_mut(PARALLEL_BLOCKS) {
        value = tweaks.fill(blocks.len(), &mut masks);
        let masks = masks.0[..blocks.len()].as_flattened();
        crypt_states::<MASKED>(keys, &mut states, blocks.as_flattened_mut(), masks, &mut [0; BLOCK_BYTES]);
    }
    ct::wipe(masks.0.as_flattened_mut());
    states.wipe();
    value
}

/// The blocks of two states at most.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn crypt_states<const SUM: u8>(
    keys: &Keys,
    states: &mut States,
    data: &mut [u8],
    masks: &[u8],
    chain: &mut [u8; BLOCK_BYTES],
) {
    let (first_masks, second_masks) = masks.split_at(masks.len().min(BYTES));
    let (first, second) = data.split_at_mut(data.len().min(BYTES));
    let [before_second, next] = [&*first, &*second].map(|data| data.last_chunk().copied());
    enter::<SUM>(&mut states.0[0], first, first_masks);
    if let (Some(before_second), Some(_)) = (&before_second, next) {
        enter::<SUM>(&mut states.0[1], second, second_masks);
        planes::rounds_of_two(&keys.bytes, states);
        leave::<SUM>(&states.0[1], second, second_masks, before_second);
    } else {
        planes::rounds_of_one(&keys.bytes, states);
    }
    leave::<SUM>(&states.0[0], first, first_masks, chain);
    *chain = next.or(before_second).unwrap_or(*chain);
}

/// One state's blocks on the way in.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn enter<const SUM: u8>(state: &mut Planes, data: &[u8], masks: &[u8]) {
    let mut x = blocks::load(data);
    if SUM == MASKED {
        x = blocks::sum(x, &blocks::load(masks));
    }
    *state = planes::enter(x);
}

/// And on the way out; `chain` stands in front of them.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn leave<const SUM: u8>(state: &Planes, data: &mut [u8], masks: &[u8], chain: &[u8; BLOCK_BYTES]) {
    put::<SUM, { planes::REGISTERS }>(planes::leave(state), data, masks, chain);
}

/// A few blocks.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn crypt_words<const SUM: u8>(keys: &Keys, data: &mut [u8], masks: &[u8], chain: &mut [u8; BLOCK_BYTES]) {
    let next = data.last_chunk().copied();
    let mut x = blocks::load(data);
    if SUM == MASKED {
        x = blocks::sum(x, &blocks::load(masks));
    }
    put::<SUM, 4>(words::crypt(&keys.words, &words::enter(&x)), data, masks, chain);
    *chain = next.unwrap_or(*chain);
}

/// Adds to `x` what is to be added after the cipher and writes it over `data`.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn put<const SUM: u8, const N: usize>(x: Blocks<N>, data: &mut [u8], masks: &[u8], chain: &[u8; BLOCK_BYTES]) {
    let x = match SUM {
        MASKED => blocks::sum(x, &blocks::load(masks)),
        CHAINED => blocks::sum(x, &blocks::before(&blocks::load(data), chain)),
        _ => x,
    };
    blocks::store(data, x);
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn add_stream(
    keys: &Keys,
    counter: &[u8; BLOCK_BYTES],
    mut first: Option<&mut [u8; BLOCK_BYTES]>,
    mut data: &mut [u8],
) {
    if data.len() <= words::BYTES - BLOCK_BYTES {
        return add(words::crypt(&keys.words, &words::counters(counter)), first, data);
    }
    let mut states = States::new();
    let mut counters = Counters::new(counter);
    while !data.is_empty() {
        let reserved = if first.is_some() { BLOCK_BYTES } else { 0 };
        let (head, rest) = data.split_at_mut(data.len().min(BYTES - reserved));
        let (tail, rest) = rest.split_at_mut(rest.len().min(BYTES));
        data = rest;
        counters.fill(&mut states.0[0]);
        if tail.is_empty() {
            planes::rounds_of_one(&keys.bytes, &mut states);
        } else {
            counters.fill(&mut states.0[1]);
            planes::rounds_of_two(&keys.bytes, &mut states);
            add_state(&states.0[1], None, tail);
        }
        add_state(&states.0[0], first.take(), head);
    }
    states.wipe();
}

/// As [`add`], of a state. Not inlined, so that the key stream stays in registers.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline(never)]
fn add_state(state: &Planes, first: Option<&mut [u8; BLOCK_BYTES]>, data: &mut [u8]) {
    add(planes::leave(state), first, data);
}

/// Gives the first block of key stream to `first`, if wanted, and adds what follows to `data`.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn add<const N: usize>(mut stream: Blocks<N>, first: Option<&mut [u8; BLOCK_BYTES]>, data: &mut [u8]) {
    if let Some(first) = first {
        (*first, stream) = blocks::behind(&stream);
    }
    blocks::store(data, blocks::sum(stream, &blocks::load(data)));
}

/// Counter blocks, born as planes behind `A`.
struct Counters {
    /// The words that do not count.
    fixed: [planes::Word; 3],
    /// The word that counts, of the next block.
    next: u32,
}

impl Counters {
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn new(counter: &[u8; BLOCK_BYTES]) -> Self {
        let (words, _) = counter.as_chunks::<4>();
        let mut fixed = [[_mm512_setzero_si512(); 4]; 3];
        for (plane, byte) in fixed.as_flattened_mut().iter_mut().zip(counter) {
            *plane = planes::enter_byte(_mm512_set1_epi8(*byte as i8));
        }
        Self { fixed, next: u32::from_be_bytes(words[3]) }
    }

    /// The next state's blocks.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    #[inline]
    fn fill(&mut self, state: &mut Planes) {
        let offsets = planes::numbers();
        // The last byte counts up to 63 further; where it overflows, the three above it are those of the next 256.
        let low = _mm512_add_epi8(_mm512_set1_epi8(self.next as i8), offsets);
        let overflowed = _mm512_cmplt_epu8_mask(low, offsets);
        let (now, later) = (self.next.to_be_bytes(), self.next.wrapping_add(256).to_be_bytes());
        let mut counting = [low; 4];
        for i in 0..3 {
            counting[i] = _mm512_mask_set1_epi8(_mm512_set1_epi8(now[i] as i8), overflowed, later[i] as i8);
        }
        for byte in &mut counting {
            *byte = planes::enter_byte(*byte);
        }
        self.next = self.next.wrapping_add(planes::BLOCKS as u32);
        let [a, b, c] = self.fixed;
        *state = [a, b, c, counting];
    }
}
