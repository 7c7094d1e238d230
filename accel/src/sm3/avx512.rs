//! SM3 in sixteen lanes of AVX-512, three such groups side by side: a step of one group waits for its own results most of the
//! time, the others fill the gaps. The state of three takes 24 of the 32 registers; a fourth group would not fit.
//!
//! A block is loaded one lane per register and transposed; the 68 words of the message expansion go to memory; the 64
//! steps read them from there. Rotations are one instruction, so are the three-operand Boolean functions and XORs:
//! 19 instructions a step, 7 a word of expansion. No data-dependent address or branch.
#![allow(unsafe_code)]

mod transpose;

use super::lanes::{Block, Kernel, States, Tail};
use super::rounds::{Expanded, Room, sm3_expansion};
use super::{BLOCK_BYTES, portable};
use crate::cpu::Int512;
use core::arch::x86_64::*;

/// Lanes of one register.
const GROUP: usize = 16;
/// Groups of the kernel.
const GROUPS: usize = 3;
/// Lanes of the kernel.
pub(super) const LANES: usize = GROUPS * GROUP;
// SAFETY: a vector of integers may have any bits, all zero among them.
const ZERO: __m512i = unsafe { core::mem::zeroed() };
/// Quads of steps.
const QUADS: usize = 16;
/// Quads with the first form of FF and GG (GB/T 32905 4.3).
const PARITY_QUADS: usize = 4;

/// The kernel with its room.
pub(super) struct Lanes {
    _token: Int512,
    room: Room<__m512i, GROUPS>,
    padding: Option<Padding>,
}

/// The expansion of a block of padding alone, kept from one time to the next.
struct Padding {
    length_bits: u64,
    words: [[u32; 4]; QUADS],
    mixed: [[u32; 4]; QUADS],
}

impl Padding {
    fn new(length_bits: u64) -> Self {
        let mut block = [0; 16];
        (block[0], block[14], block[15]) = (1 << 31, (length_bits >> 32) as u32, length_bits as u32);
        let words = portable::expand(&block);
        let quad = |quad: usize| core::array::from_fn(|k| words[4 * quad + k]);
        let mixed = |quad: usize| core::array::from_fn(|k| words[4 * quad + k] ^ words[4 * quad + k + 4]);
        Self { length_bits, words: core::array::from_fn(quad), mixed: core::array::from_fn(mixed) }
    }
}

impl Lanes {
    #[inline(always)]
    pub(super) fn new(token: Int512) -> Self {
        Self { _token: token, room: Room::new(ZERO), padding: None }
    }
}

impl Kernel<LANES> for Lanes {
    fn blocks(&mut self, states: &mut States<LANES>, data: &[&[Block]; LANES], count: usize, live: usize) {
        assert!(data.iter().all(|blocks| blocks.len() >= count), "every lane has {count} blocks");
        // SAFETY: `_token` exists only where the features were detected.
        unsafe {
            match live.div_ceil(GROUP) {
                0 | 1 => blocks::<1>(self.room.expanded(), states, data, count),
                2 => blocks::<2>(self.room.expanded(), states, data, count),
                _ => blocks::<GROUPS>(self.room.expanded(), states, data, count),
            }
        }
    }

