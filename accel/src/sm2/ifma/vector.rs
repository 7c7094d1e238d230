//! Eight 64-bit lanes. A [`Vector`] can only be made with an [`Ifma512`] token or from another vector, so its existence
//! proves that the processor has the instructions its methods use; they are therefore safe to call.
//!
//! Methods are `inline(always)` and carry no `target_feature` of their own: the kernels that use them do, and inlining
//! puts the instructions there.
#![allow(unsafe_code)]

use crate::cpu::Ifma512;
use core::arch::x86_64::*;

/// The low 52 bits, what IFMA reads of a lane.
pub(super) const LOW52: u64 = (1 << 52) - 1;

/// One bit per lane.
pub(super) type Mask = u8;

#[derive(Clone, Copy, Debug)]
pub(super) struct Vector(__m512i);

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($($argument:ident),*) = $intrinsic:path;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(super) fn $name(self, $($argument: Self),*) -> Self {
            // SAFETY: `self` proves that a token of AVX-512 F, DQ and IFMA was there.
            Self(unsafe { $intrinsic(self.0, $($argument.0),*) })
        }
    )+};
}

macro_rules! shifts {
    ($($(#[$doc:meta])* $name:ident = $intrinsic:ident as $kind:ty;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(super) fn $name<const BITS: $kind>(self) -> Self {
            // SAFETY: `self` proves that a token of AVX-512 F was there.
            Self(unsafe { $intrinsic::<BITS>(self.0) })
        }
    )+};
}

impl Vector {
    /// All lanes the same.
    #[inline(always)]
    pub(super) fn splat(_: Ifma512, value: u64) -> Self {
        // SAFETY: the token proves AVX-512 F.
        Self(unsafe { _mm512_set1_epi64(value as i64) })
    }

    /// Lane `i` is `values[i]`.
    #[inline(always)]
    pub(super) fn load(_: Ifma512, values: &[u64; 8]) -> Self {
        // SAFETY: both types are 64 bytes of plain integers. (The load intrinsics carry run-time checks in builds with
        // debug assertions.)
        Self(unsafe { core::mem::transmute::<[u64; 8], __m512i>(*values) })
    }

    /// All lanes the same, a constant beside `self`.
    #[inline(always)]
    pub(super) fn constant(self, value: u64) -> Self {
        // SAFETY: `self` proves that a token of AVX-512 F was there.
        Self(unsafe { _mm512_set1_epi64(value as i64) })
    }

    /// Lane `i` is `values[i]`.
    #[inline(always)]
    pub(super) fn load_narrow(_: Ifma512, values: &[u16; 8]) -> Self {
        // SAFETY: the token proves AVX-512 F; both types are 16 bytes of plain integers.
        Self(unsafe { _mm512_cvtepu16_epi64(core::mem::transmute::<[u16; 8], __m128i>(*values)) })
    }

    /// `out[i]` becomes the low 16 bits of lane `i`.
    #[inline(always)]
    pub(super) fn store_narrow(self, out: &mut [u16; 8]) {
        // SAFETY: `self` proves AVX-512 F; both types are 16 bytes of plain integers.
        *out = unsafe { core::mem::transmute::<__m128i, [u16; 8]>(_mm512_cvtepi64_epi16(self.0)) };
    }

    /// `out[i]` becomes lane `i`.
    #[inline(always)]
    pub(super) fn store(self, out: &mut [u64; 8]) {
        // SAFETY: both types are 64 bytes of plain integers.
        *out = unsafe { core::mem::transmute::<__m512i, [u64; 8]>(self.0) };
    }

    operations! {
        /// Lane-wise sum, wrapping.
        add(other) = _mm512_add_epi64;
        /// Lane-wise difference, wrapping.
        sub(other) = _mm512_sub_epi64;
        and(other) = _mm512_and_si512;
        or(other) = _mm512_or_si512;
        xor(other) = _mm512_xor_si512;
        /// `self + low52(low52(a) · low52(b))`.
        add_low(a, b) = _mm512_madd52lo_epu64;
        /// `self + (low52(a) · low52(b) >> 52)`.
        add_high(a, b) = _mm512_madd52hi_epu64;
    }

    shifts! {
        /// Arithmetic shift: the sign fills in.
        shift_right_signed = _mm512_srai_epi64 as u32;
        shift_right = _mm512_srli_epi64 as u32;
        shift_left = _mm512_slli_epi64 as u32;
    }

    /// `self` where the mask has no bit, `other` where it has one.
    #[inline(always)]
    pub(super) fn blend(self, mask: Mask, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512 F.
        Self(unsafe { _mm512_mask_blend_epi64(mask, self.0, other.0) })
    }

    /// A logical shift by a public count; zero from 64 on.
    #[inline(always)]
    pub(super) fn shift_right_by(self, count: u64) -> Self {
        // SAFETY: `self` proves AVX-512 F.
        Self(unsafe { _mm512_srlv_epi64(self.0, _mm512_set1_epi64(count as i64)) })
    }

    /// A shift by a public count; zero from 64 on.
    #[inline(always)]
    pub(super) fn shift_left_by(self, count: u64) -> Self {
        // SAFETY: `self` proves AVX-512 F.
        Self(unsafe { _mm512_sllv_epi64(self.0, _mm512_set1_epi64(count as i64)) })
    }

