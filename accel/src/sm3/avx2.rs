//! SM3 in eight lanes of AVX2.
//!
//! As [`super::avx512`], but a rotation takes three instructions and the Boolean functions two to four: 42 a step and 20 a word of
//! expansion, about 3,800 for eight blocks. One group fills the sixteen registers. No data-dependent address or branch.
#![allow(unsafe_code)]

use super::lanes::{Block, Kernel, States};
use super::{portable, wipe};
use crate::cpu::Avx2;
use crate::transpose::words_256;
use core::arch::x86_64::*;

/// Lanes of the kernel.
pub(super) const LANES: usize = 8;

/// Row `j` is `W_j` of all lanes (GB/T 32905 5.3.2).
type Expanded = [__m256i; 68];

/// The kernel with room for its expanded messages.
pub(super) struct Lanes {
    _token: Avx2,
    words: Expanded,
}

// SAFETY: a vector of integers may have any bits, all zero among them.
const ZERO: __m256i = unsafe { core::mem::zeroed() };

impl Lanes {
    pub(super) fn new(token: Avx2) -> Self {
        Self { _token: token, words: [ZERO; 68] }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        wipe(&mut self.words, ZERO);
    }
}

impl Kernel<LANES> for Lanes {
    fn blocks(&mut self, states: &mut States<LANES>, data: &[&[Block]; LANES], count: usize, _live: usize) {
        assert!(data.iter().all(|blocks| blocks.len() >= count), "every lane has {count} blocks");
        // SAFETY: `_token` exists only where AVX2 was detected.
        unsafe { blocks(&mut self.words, states, data, count) }
    }
}

#[target_feature(enable = "avx2")]
fn blocks(w: &mut Expanded, states: &mut States<LANES>, data: &[&[Block]; LANES], count: usize) {
    let mut state = [_mm256_setzero_si256(); 8];
    for (state, row) in state.iter_mut().zip(&states.0) {
        // SAFETY: a row of eight words has 32 bytes; the load needs no alignment.
        *state = unsafe { _mm256_loadu_si256(row.as_ptr().cast()) };
    }
    for block in 0..count {
        for half in 0..2 {
            let mut x = [_mm256_setzero_si256(); LANES];
            for (x, blocks) in x.iter_mut().zip(data) {
                let halves: &[[u8; 32]] = blocks[block].as_chunks().0;
                *x = swap_bytes(load(&halves[half]));
            }
            w[half * 8..][..8].copy_from_slice(&transpose(x));
        }
        expand(w);
        compress(&mut state, w);
    }
    for (state, row) in state.iter().zip(&mut states.0) {
        // SAFETY: a row of eight words has 32 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), *state) };
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn swap_bytes(x: __m256i) -> __m256i {
    let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(swap))
}

/// Row `i`, word `j` becomes row `j`, word `i`.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(x: [__m256i; 8]) -> [__m256i; 8] {
    let low = words_256([x[0], x[1], x[2], x[3]]);
    let high = words_256([x[4], x[5], x[6], x[7]]);
    let mut out = x;
    for k in 0..4 {
        out[k] = _mm256_permute2x128_si256::<0x20>(low[k], high[k]);
        out[4 + k] = _mm256_permute2x128_si256::<0x31>(low[k], high[k]);
    }
    out
}

/// Rotation to the left; `RIGHT` is 32 less `LEFT`.
#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    const { assert!(LEFT + RIGHT == 32) };
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor3(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_xor_si256(x, y), z)
}

#[target_feature(enable = "avx2")]
#[inline]
fn majority(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_and_si256(x, y), _mm256_and_si256(_mm256_or_si256(x, y), z))
}

#[target_feature(enable = "avx2")]
#[inline]
fn choose(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(y, z), x), z)
}

