//! Signed sliding-window digits of public scalars.

use super::limbs::{self, Limbs};

/// Digits of a 256-bit integer: the last holds a carry.
pub(super) const DIGITS: usize = 257;

/// Digits of a 256-bit integer: position `i` holds zero or an odd value below `2^(width-1)` in size, weight `2^i`.
pub(super) fn digits(value: &Limbs, width: usize) -> [i16; DIGITS] {
    let mut out = [0; DIGITS];
    let (mut at, mut carry) = (0, 0);
    while at < DIGITS {
        if limbs::window(value, at, 1) == carry {
            at += 1;
            continue;
        }
        let word = limbs::window(value, at, width) + carry;
        carry = word >> (width - 1) & 1;
        out[at] = word as i16 - ((carry as i16) << width);
        at += width;
    }
    out
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
