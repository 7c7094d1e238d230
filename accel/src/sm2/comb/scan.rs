//! Table entries at secret indices: every entry is read, whichever is wanted, and masks in registers keep one.

use super::Entry;
#[cfg(target_arch = "x86_64")]
use crate::cpu::{Avx2, Int512};
use crate::ct;
use crate::sm2::point::Affine;

/// Who reads.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Scan {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Int512),
}

impl Scan {
    pub(in super::super) fn selected() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(token) = Int512::selected() {
                return Self::Avx512(token);
            }
            if let Some(token) = Avx2::selected() {
                return Self::Avx2(token);
            }
        }
        Self::Portable
    }

    /// The entry at a secret index below `COUNT`, a multiple of eight.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(in super::super) fn entry<const COUNT: usize>(self, entries: &[Entry; COUNT], index: u64) -> Affine {
        const { assert!(COUNT.is_multiple_of(8), "entries are read in groups of eight") };
        match self {
            Self::Portable => portable(entries, index),
            // SAFETY: the token proves AVX2.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => unsafe { x86::avx2(entries, index) },
            // SAFETY: the token proves AVX-512 F and what it includes.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => unsafe { x86::avx512(entries, index) },
        }
        .point()
    }
}

fn portable(entries: &[Entry], index: u64) -> Entry {
    let mut found = Entry([0; 8]);
    for (entry, i) in entries.iter().zip(0u64..) {
        let mask = ct::mask_eq(i, index);
        for (limb, value) in found.0.iter_mut().zip(&entry.0) {
            *limb |= value & mask;
        }
    }
    found
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::Entry;
    use core::arch::x86_64::*;

    /// Two halves of an entry, as AVX2 holds them.
    type Halves = [__m256i; 2];

    /// A tree of selections by the index's low three bits in each group of eight entries; one comparison keeps a group.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(entries: &[Entry], index: u64) -> Entry {
        // All ones where the bit is set; barriers are not needed, as the compiler cannot see through the broadcast's use.
        let bit = |bit: u32| _mm256_set1_epi64x(((index >> bit & 1) as i64).wrapping_neg());
        let [bit0, bit1, bit2] = [bit(0), bit(1), bit(2)];
        let wanted = _mm256_set1_epi64x((index >> 3) as i64);
        let one = _mm256_set1_epi64x(1);
        let mut group = _mm256_setzero_si256();
        let mut found = [_mm256_setzero_si256(); 2];
        for eight in entries.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = eight;
            for (half, found) in found.iter_mut().enumerate() {
                // SAFETY: an entry is 64 bytes aligned to 64, two halves of 32.
                let load = |entry: &Entry| unsafe { *(&raw const entry.0).cast::<Halves>() }[half];
                let low = blend(bit1, blend(bit0, load(a), load(b)), blend(bit0, load(c), load(d)));
                let high = blend(bit1, blend(bit0, load(e), load(f)), blend(bit0, load(g), load(h)));
                let of_group = _mm256_and_si256(blend(bit2, low, high), _mm256_cmpeq_epi64(group, wanted));
                *found = _mm256_or_si256(*found, of_group);
            }
            group = _mm256_add_epi64(group, one);
        }
        // SAFETY: both are 64 bytes of plain integers.
        unsafe { core::mem::transmute::<Halves, Entry>(found) }
    }

    /// `b` where the mask is all ones, else `a`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn blend(mask: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_blendv_epi8(a, b, mask)
    }

    /// The same on whole entries, with masks in mask registers.
    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(entries: &[Entry], index: u64) -> Entry {
        let wanted = _mm512_set1_epi64(index as i64);
        let bit = |bit: i64| _mm512_test_epi64_mask(wanted, _mm512_set1_epi64(1 << bit));
        let [bit0, bit1, bit2] = [bit(0), bit(1), bit(2)];
        let wanted = _mm512_srli_epi64::<3>(wanted);
        let one = _mm512_set1_epi64(1);
        let mut group = _mm512_setzero_si512();
        let mut found = _mm512_setzero_si512();
        for eight in entries.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = eight;
            // SAFETY: an entry is 64 bytes aligned to 64.
            let load = |entry: &Entry| unsafe { *(&raw const entry.0).cast::<__m512i>() };
            let pair = |low, high| _mm512_mask_blend_epi64(bit0, load(low), load(high));
            let low = _mm512_mask_blend_epi64(bit1, pair(a, b), pair(c, d));
            let high = _mm512_mask_blend_epi64(bit1, pair(e, f), pair(g, h));
            let of_group = _mm512_mask_blend_epi64(bit2, low, high);
            found = _mm512_mask_mov_epi64(found, _mm512_cmpeq_epi64_mask(group, wanted), of_group);
            group = _mm512_add_epi64(group, one);
        }
        // SAFETY: both are 64 bytes of plain integers.
        unsafe { core::mem::transmute::<__m512i, Entry>(found) }
    }
}