    /// A bit for each lane that shares one with `other`.
    #[inline(always)]
    pub(super) fn test(self, other: Self) -> Mask {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_test_epi64_mask(self.0, other.0) }
    }

    /// `-self` where the mask has a bit.
    #[inline(always)]
    pub(super) fn negate_where(self, mask: Mask) -> Self {
        // SAFETY: `self` proves AVX-512 F.
        Self(unsafe { _mm512_mask_sub_epi64(self.0, mask, _mm512_setzero_si512(), self.0) })
    }

    /// A bit for each lane in which both are equal.
    #[inline(always)]
    pub(super) fn equals(self, other: Self) -> Mask {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_cmpeq_epi64_mask(self.0, other.0) }
    }

    /// The lanes of `low` and `high`, sixteen in all, at the sixteen-valued indices in `self`.
    #[inline(always)]
    pub(super) fn pick(self, low: Self, high: Self) -> Self {
        // SAFETY: `self` proves AVX-512 F.
        Self(unsafe { _mm512_permutex2var_epi64(low.0, self.0, high.0) })
    }
}

/// Rows become columns: lane `i` of result `j` is lane `j` of `rows[i]`.
#[inline(always)]
pub(super) fn transpose(rows: [Vector; 8]) -> [Vector; 8] {
    let [a, b, c, d, e, f, g, h] = rows.map(|row| row.0);
    // SAFETY: the vectors prove AVX-512 F.
    unsafe {
        let (ab0, ab1) = (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        let (cd0, cd1) = (_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
        let (ef0, ef1) = (_mm512_unpacklo_epi64(e, f), _mm512_unpackhi_epi64(e, f));
        let (gh0, gh1) = (_mm512_unpacklo_epi64(g, h), _mm512_unpackhi_epi64(g, h));
        // Pairs of lanes: 0x88 takes blocks 0, 2 of both operands, 0xdd blocks 1, 3.
        let (abcd0, abcd2) = (_mm512_shuffle_i64x2::<0x88>(ab0, cd0), _mm512_shuffle_i64x2::<0xdd>(ab0, cd0));
        let (abcd1, abcd3) = (_mm512_shuffle_i64x2::<0x88>(ab1, cd1), _mm512_shuffle_i64x2::<0xdd>(ab1, cd1));
        let (efgh0, efgh2) = (_mm512_shuffle_i64x2::<0x88>(ef0, gh0), _mm512_shuffle_i64x2::<0xdd>(ef0, gh0));
        let (efgh1, efgh3) = (_mm512_shuffle_i64x2::<0x88>(ef1, gh1), _mm512_shuffle_i64x2::<0xdd>(ef1, gh1));
        [
            Vector(_mm512_shuffle_i64x2::<0x88>(abcd0, efgh0)),
            Vector(_mm512_shuffle_i64x2::<0x88>(abcd1, efgh1)),
            Vector(_mm512_shuffle_i64x2::<0x88>(abcd2, efgh2)),
            Vector(_mm512_shuffle_i64x2::<0x88>(abcd3, efgh3)),
            Vector(_mm512_shuffle_i64x2::<0xdd>(abcd0, efgh0)),
            Vector(_mm512_shuffle_i64x2::<0xdd>(abcd1, efgh1)),
            Vector(_mm512_shuffle_i64x2::<0xdd>(abcd2, efgh2)),
            Vector(_mm512_shuffle_i64x2::<0xdd>(abcd3, efgh3)),
        ]
    }
}

/// Lane `i` of both, side by side.
#[inline(always)]
pub(super) fn pairs(a: Vector, b: Vector) -> [[u64; 2]; 8] {
    // SAFETY: the vectors prove AVX-512 F; both types are 64 bytes of plain integers.
    let [even, odd] = unsafe {
        let (even, odd) = (_mm512_unpacklo_epi64(a.0, b.0), _mm512_unpackhi_epi64(a.0, b.0));
        core::mem::transmute::<[__m512i; 2], [[[u64; 2]; 4]; 2]>([even, odd])
    };
    [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
}

/// The inverse of [`pairs`].
#[inline(always)]
pub(super) fn interleave_pairs(_: Ifma512, pairs: [&[u64; 2]; 8]) -> (Vector, Vector) {
    let [a, b, c, d, e, f, g, h] = pairs.map(|pair| *pair);
    // SAFETY: the token proves AVX-512 F; both types are 64 bytes of plain integers.
    unsafe {
        let even = core::mem::transmute::<[[u64; 2]; 4], __m512i>([a, c, e, g]);
        let odd = core::mem::transmute::<[[u64; 2]; 4], __m512i>([b, d, f, h]);
        (Vector(_mm512_unpacklo_epi64(even, odd)), Vector(_mm512_unpackhi_epi64(even, odd)))
    }
}

/// Has the compiler finish the vectors here, and begin what uses them after. Left alone it mixes products until each
/// waits for the last in a window of instructions that is full of waiting ones; product after product, the processor
/// overlaps them itself (a doubling takes a tenth less).
#[inline(always)]
pub(super) fn fence(mut vectors: [Vector; 5]) -> [Vector; 5] {
    // SAFETY: the vectors prove AVX-512 F.
    unsafe { pin(&mut vectors) }
    vectors
}

/// No instruction. (A function of its own, since registers in `asm!` need the target feature; it is inlined.)
#[inline]
#[target_feature(enable = "avx512f")]
fn pin(vectors: &mut [Vector; 5]) {
    let [a, b, c, d, e] = vectors;
    // SAFETY: an empty template; the operands keep their values.
    unsafe {
        core::arch::asm!(
            "/* {0} {1} {2} {3} {4} */",
            inout(zmm_reg) a.0,
            inout(zmm_reg) b.0,
            inout(zmm_reg) c.0,
            inout(zmm_reg) d.0,
            inout(zmm_reg) e.0,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Asks for a line of the cache that will be read soon.
#[inline(always)]
pub(super) fn prefetch<T>(line: &T) {
    // SAFETY: every x86-64 processor has the instruction, and it reads nothing the program can see.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).cast()) }
}
