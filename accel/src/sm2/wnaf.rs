//! Signed sliding-window digits of public scalars.

use super::limbs::{self, Limbs};

/// Digits of a 256-bit integer: the last holds a carry.
pub(super) const DIGITS: usize = 257;

/// Digits of a 256-bit integer: position `i` holds zero or an odd value below `2^(width-1)` in size, weight `2^i`.
pub(super) fn digits(value: &Limbs, width: usize) -> [i16; DIGITS] {
    let mut out = [0; DIGITS];
    sparse(value, width).for_each(|(at, digit)| out[at] = digit);
    out
}

/// The digits other than zero with their positions, lowest first.
#[inline(always)]
pub(super) fn sparse(value: &Limbs, width: usize) -> impl Iterator<Item = (usize, i16)> {
    let (mut at, mut carry) = (0, 0);
    core::iter::from_fn(move || {
        let position = first_other_than(carry, value, at)?;
        let word = limbs::window(value, position, width) + carry;
        carry = word >> (width - 1) & 1;
        at = position + width;
        Some((position, word as i16 - ((carry as i16) << width)))
    })
}

/// The place of the lowest bit from `at` on that is not `carry`: a carry ends at bit 256, and no carry stands above it.
#[inline(always)]
fn first_other_than(carry: u64, value: &Limbs, at: usize) -> Option<usize> {
    let mut shift = at % 64;
    for (limb, word) in value.iter().enumerate().skip(at / 64) {
        let rest = (word ^ carry.wrapping_neg()) >> shift;
        if rest != 0 {
            return Some(64 * limb + shift + rest.trailing_zeros() as usize);
        }
        shift = 0;
    }
    (carry == 1).then_some(DIGITS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value_of(digits: &[i16; DIGITS]) -> Limbs {
        let mut value: Limbs = [0; 4];
        for &digit in digits.iter().rev() {
            let mut carry = i128::from(digit);
            for limb in &mut value {
                let sum = (i128::from(*limb) << 1) + carry;
                *limb = sum as u64;
                carry = sum >> 64;
            }
        }
        value
    }

    proptest! {
        #[test]
        fn digits_are_odd_sparse_and_sum_to_the_value(value: Limbs, width in 2usize..11) {
            for value in [value, [0; 4], [u64::MAX; 4], [1, 0, 0, 0], [0, 0, 0, 1 << 63]] {
                let digits = digits(&value, width);
                prop_assert_eq!(value_of(&digits), value);
                for (i, digit) in digits.iter().enumerate().filter(|(_, digit)| **digit != 0) {
                    prop_assert!(digit % 2 != 0 && digit.abs() < 1 << (width - 1));
                    prop_assert!(digits[i + 1..].iter().take(width - 1).all(|&next| next == 0));
                }
            }
        }
    }
}
