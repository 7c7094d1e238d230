//! Blocks between memory and registers.

use crate::sm4::BLOCK_BYTES;
use core::arch::x86_64::*;

/// Blocks in memory's order, four in a register.
pub(super) type Blocks<const N: usize> = [__m512i; N];

/// Which of the 64 bytes of register `i` exist, and where they begin; a place that exists where none of them does.
fn place(bytes: usize, i: usize) -> (__mmask64, usize) {
    match bytes.saturating_sub(64 * i) {
        64.. => (u64::MAX, 64 * i),
        0 => (0, 0),
        left => ((1 << left) - 1, 64 * i),
    }
}

/// As many bytes as the registers hold, if they are `WHOLE`, or fewer; zeros behind them. Whoever has both asks for each in its own
/// place: where the two meet, the compiler would keep the blocks in memory.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn load<const N: usize, const WHOLE: bool>(bytes: &[u8]) -> Blocks<N> {
    if !WHOLE {
        return load_part(bytes);
    }
    assert_eq!(bytes.len(), 64 * N, "whole registers");
    // SAFETY: the bytes are as long as the vectors; the load needs no alignment.
    unsafe { bytes.as_ptr().cast::<Blocks<N>>().read_unaligned() }
}

/// Both, of registers so few that it costs nothing.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn load_few(bytes: &[u8]) -> Blocks<4> {
    if bytes.len() == 256 { load::<4, true>(bytes) } else { load::<4, false>(bytes) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline(never)]
fn load_part<const N: usize>(bytes: &[u8]) -> Blocks<N> {
    let mut blocks = [_mm512_setzero_si512(); N];
    if bytes.is_empty() {
        // An empty slice may point nowhere, and a masked load from there, though allowed, takes a thousand cycles.
        return blocks;
    }
    for (i, block) in blocks.iter_mut().enumerate() {
        let (present, at) = place(bytes.len(), i);
        // SAFETY: the mask keeps the load inside `bytes`; where it is empty, the address is that of `bytes`.
        *block = unsafe { _mm512_maskz_loadu_epi8(present, bytes.as_ptr().add(at).cast()) };
    }
    blocks
}

/// As many of the blocks as `bytes` has room for: all, if they are `WHOLE`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn store<const N: usize, const WHOLE: bool>(bytes: &mut [u8], blocks: Blocks<N>) {
    if !WHOLE {
        return store_part(bytes, &blocks);
    }
    assert_eq!(bytes.len(), 64 * N, "whole registers");
    // SAFETY: the bytes are as long as the vectors; the store needs no alignment.
    unsafe { bytes.as_mut_ptr().cast::<Blocks<N>>().write_unaligned(blocks) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline(never)]
fn store_part<const N: usize>(bytes: &mut [u8], blocks: &Blocks<N>) {
    if bytes.is_empty() {
        return;
    }
    for (i, block) in blocks.iter().enumerate() {
        let (present, at) = place(bytes.len(), i);
        // SAFETY: as in `load_part`.
        unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().add(at).cast(), present, *block) };
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn sum<const N: usize>(mut x: Blocks<N>, y: &Blocks<N>) -> Blocks<N> {
    for (x, y) in x.iter_mut().zip(y) {
        *x = _mm512_xor_si512(*x, *y);
    }
    x
}

/// What stands in front of each block of `x`: `first`, then all but the last.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn before<const N: usize>(x: &Blocks<N>, first: &[u8; BLOCK_BYTES]) -> Blocks<N> {
    // SAFETY: any sixteen bytes are a vector.
    let first = unsafe { core::mem::transmute::<[u8; BLOCK_BYTES], __m128i>(*first) };
    let mut carried = _mm512_broadcast_i32x4(first);
    let mut out = *x;
    for (out, x) in out.iter_mut().zip(x) {
        *out = _mm512_alignr_epi64::<6>(*x, carried);
        carried = *x;
    }
    out
}

/// The first block and what follows it.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn behind<const N: usize>(x: &Blocks<N>) -> ([u8; BLOCK_BYTES], Blocks<N>) {
    let mut out = *x;
    let mut next = _mm512_setzero_si512();
    for (out, x) in out.iter_mut().zip(x).rev() {
        *out = _mm512_alignr_epi64::<2>(next, *x);
        next = *x;
    }
    // SAFETY: a vector is sixteen bytes.
    (unsafe { core::mem::transmute::<__m128i, [u8; BLOCK_BYTES]>(_mm512_castsi512_si128(x[0])) }, out)
}
