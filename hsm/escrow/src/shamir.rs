//! Shamir's scheme over GF(2^8), byte by byte: share x of a secret s is f(x), f(0) = s, with f of degree `threshold` − 1 and otherwise
//! uniform coefficients.

use bixi_platform::secret::Secret;

use crate::field::{invert, multiply};

/// The shares of x = 1 … `count`, by the coefficients from that of x on: one fewer than the threshold, uniform and of the secret's length.
///
/// # Panics
/// If the polynomial has more coefficients than shares: the caller checks threshold and count.
pub(crate) fn split(secret: &Secret, coefficients: &[Secret], count: u8) -> Vec<Secret> {
    assert!(coefficients.len() < usize::from(count), "{} coefficients, {count} shares", coefficients.len());
    (1..=count).map(|x| evaluate(secret, coefficients, x)).collect()
}

/// f(x) by Horner's rule; the coefficients begin with that of x.
fn evaluate(constant: &Secret, coefficients: &[Secret], x: u8) -> Secret {
    let mut value = Secret::zeroed(constant.len());
    for coefficient in coefficients.iter().rev().chain([constant]) {
        for (byte, of_coefficient) in value.as_mut_slice().iter_mut().zip(coefficient.as_slice()) {
            *byte = multiply(*byte, x) ^ of_coefficient;
        }
    }
    value
}

/// f(0) from as many points as the threshold, by Lagrange's formula.
///
/// # Panics
/// If two points have one x, an x is 0, or lengths differ: the caller checks.
pub(crate) fn combine(points: &[(u8, &Secret)]) -> Secret {
    let len = points.first().map_or(0, |(_, value)| value.len());
    let mut secret = Secret::zeroed(len);
    for (x, value) in points {
        assert!(*x != 0 && value.len() == len, "points of one polynomial");
        let weight = weight(points, *x);
        for (byte, of_share) in secret.as_mut_slice().iter_mut().zip(value.as_slice()) {
            *byte ^= multiply(*of_share, weight);
        }
    }
    secret
}

/// The Lagrange coefficient of `x` at 0. Which officers are there is no secret.
fn weight(points: &[(u8, &Secret)], x: u8) -> u8 {
    let others = points.iter().map(|(other, _)| *other).filter(|other| *other != x);
    let (mut above, mut below, mut count) = (1, 1, 0);
    for other in others {
        above = multiply(above, other);
        below = multiply(below, other ^ x);
        count += 1;
    }
    assert_eq!(count + 1, points.len(), "each x once");
    multiply(above, invert(below))
}

#[cfg(test)]
mod tests {
    use vsss_rs::Gf256;

    use super::*;

    #[test]
    fn another_implementation_combines_our_shares() {
        let secret = Secret::random(32).unwrap();
        for (threshold, count) in [(2, 2), (2, 3), (3, 5), (5, 5), (9, 16)] {
            let coefficients: Vec<Secret> = (1..threshold).map(|_| Secret::random(32).unwrap()).collect();
            let shares = split(&secret, &coefficients, count);
            let theirs: Vec<Vec<u8>> =
                shares.iter().zip(1u8..).map(|(share, x)| [&[x], share.as_slice()].concat()).collect();
            let last = &theirs[usize::from(count - threshold)..];
            assert_eq!(Gf256::combine_bytes(last).unwrap(), secret.as_slice(), "{threshold} of {count}");
        }
    }

    /// f(x) = 42 + 7x + 200x² of FIPS 197's field, worked out by hand at 1, 2, 3.
    #[test]
    fn a_polynomial_is_evaluated_and_found_again() {
        let coefficients = [Secret::from_slice(&[7]), Secret::from_slice(&[200])];
        let at = |x| evaluate(&Secret::from_slice(&[42]), &coefficients, x);
        let values = [at(1), at(2), at(3)];
        let expected = [42 ^ 7 ^ 200, 42 ^ multiply(7, 2) ^ multiply(200, 4), 42 ^ multiply(7, 3) ^ multiply(200, 5)];
        assert_eq!(values.each_ref().map(|value| value.as_slice()[0]), expected);
        assert_eq!(combine(&[(1, &values[0]), (3, &values[2]), (2, &values[1])]).as_slice(), [42]);
    }
}
