//! Eight signatures at once with AVX-512 IFMA, one in each lane.

mod base;
mod convert;
mod digits;
mod field;
mod point;
mod table;
#[cfg(test)]
mod tests;
mod vector;
mod verify;

use super::comb::Comb;
use super::limbs::Limbs;
use super::point::Affine;
use super::scalar::Scalar;
use super::verify::Claim;
use crate::cpu::Ifma512;
pub(super) use verify::Verdicts;

/// Signatures a call takes.
pub(super) const LANES: usize = 8;

/// The kernel with its tables.
pub(super) struct Verifier {
    token: Ifma512,
    multiples: table::OddMultiples,
}

impl Verifier {
    pub(super) fn new(token: Ifma512) -> Self {
        Self { token, multiples: table::OddMultiples::new() }
    }

    /// Verdicts on one to eight claims under keys without a table.
    ///
    /// # Panics
    /// When there are none or more than eight.
    #[allow(unsafe_code)]
    pub(super) fn by_windows(&mut self, claims: &[(&Claim, &Affine)]) -> Verdicts {
        assert!((1..=LANES).contains(&claims.len()), "one to eight lanes");
        // SAFETY: the token proves the features.
        unsafe { verify::by_windows(self.token, claims, &mut self.multiples) }
    }

    /// Verdicts on one to eight claims under keys with a table. Panics as [`Self::by_windows`] does.
    #[allow(unsafe_code)]
    pub(super) fn by_combs(&self, claims: &[(&Claim, &Comb)]) -> Verdicts {
        assert!((1..=LANES).contains(&claims.len()), "one to eight lanes");
        // SAFETY: the token proves the features.
        unsafe { verify::by_combs(self.token, claims) }
    }
}

/// The x coordinate of `[k]G` for each secret scalar other than zero, in constant time; `None` where the formulas met an
/// exceptional case.
///
/// # Panics
/// When the slices differ in length.
#[allow(unsafe_code)]
pub(super) fn base_x_coordinates(token: Ifma512, scalars: &[Scalar], out: &mut [Option<Limbs>]) {
    assert_eq!(scalars.len(), out.len(), "one coordinate per scalar");
    let together = LANES * base::GROUPS_MAX;
    for (scalars, out) in scalars.chunks(together).zip(out.chunks_mut(together)) {
        // SAFETY: the token proves the features.
        unsafe { base::x_coordinates(token, scalars, out) }
    }
}
