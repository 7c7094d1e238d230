//! Maurer's universal statistical test (GM/T 0005-2021 5.14): how far apart equal patterns lie.

use libm::{log2, pow, sqrt};

use crate::Sample;
use crate::special::of_normal;

/// Bits of a pattern; the same for samples of 10^6 and 10^8 bits (annex A).
const WIDTH: usize = 7;
/// Patterns before the count begins.
const WARM_UP: usize = 1280;
/// Mean of log2 of a distance, for seven bits.
const MEAN: f64 = 6.196_250_7;
/// Its variance.
const VARIANCE: f64 = 3.125;
/// Distances whose logarithm is kept; longer ones are rare.
const KEPT: usize = 2048;

/// 5.14.
pub(crate) fn universal(sample: &Sample) -> (f64, f64) {
    let logs: Vec<f64> = (0..KEPT).map(|distance| log2(distance as f64)).collect();
    let patterns = sample.bits() / WIDTH;
    let mut last = [0; 1 << WIDTH];
    let mut sum = 0.0;
    for place in 1..=patterns {
        let pattern = sample.pattern((place - 1) * WIDTH, WIDTH);
        if place > WARM_UP {
            let distance = place - last[pattern];
            sum += logs.get(distance).copied().unwrap_or_else(|| log2(distance as f64));
        }
        last[pattern] = place;
    }
    let (width, counted) = (WIDTH as f64, (patterns - WARM_UP) as f64);
    let correction = 0.7 - 0.8 / width + (4.0 + 32.0 / width) * pow(counted, -3.0 / width) / 15.0;
    of_normal((sum / counted - MEAN) / (correction * sqrt(VARIANCE / counted)))
}
