//! The S-box as a boolean circuit of 127 gates over bit planes.
//!
//! `S(x) = A(inv(A(x) ⊕ c)) ⊕ c` with `c = 0xd3`, the inverse in GF(2^8) modulo `x^8+x^7+x^6+x^5+x^4+x^2+1`.
//! The inverse is taken in the tower GF(((2^2)^2)^2) over normal bases (`w = 0x5c`, `Z = 0x51`, `Y = 0xbe`):
//! `δ = ν(a₁+a₀)² + a₁a₀`, one inversion in GF(2^4), two products. The basis changes are merged with `A` and
//! with the sums the products need, and shortened by a greedy search for common pairs.
//! `A(x) ⊕ c = A(x ⊕ INPUT_CONSTANT)`, so the inner constant rides on the round key.

/// `A⁻¹(c)`: to be added to the input of [`circuit`].
pub(super) const INPUT_CONSTANT: u8 = 0x75;
/// `c`: to be added to the output of [`circuit`].
pub(super) const OUTPUT_CONSTANT: u8 = 0xd3;

/// `circuit(x ⊕ INPUT_CONSTANT) ⊕ OUTPUT_CONSTANT` is the S-box; plane `i` holds bit `i` (0 is the lowest) of each byte.
#[inline(always)]
pub(super) const fn circuit(x: &[u64; 8]) -> [u64; 8] {
    // Basis change of the input: the 22 linear forms the rest needs.
    let t8 = x[0] ^ x[6];
    let t9 = x[2] ^ x[5];
    let t10 = x[4] ^ t8;
    let t11 = x[7] ^ t9;
    let t12 = x[3] ^ t11;
    let t13 = x[5] ^ x[6];
    let t14 = x[1] ^ t8;
    let t15 = x[1] ^ x[4];
    let t16 = x[3] ^ t13;
    let t17 = x[1] ^ x[7];
    let t18 = x[2] ^ x[6];
    let t19 = t10 ^ t17;
    let t20 = t13 ^ t15;
    let t21 = t9 ^ t14;
    let t22 = x[7] ^ t18;
    let t23 = x[4] ^ t18;
    let t24 = x[1] ^ t9;
    let t25 = x[6] ^ t12;
    let t26 = x[7] ^ t16;
    let t27 = x[4] ^ t12;
    let t28 = x[5] ^ t10;
    let t29 = x[5] ^ t15;
    let t30 = x[2] ^ t10;
    let t31 = x[1] ^ t16;
    let t32 = x[2] ^ t14;
    let t33 = x[3] ^ x[4];
    // δ = ν(a₁+a₀)² + a₁a₀ in GF(2^4).
    let m0 = t14 & t23;
    let m1 = t28 & t24;
    let m2 = t29 & t20;
    let m3 = x[2] & t26;
    let m4 = t10 & t17;
    let m5 = t30 & t31;
    let m6 = t32 & t27;
    let m7 = x[5] & t11;
    let m8 = t21 & t33;
    let d13 = m5 ^ m7;
    let d14 = m2 ^ m7;
    let d15 = t25 ^ d14;
    let d16 = m8 ^ d14;
    let d17 = m4 ^ d13;
    let d18 = m6 ^ t12;
    let d19 = m3 ^ d13;
    let d20 = t19 ^ d16;
    let d21 = m1 ^ m6;
    let d22 = d17 ^ d18;
    let d23 = m8 ^ t22;
    let d24 = m0 ^ d20;
    let d25 = d15 ^ d21;
    let d26 = d19 ^ d23;
    // δ⁻¹ in GF(2^4).
    let hs = d24 ^ d25;
    let ls = d26 ^ d22;
    let n4 = d24 & d26;
    let n5 = d25 & d22;
    let n6 = hs & ls;
    let e7 = d24 ^ d26;
    let e8 = n6 ^ e7;
    let e9 = n5 ^ e8;
    let e10 = d25 ^ e9;
    let e11 = n4 ^ e8;
    let e12 = d22 ^ e10;
    let tf = e12 ^ e11;
    let u0 = ls & tf;
    let u1 = hs & tf;
    let v0 = (d26 & e12) ^ u0;
    let v1 = (d22 & e11) ^ u0;
    let v2 = (d24 & e12) ^ u1;
    let v3 = (d25 & e11) ^ u1;
    let v01 = v0 ^ v1;
    let v23 = v2 ^ v3;
    let v02 = v0 ^ v2;
    let v13 = v1 ^ v3;
    let vs = v02 ^ v13;
    // a₀δ⁻¹ and a₁δ⁻¹.
    let w0 = v0 & t23;
    let w1 = v1 & t24;
    let w2 = v01 & t20;
    let w3 = v2 & t26;
    let w4 = v3 & t17;
    let w5 = v23 & t31;
    let w6 = v02 & t27;
    let w7 = v13 & t11;
    let w8 = vs & t33;
    let w9 = v0 & t14;
    let w10 = v1 & t28;
    let w11 = v01 & t29;
    let w12 = v2 & x[2];
    let w13 = v3 & t10;
    let w14 = v23 & t30;
    let w15 = v02 & t32;
    let w16 = v13 & x[5];
    let w17 = vs & t21;
    // Back to the standard's basis, through A.
    let y18 = w0 ^ w1;
    let y19 = w10 ^ y18;
    let y20 = w4 ^ w15;
    let y21 = w8 ^ y19;
    let y22 = w6 ^ w9;
    let y23 = w12 ^ y22;
    let y24 = w5 ^ w7;
    let y25 = w11 ^ w16;
    let y26 = w9 ^ w17;
    let y27 = w14 ^ w16;
    let y28 = y21 ^ y23;
    let y29 = y18 ^ y23;
    let y30 = w11 ^ y24;
    let y31 = y25 ^ y26;
    let y32 = w1 ^ w2;
    let y33 = w13 ^ y28;
    let y34 = w3 ^ w14;
    let y35 = w15 ^ y28;
    let y36 = w5 ^ y32;
    let y37 = w13 ^ y20;
    let y38 = y36 ^ y37;
    let y39 = y29 ^ y30;
    let y40 = y20 ^ y26;
    let y41 = w4 ^ y24;
    let y42 = y27 ^ y35;
    let y43 = w3 ^ y19;
    let y44 = y27 ^ y38;
    let y45 = y24 ^ y25;
    let y46 = y20 ^ y45;
    let y47 = y34 ^ y39;
    let y48 = w6 ^ y41;
    let y49 = y21 ^ y46;
    let y50 = y40 ^ y43;
    [y48, y44, y49, y47, y50, y33, y31, y42]
}