    fn tails(&mut self, states: &mut States<LANES>, data: &[Tail<'_>; LANES], live: usize) {
        // SAFETY: `_token` exists only where the features were detected.
        unsafe {
            match live.div_ceil(GROUP) {
                0 | 1 => tails::<1>(self.room.expanded(), states, data),
                2 => tails::<2>(self.room.expanded(), states, data),
                _ => tails::<GROUPS>(self.room.expanded(), states, data),
            }
        }
    }

    fn padding(&mut self, states: &mut States<LANES>, length_bits: u64, live: usize) {
        let padding = match self.padding.take() {
            Some(padding) if padding.length_bits == length_bits => padding,
            _ => Padding::new(length_bits),
        };
        let padding = self.padding.insert(padding);
        // SAFETY: `_token` exists only where the features were detected.
        unsafe {
            match live.div_ceil(GROUP) {
                0 | 1 => self::padding::<1>(padding, states),
                2 => self::padding::<2>(padding, states),
                _ => self::padding::<GROUPS>(padding, states),
            }
        }
    }

    fn digests(&self, states: &States<LANES>, out: &mut [[u8; 32]; LANES]) {
        // SAFETY: `_token` exists only where the features were detected.
        unsafe { digests(states, out) }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn blocks<const G: usize>(
    w: &mut Expanded<__m512i, G>,
    states: &mut States<LANES>,
    data: &[&[Block]; LANES],
    count: usize,
) {
    let mut state = load_states::<G>(states);
    for block in 0..count {
        for g in 0..G {
            let mut x = [_mm512_setzero_si512(); GROUP];
            for (x, blocks) in x.iter_mut().zip(&data[g * GROUP..]) {
                *x = load(&blocks[block]);
            }
            put_words(w, g, transpose::square(x));
        }
        fold(w, &mut state);
    }
    store_states(&state, states);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn tails<const G: usize>(w: &mut Expanded<__m512i, G>, states: &mut States<LANES>, tails: &[Tail<'_>; LANES]) {
    let mut state = load_states::<G>(states);
    for g in 0..G {
        let mut x = [_mm512_setzero_si512(); GROUP];
        let (mut high, mut low) = ([0; GROUP], [0; GROUP]);
        for (lane, tail) in tails[g * GROUP..][..GROUP].iter().enumerate() {
            x[lane] = load_tail(tail);
            (high[lane], low[lane]) = ((tail.length_bits >> 32) as i32, tail.length_bits as i32);
        }
        let mut words = transpose::square(x);
        // A last block is zero where the length goes.
        words[14] = _mm512_or_si512(words[14], load_words(&high));
        words[15] = _mm512_or_si512(words[15], load_words(&low));
        put_words(w, g, words);
    }
    fold(w, &mut state);
    store_states(&state, states);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn digests(states: &States<LANES>, out: &mut [[u8; 32]; LANES]) {
    let state = load_states::<GROUPS>(states);
    for (g, out) in out.chunks_exact_mut(GROUP).enumerate() {
        let mut words = [_mm512_setzero_si512(); 8];
        for (word, state) in words.iter_mut().zip(&state) {
            *word = transpose::swap_bytes(state[g]);
        }
        for (out, lane) in out.iter_mut().zip(transpose::to_lanes(words)) {
            // SAFETY: `out` has 32 bytes; the store needs no alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), lane) };
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(block: &Block) -> __m512i {
    // SAFETY: a block has 64 bytes; the load needs no alignment.
    transpose::swap_bytes(unsafe { _mm512_loadu_si512(block.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_tail(tail: &Tail<'_>) -> __m512i {
    let bytes = tail.data.len();
    let mask = if bytes >= BLOCK_BYTES { u64::MAX } else { (1 << bytes) - 1 };
    // An empty slice may point anywhere; the processor would find out that nothing is loaded, but slowly.
    let data = if bytes == 0 { [0_u8; BLOCK_BYTES].as_ptr() } else { tail.data.as_ptr() };
    // SAFETY: the mask selects bytes of `data` only, and the load touches no other.
    let x = unsafe { _mm512_maskz_loadu_epi8(mask, data.cast()) };
    // Where `data` fills the block there is no mark, and the shift, of 64 or more, would be none.
    let mark = u64::from(tail.mark) << (bytes % BLOCK_BYTES);
    transpose::swap_bytes(_mm512_mask_mov_epi8(x, mark, _mm512_set1_epi8(0x80_u8 as i8)))
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_words<T>(words: &[T; GROUP]) -> __m512i {
    const { assert!(size_of::<T>() == 4) };
    // SAFETY: sixteen words of 32 bits are 64 bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_words(words: &mut [u32; GROUP], x: __m512i) {
    // SAFETY: sixteen words of 32 bits are 64 bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), x) };
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn put_words<const G: usize>(w: &mut Expanded<__m512i, G>, g: usize, words: [__m512i; 16]) {
    for (row, word) in w.iter_mut().zip(words) {
        row[g] = word;
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_states<const G: usize>(states: &States<LANES>) -> [[__m512i; G]; 8] {
    let mut state = [[_mm512_setzero_si512(); G]; 8];
    for (state, row) in state.iter_mut().zip(&states.0) {
        for (state, words) in state.iter_mut().zip(row.as_chunks().0) {
            *state = load_words(words);
        }
    }
    state
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_states<const G: usize>(state: &[[__m512i; G]; 8], states: &mut States<LANES>) {
    for (state, row) in state.iter().zip(&mut states.0) {
        for (state, words) in state.iter().zip(row.as_chunks_mut().0) {
            store_words(words, *state);
        }
    }
}

/// Expands the first sixteen rows of `w` and compresses.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn fold<const G: usize>(w: &mut Expanded<__m512i, G>, state: &mut [[__m512i; G]; 8]) {
    expand(w);
    compress(state, w);
}

const XOR3: i32 = 0x96;
const MAJORITY: i32 = 0xe8;
const CHOOSE: i32 = 0xca;

/// Rotation to the left; `RIGHT` is 32 less `LEFT`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m512i) -> __m512i {
    const { assert!(LEFT + RIGHT == 32) };
    _mm512_rol_epi32::<LEFT>(x)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn xor3(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<XOR3>(x, y, z)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn p1(x: __m512i) -> __m512i {
    xor3(x, rotate::<15, 17>(x), rotate::<23, 9>(x))
}

sm3_expansion!("avx512f,avx512bw", __m512i);

/// One step of CF, GB/T 32905 5.3.3, for all groups `$i`; the roles of the eight rows of `$r` are renamed by the caller.
/// `$word` and `$mixed` name macros that give `W_j` and `W'_j` of a group.
macro_rules! step {
    ($ff:ident $gg:ident $r:ident[$a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal]
     $t:ident $word:ident $mixed:ident $k:literal) => {
        for i in 0..G {
            let a12 = _mm512_rol_epi32::<12>($r[$a][i]);
            let e_t = _mm512_add_epi32($r[$e][i], _mm512_set1_epi32($t[$k] as i32));
            let ss1 = _mm512_rol_epi32::<7>(_mm512_add_epi32(a12, e_t));
            let ss2 = _mm512_xor_si512(ss1, a12);
            let ff = _mm512_ternarylogic_epi32::<$ff>($r[$a][i], $r[$b][i], $r[$c][i]);
            let gg = _mm512_ternarylogic_epi32::<$gg>($r[$e][i], $r[$f][i], $r[$g][i]);
            let d_w = _mm512_add_epi32($r[$d][i], $mixed!($k, i));
            let h_w = _mm512_add_epi32($r[$h][i], $word!($k, i));
            let tt1 = _mm512_add_epi32(_mm512_add_epi32(d_w, ff), ss2);
            let tt2 = _mm512_add_epi32(_mm512_add_epi32(h_w, gg), ss1);
            let p0 = _mm512_ternarylogic_epi32::<XOR3>(tt2, _mm512_rol_epi32::<9>(tt2), _mm512_rol_epi32::<17>(tt2));
            $r[$b][i] = _mm512_rol_epi32::<9>($r[$b][i]);
            $r[$d][i] = tt1;
            $r[$f][i] = _mm512_rol_epi32::<19>($r[$f][i]);
            $r[$h][i] = p0;
        }
    };
}

/// Four steps; after them every row holds its own name again.
macro_rules! four_steps {
    ($ff:ident $gg:ident $r:ident $t:ident $word:ident $mixed:ident) => {
        step!($ff $gg $r[0 1 2 3 4 5 6 7] $t $word $mixed 0);
        step!($ff $gg $r[3 0 1 2 7 4 5 6] $t $word $mixed 1);
        step!($ff $gg $r[2 3 0 1 6 7 4 5] $t $word $mixed 2);
        step!($ff $gg $r[1 2 3 0 5 6 7 4] $t $word $mixed 3);
    };
}
#[target_feature(enable = "avx512f,avx512bw")]
fn padding<const G: usize>(padding: &Padding, states: &mut States<LANES>) {
    let mut state = load_states::<G>(states);
    let (t, _) = portable::T.as_chunks::<4>();
    let mut r = state;
    macro_rules! quads {
        ($quads:expr, $ff:ident $gg:ident) => {
            for ((words, mixed), t) in padding.words[$quads].iter().zip(&padding.mixed[$quads]).zip(&t[$quads]) {
                macro_rules! word {
                    ($k:literal, $i:ident) => {
                        _mm512_set1_epi32(words[$k] as i32)
                    };
                }
                macro_rules! mixed {
                    ($k:literal, $i:ident) => {
                        _mm512_set1_epi32(mixed[$k] as i32)
                    };
                }
                four_steps!($ff $gg r t word mixed);
            }
        };
    }
    quads!(0..PARITY_QUADS, XOR3 XOR3);
    quads!(PARITY_QUADS..QUADS, MAJORITY CHOOSE);
    feed_forward(&mut state, &r);
    store_states(&state, states);
}

// After the macros it uses.
pub(super) mod lthash;

/// CF, GB/T 32905 5.3.3, on expanded messages.
#[target_feature(enable = "avx512f,avx512bw")]
fn compress<const G: usize>(state: &mut [[__m512i; G]; 8], w: &Expanded<__m512i, G>) {
    let mut r = *state;
    steps(&mut r, w, 0, QUADS);
    feed_forward(state, &r);
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn feed_forward<const G: usize>(state: &mut [[__m512i; G]; 8], r: &[[__m512i; G]; 8]) {
    for (state, r) in state.iter_mut().zip(r) {
        for g in 0..G {
            state[g] = _mm512_xor_si512(state[g], r[g]);
        }
    }
}

/// Quads `first..end` of the steps.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn steps<const G: usize>(state: &mut [[__m512i; G]; 8], w: &Expanded<__m512i, G>, first: usize, end: usize) {
    let (w, _) = w.as_chunks::<4>();
    let (t, _) = portable::T.as_chunks::<4>();
    let mut r = *state;
    let split = PARITY_QUADS.clamp(first, end);
    macro_rules! quads {
        ($first:expr, $end:expr, $ff:ident $gg:ident) => {
            for ((now, next), t) in w[$first..$end].iter().zip(&w[$first + 1..]).zip(&t[$first..]) {
                macro_rules! word {
                    ($k:literal, $i:ident) => {
                        now[$k][$i]
                    };
                }
                macro_rules! mixed {
                    ($k:literal, $i:ident) => {
                        _mm512_xor_si512(now[$k][$i], next[$k][$i])
                    };
                }
                four_steps!($ff $gg r t word mixed);
            }
        };
    }
    quads!(first, split, XOR3 XOR3);
    quads!(split, end, MAJORITY CHOOSE);
    *state = r;
}
