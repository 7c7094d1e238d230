//! The 4×4 words of every 128-bit lane, transposed, on registers of each width: where the vector kernels of SM3 and SM4 begin and end.

#[cfg(target_arch = "aarch64")]
use core::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

/// One function from the unpacking instructions of one width.
macro_rules! words {
    ($name:ident, $vector:ty, $features:tt, $low32:ident, $high32:ident, $low64:ident, $high64:ident) => {
        /// In every lane, row `i`, word `j` becomes row `j`, word `i`; its own inverse.
        #[target_feature(enable = $features)]
        #[inline]
        pub(crate) fn $name(x: [$vector; 4]) -> [$vector; 4] {
            let (low0, high0) = ($low32(x[0], x[1]), $high32(x[0], x[1]));
            let (low1, high1) = ($low32(x[2], x[3]), $high32(x[2], x[3]));
            [$low64(low0, low1), $high64(low0, low1), $low64(high0, high1), $high64(high0, high1)]
        }
    };
}

#[cfg(target_arch = "aarch64")]
words!(words_128, uint32x4_t, "neon", vzip1q_u32, vzip2q_u32, zip1_64, zip2_64);
#[cfg(target_arch = "x86_64")]
words!(words_128, __m128i, "sse2", _mm_unpacklo_epi32, _mm_unpackhi_epi32, _mm_unpacklo_epi64, _mm_unpackhi_epi64);
#[cfg(target_arch = "x86_64")]
words!(
    words_256,
    __m256i,
    "avx2",
    _mm256_unpacklo_epi32,
    _mm256_unpackhi_epi32,
    _mm256_unpacklo_epi64,
    _mm256_unpackhi_epi64
);
#[cfg(target_arch = "x86_64")]
words!(
    words_512,
    __m512i,
    "avx512f",
    _mm512_unpacklo_epi32,
    _mm512_unpackhi_epi32,
    _mm512_unpacklo_epi64,
    _mm512_unpackhi_epi64
);

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
#[inline]
fn zip1_64(x: uint32x4_t, y: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u64(vzip1q_u64(vreinterpretq_u64_u32(x), vreinterpretq_u64_u32(y)))
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
#[inline]
fn zip2_64(x: uint32x4_t, y: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u64(vzip2q_u64(vreinterpretq_u64_u32(x), vreinterpretq_u64_u32(y)))
}

#[cfg(test)]
#[allow(unsafe_code, clippy::print_stderr)]
mod tests {
    use super::*;

    /// Row `i`, word `j` of lane `l` is `16·l + 4·i + j`.
    fn numbered<const WORDS: usize>() -> [[u32; WORDS]; 4] {
        core::array::from_fn(|i| core::array::from_fn(|at| (16 * (at / 4) + 4 * i + at % 4) as u32))
    }

    fn assert_transposed<const WORDS: usize>(x: [[u32; WORDS]; 4]) {
        for (i, row) in x.iter().enumerate() {
            for (at, word) in row.iter().enumerate() {
                assert_eq!(*word as usize, 16 * (at / 4) + 4 * (at % 4) + i);
            }
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn rows_become_columns() {
        // SAFETY: aarch64 has NEON; four vectors are four rows of four words.
        assert_transposed(unsafe {
            let x = core::mem::transmute::<[[u32; 4]; 4], [uint32x4_t; 4]>(numbered());
            core::mem::transmute::<[uint32x4_t; 4], [[u32; 4]; 4]>(words_128(x))
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn rows_become_columns_in_every_lane() {
        // SAFETY: every x86-64 processor has SSE2; four vectors are four rows of four words.
        assert_transposed(unsafe {
            let x = core::mem::transmute::<[[u32; 4]; 4], [__m128i; 4]>(numbered());
            core::mem::transmute::<[__m128i; 4], [[u32; 4]; 4]>(words_128(x))
        });
        if is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was just detected; four vectors are four rows of eight words.
            assert_transposed(unsafe {
                let x = core::mem::transmute::<[[u32; 8]; 4], [__m256i; 4]>(numbered());
                core::mem::transmute::<[__m256i; 4], [[u32; 8]; 4]>(words_256(x))
            });
        } else {
            eprintln!("NOT TESTED: this processor has no AVX2");
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: AVX-512 F was just detected; four vectors are four rows of sixteen words.
            assert_transposed(unsafe {
                let x = core::mem::transmute::<[[u32; 16]; 4], [__m512i; 4]>(numbered());
                core::mem::transmute::<[__m512i; 4], [[u32; 16]; 4]>(words_512(x))
            });
        } else {
            eprintln!("NOT TESTED: this processor has no AVX-512");
        }
    }
}