/// τ of GB/T 32907 6.2.1 a) on one word, for the key schedule.
pub(super) fn substitute_word(word: u32) -> u32 {
    let bytes = word.to_le_bytes().map(|byte| byte ^ INPUT_CONSTANT);
    let planes: [u64; 8] = core::array::from_fn(|bit| {
        (0..4).fold(0, |plane, byte: usize| plane | u64::from((bytes[byte] >> bit) & 1) << byte)
    });
    let planes = circuit(&planes);
    u32::from_le_bytes(core::array::from_fn(|byte| {
        (0..8).fold(OUTPUT_CONSTANT, |out, bit: usize| out ^ ((((planes[bit] >> byte) & 1) as u8) << bit))
    }))
}

/// The S-box of one byte, for tables made by the compiler.
#[cfg(target_arch = "aarch64")]
pub(super) const fn substitute(x: u8) -> u8 {
    let mut planes = [0; 8];
    let mut bit = 0;
    while bit < 8 {
        planes[bit] = ((x ^ INPUT_CONSTANT) >> bit & 1) as u64;
        bit += 1;
    }
    let planes = circuit(&planes);
    let mut out = OUTPUT_CONSTANT;
    let mut bit = 0;
    while bit < 8 {
        out ^= (planes[bit] as u8) << bit;
        bit += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multiply(mut a: u8, mut b: u8) -> u8 {
        let mut product = 0;
        while b != 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            a = (a << 1) ^ if a & 0x80 != 0 { 0xf5 } else { 0 };
            b >>= 1;
        }
        product
    }

    /// Row `i` of `A` yields output bit `7 - i`; each row is the one before turned right.
    fn affine(x: u8) -> u8 {
        (0..8).fold(0, |out, i| out | ((((0xd3u8.rotate_right(i) & x).count_ones() & 1) as u8) << (7 - i))) ^ 0xd3
    }

    #[test]
    fn circuit_is_the_s_box_for_all_256_inputs() {
        for x in 0..=255u8 {
            let inner = affine(x);
            let inverse = (0..254).fold(1, |power, _| multiply(power, inner));
            let expected = affine(inverse);
            let word = substitute_word(u32::from_be_bytes([x, !x, x, 0]));
            assert_eq!(word.to_be_bytes()[0], expected, "S({x:#04x})");
            assert_eq!(word.to_be_bytes()[2], expected);
        }
    }

    #[test]
    fn first_row_is_that_of_the_standard() {
        let row: Vec<u8> = (0..16).map(|x| substitute_word(x) as u8).collect();
        assert_eq!(hex::encode(row), "d690e9fecce13db716b614c228fb2c05");
    }
}
