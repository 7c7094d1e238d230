//! Comparisons and selections whose time does not depend on the values, and erasure.
//!
//! A *mask* is all ones (true) or all zeros (false). [`core::hint::black_box`] keeps the optimiser from turning masks
//! back into branches.

use core::hint::black_box;

/// All ones when `value` is zero, else zero.
#[inline]
pub fn mask_is_zero(value: u64) -> u64 {
    let nonzero = (value | value.wrapping_neg()) >> 63;
    black_box(nonzero.wrapping_sub(1))
}

/// All ones when `a == b`, else zero.
#[inline]
pub fn mask_eq(a: u64, b: u64) -> u64 {
    mask_is_zero(a ^ b)
}

/// All ones for `true`, else zero.
#[inline]
pub fn mask_from_bit(bit: u64) -> u64 {
    black_box((bit & 1).wrapping_neg())
}

/// `a` under an all-ones mask, `b` under zero.
#[inline]
pub fn select(mask: u64, a: u64, b: u64) -> u64 {
    b ^ (mask & (a ^ b))
}

/// `a` under an all-ones mask, `b` under zero, limb by limb.
#[inline]
pub fn select_limbs<const N: usize>(mask: u64, a: &[u64; N], b: &[u64; N]) -> [u64; N] {
    core::array::from_fn(|i| select(mask, a[i], b[i]))
}

/// Whether two byte strings are equal. Lengths are public; contents are not revealed by time.
pub fn eq(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0u8, |acc, (x, y)| acc | (x ^ y));
    mask_is_zero(u64::from(difference)) != 0
}

/// Overwrites secret bytes with zeros that the compiler keeps, at the speed of a plain fill: `zeroize` on a slice stores each
/// byte on its own.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

/// Runs `secret` in a frame of its own and then overwrites `BYTES` of the stack from there on: what was computed leaves copies
/// in frames (arguments, results, spilled registers) that no variable names, so that no wiping of variables reaches them.
/// `tests/residue.rs` looks for keys and nonces left behind.
#[inline(always)]
pub(crate) fn on_wiped_stack<const BYTES: usize, T>(secret: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn call<T>(secret: impl FnOnce() -> T) -> T {
        secret()
    }
    #[inline(never)]
    fn overwrite<const BYTES: usize>() {
        let frame = [0u8; BYTES];
        zeroize::optimization_barrier(&frame);
    }
    let result = call(secret);
    overwrite::<BYTES>();
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_are_all_or_nothing_at_the_edges() {
        for value in [1, 2, 1 << 63, u64::MAX] {
            assert_eq!(mask_is_zero(value), 0);
            assert_eq!(mask_eq(value, 0), 0);
            assert_eq!(mask_eq(value, value), u64::MAX);
        }
        assert_eq!(mask_is_zero(0), u64::MAX);
        assert_eq!((mask_from_bit(0), mask_from_bit(1), mask_from_bit(2)), (0, u64::MAX, 0));
    }

    proptest! {
        #[test]
        fn select_takes_the_named_side(a: [u64; 4], b: [u64; 4]) {
            prop_assert_eq!(select_limbs(u64::MAX, &a, &b), a);
            prop_assert_eq!(select_limbs(0, &a, &b), b);
        }

        #[test]
        fn eq_agrees_with_slices(a: Vec<u8>, b: Vec<u8>, at: usize, bit in 0u32..8) {
            prop_assert_eq!(eq(&a, &b), a == b);
            prop_assert!(eq(&a, &a.clone()));
            if !a.is_empty() {
                let mut changed = a.clone();
                changed[at % a.len()] ^= 1 << bit;
                prop_assert!(!eq(&a, &changed));
            }
        }
    }
}
