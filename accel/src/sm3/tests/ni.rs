//! The schedule around Intel's SM3 instructions on the manual's pseudo-code, and the instructions themselves where there are any.

use super::super::ni::{self, Instructions, words};
use core::arch::x86_64::{__m128i, _mm_set_epi32};

/// VSM3MSG1, VSM3MSG2 and VSM3RNDS2 as the SDM has them; `x[0]` is the lowest word.
struct Manual;

fn lowest_first(x: __m128i) -> [u32; 4] {
    let [w3, w2, w1, w0] = words(x);
    [w0, w1, w2, w3]
}

#[allow(unsafe_code)]
fn vector([w0, w1, w2, w3]: [u32; 4]) -> __m128i {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_set_epi32(w3 as i32, w2 as i32, w1 as i32, w0 as i32) }
}

fn p1(x: u32) -> u32 {
    x ^ x.rotate_left(15) ^ x.rotate_left(23)
}

#[allow(unsafe_code)]
impl Instructions for Manual {
    unsafe fn msg1(w7: __m128i, w13: __m128i, w0: __m128i) -> __m128i {
        let (w0, w7, w13) = (lowest_first(w0), lowest_first(w7), lowest_first(w13));
        vector([
            p1(w7[0] ^ w0[0] ^ w13[0].rotate_left(15)),
            p1(w7[1] ^ w0[1] ^ w13[1].rotate_left(15)),
            p1(w7[2] ^ w0[2] ^ w13[2].rotate_left(15)),
            p1(w7[3] ^ w0[3]),
        ])
    }

    unsafe fn msg2(partial: __m128i, w3: __m128i, w10: __m128i) -> __m128i {
        let (partial, w3, w10) = (lowest_first(partial), lowest_first(w3), lowest_first(w10));
        let mut w: [u32; 4] = core::array::from_fn(|i| w3[i].rotate_left(7) ^ w10[i] ^ partial[i]);
        w[3] ^= w[0].rotate_left(6) ^ w[0].rotate_left(15) ^ w[0].rotate_left(30);
        vector(w)
    }

    unsafe fn rnds2<const STEP: i32>(cdgh: __m128i, abef: __m128i, message: __m128i) -> __m128i {
        let ([f, e, b, a], [h, g, d, c]) = (lowest_first(abef), lowest_first(cdgh));
        let w = lowest_first(message);
        let step = STEP as u32 & 0x3e;
        let (mut a, mut b, mut c, mut d) = (a, b, c.rotate_left(9), d.rotate_left(9));
        let (mut e, mut f, mut g, mut h) = (e, f, g.rotate_left(19), h.rotate_left(19));
        let mut constant = if step < 16 { 0x79cc_4519_u32 } else { 0x7a87_9d8a }.rotate_left(step);
        for i in 0..2 {
            let s1 = a.rotate_left(12).wrapping_add(e).wrapping_add(constant).rotate_left(7);
            let s2 = s1 ^ a.rotate_left(12);
            let ff = if step < 16 { a ^ b ^ c } else { (a & b) | (a & c) | (b & c) };
            let gg = if step < 16 { e ^ f ^ g } else { (e & f) | (!e & g) };
            let t1 = ff.wrapping_add(d).wrapping_add(s2).wrapping_add(w[i] ^ w[i + 2]);
            let t2 = gg.wrapping_add(h).wrapping_add(s1).wrapping_add(w[i]);
            (d, c, b, a) = (c, b.rotate_left(9), a, t1);
            (h, g, f, e) = (g, f.rotate_left(19), e, t2 ^ t2.rotate_left(9) ^ t2.rotate_left(17));
            constant = constant.rotate_left(1);
        }
        let _ = (c, d, g, h);
        vector([f, e, b, a])
    }
}

#[test]
#[allow(unsafe_code)]
fn the_schedule_is_right_on_the_manuals_instructions() {
    if !is_x86_feature_detected!("ssse3") {
        return super::skipped("ni, on the manual's instructions");
    }
    // SAFETY: SSSE3 was detected, and `Manual` is plain code.
    super::single::is_as_portable("manual", |state, blocks| unsafe { ni::compress_with::<Manual>(state, blocks) });
}
