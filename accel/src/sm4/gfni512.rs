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
use super::{BLOCK_BYTES, PARALLEL_BLOCKS, count};
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
        crypt_chunk::<SUM>(keys, &mut states, data, now, chain);
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
        crypt_chunk::<MASKED>(keys, &mut states, blocks.as_flattened_mut(), masks, &mut [0; BLOCK_BYTES]);
    }
    ct::wipe(masks.0.as_flattened_mut());
    states.wipe();
    value
}

/// The blocks of two states at most.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn crypt_chunk<const SUM: u8>(
    keys: &Keys,
    states: &mut States,
    data: &mut [u8],
    masks: &[u8],
    chain: &mut [u8; BLOCK_BYTES],
) {
    match data.len() {
        WHOLE_CHUNK => crypt_states::<SUM, true>(keys, states, data, masks, chain),
        0..=words::BYTES => crypt_words::<SUM>(keys, data, masks, chain),
        _ => crypt_states::<SUM, false>(keys, states, data, masks, chain),
    }
}

/// The bytes of two states.
const WHOLE_CHUNK: usize = 2 * BYTES;

/// The blocks of two states, or fewer where they are not `WHOLE`.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn crypt_states<const SUM: u8, const WHOLE: bool>(
    keys: &Keys,
    states: &mut States,
    data: &mut [u8],
    masks: &[u8],
    chain: &mut [u8; BLOCK_BYTES],
) {
    let (first_masks, second_masks) = masks.split_at(masks.len().min(BYTES));
    let (first, second) = data.split_at_mut(data.len().min(BYTES));
    let [before_second, next] = [&*first, &*second].map(|data| data.last_chunk().copied());
    enter::<SUM, WHOLE>(&mut states.0[0], first, first_masks);
    if let (Some(before_second), Some(_)) = (&before_second, next) {
        enter::<SUM, WHOLE>(&mut states.0[1], second, second_masks);
        planes::rounds_of_two(&keys.bytes, states);
        leave::<SUM, WHOLE>(&states.0[1], second, second_masks, before_second);
    } else {
        planes::rounds_of_one(&keys.bytes, states);
    }
    leave::<SUM, WHOLE>(&states.0[0], first, first_masks, chain);
    *chain = next.or(before_second).unwrap_or(*chain);
}

/// One state's blocks on the way in.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn enter<const SUM: u8, const WHOLE: bool>(state: &mut Planes, data: &[u8], masks: &[u8]) {
    let mut x = blocks::load::<_, WHOLE>(data);
    if SUM == MASKED {
        x = blocks::sum(x, &blocks::load::<_, WHOLE>(masks));
    }
    *state = planes::enter(x);
}

/// And on the way out; `chain` stands in front of them.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline(never)]
fn leave<const SUM: u8, const WHOLE: bool>(state: &Planes, data: &mut [u8], masks: &[u8], chain: &[u8; BLOCK_BYTES]) {
    put::<SUM, { planes::REGISTERS }, WHOLE>(planes::leave(state), data, masks, chain);
}

/// A few blocks.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn crypt_words<const SUM: u8>(keys: &Keys, data: &mut [u8], masks: &[u8], chain: &mut [u8; BLOCK_BYTES]) {
    let next = data.last_chunk().copied();
    let mut x = blocks::load_few(data);
    if SUM == MASKED {
        x = blocks::sum(x, &blocks::load_few(masks));
    }
    x = words::crypt(&keys.words, &words::enter(&x));
    if data.len() == words::BYTES {
        put::<SUM, 4, true>(x, data, masks, chain);
    } else {
        put::<SUM, 4, false>(x, data, masks, chain);
    }
    *chain = next.unwrap_or(*chain);
}

