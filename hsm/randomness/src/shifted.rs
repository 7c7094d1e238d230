//! Tests of a sequence against itself: binary derivation (GM/T 0005-2021 5.8) and autocorrelation (5.9).

use libm::sqrt;

use crate::Sample;
use crate::special::of_normal;

/// 5.8: the balance of what is left after `times` comparisons of each bit with the next.
pub(crate) fn derivation(sample: &Sample, times: usize) -> (f64, f64) {
    let derived = (1..times).fold(sample.against_shifted(1), |derived, _| derived.against_shifted(1));
    of_normal(derived.balance() / sqrt(derived.bits() as f64))
}

/// 5.9: the balance of each bit against the one `distance` later.
pub(crate) fn autocorrelation(sample: &Sample, distance: usize) -> (f64, f64) {
    let compared = sample.against_shifted(distance);
    of_normal(compared.balance() / sqrt(compared.bits() as f64))
}
