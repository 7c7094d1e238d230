//! Tests of the share of ones: single-bit frequency (GM/T 0005-2021 5.1), frequency within a block (5.2), cumulative sums (5.11).

use libm::{ceil, sqrt};

use crate::Sample;
use crate::special::{normal_cdf, of_chi_square, of_normal};

/// 5.1.
pub(crate) fn single_bit(sample: &Sample) -> (f64, f64) {
    of_normal(sample.balance() / sqrt(sample.bits() as f64))
}

/// 5.2 with blocks of `block_bits`; what does not fill a block is left out.
pub(crate) fn within_block(sample: &Sample, block_bits: usize) -> (f64, f64) {
    let blocks = sample.bits() / block_bits;
    let deviation = |block: usize| {
        let ones = sample.ones_within(block * block_bits, (block + 1) * block_bits);
        let share = ones as f64 / block_bits as f64 - 0.5;
        share * share
    };
    let sum: f64 = (0..blocks).map(deviation).sum();
    of_chi_square(blocks as f64, 4.0 * block_bits as f64 * sum)
}

/// What a byte does to a walk of ±1, from its first bit on and from its last.
struct Steps {
    sum: [i8; 256],
    forward: [(i8, i8); 256],
    backward: [(i8, i8); 256],
}

/// Lowest and highest partial sum of a byte, from the most significant bit on or the other way.
const fn extremes(byte: usize, is_forward: bool) -> (i8, i8, i8) {
    let (mut sum, mut low, mut high, mut place) = (0i8, i8::MAX, i8::MIN, 0);
    while place < 8 {
        let shift = if is_forward { 7 - place } else { place };
        sum += if byte >> shift & 1 == 1 { 1 } else { -1 };
        low = if sum < low { sum } else { low };
        high = if sum > high { sum } else { high };
        place += 1;
    }
    (sum, low, high)
}

const STEPS: Steps = {
    let mut steps = Steps { sum: [0; 256], forward: [(0, 0); 256], backward: [(0, 0); 256] };
    let mut byte = 0;
    while byte < 256 {
        let (sum, low, high) = extremes(byte, true);
        let (_, low_back, high_back) = extremes(byte, false);
        steps.sum[byte] = sum;
        steps.forward[byte] = (low, high);
        steps.backward[byte] = (low_back, high_back);
        byte += 1;
    }
    steps
};

/// 5.11, `is_forward` from the first bit on, else from the last. A sample has whole bytes.
pub(crate) fn cumulative_sums(sample: &Sample, is_forward: bool) -> (f64, f64) {
    debug_assert!(sample.bits().is_multiple_of(8));
    let bytes = sample.bits() / 8;
    let byte = |index: usize| (sample.words()[index / 8] >> (56 - index % 8 * 8)) as usize & 0xFF;
    let furthest = if is_forward {
        furthest((0..bytes).map(byte), &STEPS.forward)
    } else {
        furthest((0..bytes).rev().map(byte), &STEPS.backward)
    };
    let p = probability_of_reaching(furthest, sample.bits());
    (p, p)
}

fn furthest(bytes: impl Iterator<Item = usize>, extremes: &[(i8, i8); 256]) -> i64 {
    let (mut sum, mut furthest) = (0i64, 0i64);
    for byte in bytes {
        let (low, high) = extremes[byte];
        furthest = furthest.max(sum + i64::from(high)).max(-(sum + i64::from(low)));
        sum += i64::from(STEPS.sum[byte]);
    }
    furthest
}

/// How likely a walk of `bits` steps gets at least as far from its start as `furthest`.
fn probability_of_reaching(furthest: i64, bits: usize) -> f64 {
    let (z, root) = (furthest as f64, sqrt(bits as f64));
    let phi = |quarters: f64| normal_cdf(quarters * z / root);
    // Both ends of the standard's sums lie where the distribution has long reached 0 or 1, unless the walk left its start far behind;
    // what lies further out than ten deviations adds nothing.
    let far = ceil(10.0 * root / (4.0 * z)) as i64 + 1;
    let bound = |numerator: f64| libm::floor(numerator / 4.0) as i64;
    let ratio = bits as f64 / z;
    let last = bound(ratio - 1.0).min(far);
    let inner: f64 =
        (bound(1.0 - ratio).max(-far)..=last).map(|k| 4.0 * k as f64).map(|k| phi(k + 1.0) - phi(k - 1.0)).sum();
    let outer: f64 =
        (bound(-ratio - 3.0).max(-far)..=last).map(|k| 4.0 * k as f64).map(|k| phi(k + 3.0) - phi(k + 1.0)).sum();
    (1.0 - inner + outer).clamp(0.0, 1.0)
}