/// Adds to `x` what is to be added after the cipher and writes it over `data`.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn put<const SUM: u8, const N: usize, const WHOLE: bool>(
    x: Blocks<N>,
    data: &mut [u8],
    masks: &[u8],
    chain: &[u8; BLOCK_BYTES],
) {
    let x = match SUM {
        MASKED => blocks::sum(x, &blocks::load::<N, WHOLE>(masks)),
        CHAINED => blocks::sum(x, &blocks::before(&blocks::load::<N, WHOLE>(data), chain)),
        _ => x,
    };
    blocks::store::<N, WHOLE>(data, x);
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn add_stream(keys: &Keys, counter: &[u8; BLOCK_BYTES], mut first: Option<&mut [u8; BLOCK_BYTES]>, data: &mut [u8]) {
    if data.len() <= words::BYTES - BLOCK_BYTES {
        return add_words(keys, counter, first, data);
    }
    let mut counter = *counter;
    if first.is_some() && data.len() > WHOLE_CHUNK - BLOCK_BYTES {
        // Alone, and not where it would keep what follows from whole states.
        add_words(keys, &counter, first.take(), &mut []);
        count(&mut counter, 1);
    }
    let mut states = States::new();
    let mut counters = Counters::new(&counter);
    let (chunks, rest) = data.as_chunks_mut::<WHOLE_CHUNK>();
    count(&mut counter, (chunks.len() * PARALLEL_BLOCKS) as u32);
    for data in chunks {
        counters.add_states::<true>(keys, &mut states, None, data);
    }
    match rest.len() {
        0 => {}
        1..=words::BYTES if first.is_none() => add_words(keys, &counter, None, rest),
        _ => counters.add_states::<false>(keys, &mut states, first, rest),
    }
    states.wipe();
}

/// Gives the first block of key stream to `first`, if wanted, and adds what follows to `data`: sixteen blocks at most.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn add_words(keys: &Keys, counter: &[u8; BLOCK_BYTES], first: Option<&mut [u8; BLOCK_BYTES]>, data: &mut [u8]) {
    let stream = words::crypt(&keys.words, &words::counters(counter));
    if data.len() == words::BYTES {
        add::<4, true>(stream, first, data);
    } else {
        add::<4, false>(stream, first, data);
    }
}

/// As [`add`], of a state. Not inlined, so that the key stream stays in registers.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline(never)]
fn add_state<const WHOLE: bool>(state: &Planes, first: Option<&mut [u8; BLOCK_BYTES]>, data: &mut [u8]) {
    add::<{ planes::REGISTERS }, WHOLE>(planes::leave(state), first, data);
}

/// Gives the first block of key stream to `first`, if wanted, and adds what follows to `data`, which is `WHOLE` if all of it is used.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn add<const N: usize, const WHOLE: bool>(
    mut stream: Blocks<N>,
    first: Option<&mut [u8; BLOCK_BYTES]>,
    data: &mut [u8],
) {
    if !WHOLE && let Some(first) = first {
        (*first, stream) = blocks::behind(&stream);
    }
    blocks::store::<N, WHOLE>(data, blocks::sum(stream, &blocks::load::<N, WHOLE>(data)));
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

    /// Adds the next two states' blocks to `data`; where it is not `WHOLE`, there may be fewer of them, and the first is for `first`.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    #[inline]
    fn add_states<const WHOLE: bool>(
        &mut self,
        keys: &Keys,
        states: &mut States,
        first: Option<&mut [u8; BLOCK_BYTES]>,
        data: &mut [u8],
    ) {
        let reserved = if !WHOLE && first.is_some() { BLOCK_BYTES } else { 0 };
        let (head, tail) = data.split_at_mut(data.len().min(BYTES - reserved));
        self.fill(&mut states.0[0]);
        if tail.is_empty() {
            planes::rounds_of_one(&keys.bytes, states);
        } else {
            self.fill(&mut states.0[1]);
            planes::rounds_of_two(&keys.bytes, states);
            add_state::<WHOLE>(&states.0[1], None, tail);
        }
        add_state::<WHOLE>(&states.0[0], first, head);
    }
}
