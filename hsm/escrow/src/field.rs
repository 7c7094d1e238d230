//! GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197 4.2), constant time: no table, no branch on an operand.

/// a · b.
pub(crate) fn multiply(mut a: u8, b: u8) -> u8 {
    let mut product = 0;
    for bit in 0..8 {
        product ^= a & 0u8.wrapping_sub((b >> bit) & 1);
        a = (a << 1) ^ (0x1b & 0u8.wrapping_sub(a >> 7));
    }
    product
}

/// 1 / a; 0 for 0. By Fermat: a^254.
pub(crate) fn invert(a: u8) -> u8 {
    let mut power = a;
    let mut inverse = 1;
    for _ in 1..8 {
        power = multiply(power, power);
        inverse = multiply(inverse, power);
    }
    inverse
}

#[cfg(test)]
mod tests {
    use vsss_rs::Gf256;

    use super::*;

    #[test]
    fn products_agree_with_another_implementation() {
        for (a, b) in (0..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
            assert_eq!(multiply(a, b), (Gf256(a) * Gf256(b)).0, "{a} {b}");
        }
    }

    #[test]
    fn every_element_but_zero_has_its_inverse() {
        assert_eq!(invert(0), 0);
        for a in 1..=255 {
            assert_eq!(multiply(a, invert(a)), 1, "{a}");
        }
    }
}