/// GB/T 32905 5.3.2 a).
#[target_feature(enable = "avx2")]
fn expand(w: &mut Expanded) {
    // W_j needs W_{j-3} soonest: the last three rows stay in registers.
    let mut last = [w[13], w[14], w[15]];
    for i in 0..13 {
        let j = 4 * i;
        let w0 = next_word(w[j], w[j + 7], last[0], w[j + 3], w[j + 10]);
        let w1 = next_word(w[j + 1], w[j + 8], last[1], w[j + 4], w[j + 11]);
        let w2 = next_word(w[j + 2], w[j + 9], last[2], w[j + 5], w[j + 12]);
        let w3 = next_word(w[j + 3], w[j + 10], w0, w[j + 6], w[j + 13]);
        (w[j + 16], w[j + 17], w[j + 18], w[j + 19]) = (w0, w1, w2, w3);
        last = [w1, w2, w3];
    }
}

/// `P1(W_{j-16} ⊕ W_{j-9} ⊕ (W_{j-3} <<< 15)) ⊕ (W_{j-13} <<< 7) ⊕ W_{j-6}`.
#[target_feature(enable = "avx2")]
#[inline]
fn next_word(w16: __m256i, w9: __m256i, w3: __m256i, w13: __m256i, w6: __m256i) -> __m256i {
    let x = xor3(w16, w9, rotate::<15, 17>(w3));
    let p1 = xor3(x, rotate::<15, 17>(x), rotate::<23, 9>(x));
    xor3(p1, rotate::<7, 25>(w13), w6)
}

/// One step of CF, GB/T 32905 5.3.3; the roles of the eight registers are renamed by the caller.
macro_rules! step {
    ($ff:ident $gg:ident $r:ident[$a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal]
     $t:expr, $w:expr, $w4:expr) => {
        let a12 = rotate::<12, 20>($r[$a]);
        let ss1 = rotate::<7, 25>(_mm256_add_epi32(a12, _mm256_add_epi32($r[$e], _mm256_set1_epi32($t as i32))));
        let ss2 = _mm256_xor_si256(ss1, a12);
        let d_w = _mm256_add_epi32($r[$d], _mm256_xor_si256($w, $w4));
        let h_w = _mm256_add_epi32($r[$h], $w);
        let tt1 = _mm256_add_epi32(_mm256_add_epi32(d_w, $ff($r[$a], $r[$b], $r[$c])), ss2);
        let tt2 = _mm256_add_epi32(_mm256_add_epi32(h_w, $gg($r[$e], $r[$f], $r[$g])), ss1);
        $r[$b] = rotate::<9, 23>($r[$b]);
        $r[$d] = tt1;
        $r[$f] = rotate::<19, 13>($r[$f]);
        $r[$h] = xor3(tt2, rotate::<9, 23>(tt2), rotate::<17, 15>(tt2));
    };
}

/// CF, GB/T 32905 5.3.3.
#[target_feature(enable = "avx2")]
fn compress(state: &mut [__m256i; 8], w: &Expanded) {
    let (w, _) = w.as_chunks::<4>();
    let (t, _) = portable::T.as_chunks::<4>();
    let mut r = *state;
    macro_rules! quads {
        ($quads:expr, $ff:ident $gg:ident) => {
            for ((now, next), t) in w.iter().zip(&w[1..]).zip(t).skip($quads.start).take($quads.len()) {
                step!($ff $gg r[0 1 2 3 4 5 6 7] t[0], now[0], next[0]);
                step!($ff $gg r[3 0 1 2 7 4 5 6] t[1], now[1], next[1]);
                step!($ff $gg r[2 3 0 1 6 7 4 5] t[2], now[2], next[2]);
                step!($ff $gg r[1 2 3 0 5 6 7 4] t[3], now[3], next[3]);
            }
        };
    }
    quads!((0..4), xor3 xor3);
    quads!((4..16), majority choose);
    for (state, r) in state.iter_mut().zip(r) {
        *state = _mm256_xor_si256(*state, r);
    }
}
