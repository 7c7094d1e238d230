//! SM4 with AVX-512 and GFNI: sixteen blocks in four registers, one word of each block per register.
//!
//! The S-box is two instructions: an affine map into the field of AES, and the inversion there merged with the affine
//! map back. With `φ` the isomorphism that sends the root of `x^8+x^7+x^6+x^5+x^4+x^2+1` to `β` in the field of AES:
//! `S(x) = A(φ⁻¹(inv(φ(A(x) ⊕ c)))) ⊕ c`. No data-dependent address, branch or timing.
#![allow(unsafe_code)]

use super::{BLOCK_BYTES, Direction};
use crate::cpu::Gfni512;
use core::arch::x86_64::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Blocks of one group of registers.
const GROUP: usize = 16;
/// Groups computed side by side, to hide latency.
const WIDE: usize = 4;

/// `φ ∘ A` as a matrix of rows, and `φ(c)`.
const INPUT_MATRIX: i64 = 0x4c28_7db9_1a22_505d;
const INPUT_CONSTANT: i32 = 0x3e;
/// `A ∘ φ⁻¹`, and `c`.
const OUTPUT_MATRIX: i64 = 0xf3ab_34a9_74a6_b589_u64 as i64;
const OUTPUT_CONSTANT: i32 = 0xd3;

/// Round keys, with the proof that they may be used here.
#[derive(ZeroizeOnDrop)]
pub(super) struct Schedule {
    round_keys: [u32; 32],
    #[zeroize(skip)]
    _token: Gfni512,
}

impl Schedule {
    pub(super) fn new(token: Gfni512, round_keys: [u32; 32]) -> Self {
        Self { round_keys, _token: token }
    }

    /// Encrypts or decrypts any number of blocks in place.
    pub(super) fn crypt(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
        // SAFETY: `_token` exists only where AVX-512 F and BW and GFNI were detected.
        unsafe { crypt(&self.round_keys, direction, blocks) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn crypt(round_keys: &[u32; 32], direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
    let (wide, rest) = blocks.as_chunks_mut::<{ WIDE * GROUP }>();
    for blocks in wide {
        crypt_groups::<WIDE>(round_keys, direction, blocks);
    }
    let (groups, rest) = rest.as_chunks_mut::<GROUP>();
    for blocks in groups {
        crypt_groups::<1>(round_keys, direction, blocks);
    }
    if !rest.is_empty() {
        let mut padded = [[0; BLOCK_BYTES]; GROUP];
        padded[..rest.len()].copy_from_slice(rest);
        crypt_groups::<1>(round_keys, direction, &mut padded);
        rest.copy_from_slice(&padded[..rest.len()]);
        padded.zeroize();
    }
}

/// Exactly `G * GROUP` blocks.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn crypt_groups<const G: usize>(round_keys: &[u32; 32], direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
    let bytes = blocks.as_flattened_mut();
    assert_eq!(bytes.len(), G * GROUP * BLOCK_BYTES);
    let swap = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let mut x = [[_mm512_setzero_si512(); 4]; G];
    for (x, bytes) in x.iter_mut().zip(bytes.chunks_exact(GROUP * BLOCK_BYTES)) {
        for (x, bytes) in x.iter_mut().zip(bytes.chunks_exact(64)) {
            // SAFETY: `bytes` has 64 bytes; the load needs no alignment.
            *x = _mm512_shuffle_epi8(unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }, swap);
        }
        *x = transpose(*x);
    }
    for i in (0..32).step_by(4) {
        for j in 0..4 {
            let key = match direction {
                Direction::Encrypt => round_keys[i + j],
                Direction::Decrypt => round_keys[31 - i - j],
            };
            let key = _mm512_set1_epi32(key as i32);
            for x in &mut x {
                x[j] = round(x[j], x[(j + 1) % 4], x[(j + 2) % 4], x[(j + 3) % 4], key);
            }
        }
    }
    for (x, bytes) in x.iter().zip(bytes.chunks_exact_mut(GROUP * BLOCK_BYTES)) {
        // R of GB/T 32907 7.1: the words leave in reverse order.
        let x = transpose([x[3], x[2], x[1], x[0]]);
        for (x, bytes) in x.iter().zip(bytes.chunks_exact_mut(64)) {
            // SAFETY: `bytes` has 64 bytes; the store needs no alignment.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), _mm512_shuffle_epi8(*x, swap)) };
        }
    }
}

/// F of GB/T 32907 6.1 on sixteen blocks.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn round(x0: __m512i, x1: __m512i, x2: __m512i, x3: __m512i, key: __m512i) -> __m512i {
    const XOR3: i32 = 0x96;
    let input = _mm512_xor_si512(_mm512_ternarylogic_epi32::<XOR3>(x1, x2, x3), key);
    let inner = _mm512_gf2p8affine_epi64_epi8::<INPUT_CONSTANT>(input, _mm512_set1_epi64(INPUT_MATRIX));
    let b = _mm512_gf2p8affineinv_epi64_epi8::<OUTPUT_CONSTANT>(inner, _mm512_set1_epi64(OUTPUT_MATRIX));
    // L(B) = B ⊕ B<<<2 ⊕ B<<<10 ⊕ B<<<18 ⊕ B<<<24.
    let sum = _mm512_ternarylogic_epi32::<XOR3>(x0, b, _mm512_rol_epi32::<2>(b));
    let sum = _mm512_ternarylogic_epi32::<XOR3>(sum, _mm512_rol_epi32::<10>(b), _mm512_rol_epi32::<18>(b));
    _mm512_xor_si512(sum, _mm512_rol_epi32::<24>(b))
}

/// Transposes the 4×4 words of every 128-bit lane; its own inverse.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(x: [__m512i; 4]) -> [__m512i; 4] {
    let (low0, high0) = (_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
    let (low1, high1) = (_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
    [
        _mm512_unpacklo_epi64(low0, low1),
        _mm512_unpackhi_epi64(low0, low1),
        _mm512_unpacklo_epi64(high0, high1),
        _mm512_unpackhi_epi64(high0, high1),
    ]
}
