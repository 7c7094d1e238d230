//! Signatures with AVX-512 IFMA, one in each of eight lanes, and many such vectors for the work they share.

mod base;
mod bundle;
mod convert;
mod digits;
mod entries;
mod field;
mod point;
mod secret;
mod sums;
mod table;
#[cfg(test)]
mod tests;
mod vector;
mod verify;

use super::comb::{self, Comb, FlatComb};
use super::limbs::Limbs;
use super::point::Affine;
use super::scalar::Scalar;
use super::verify::Claim;
use crate::cpu::Ifma512;
pub(super) use secret::{Coordinates, Pair};
pub(super) use verify::Verdicts;

/// Signatures of a group: one in each lane.
pub(super) const LANES: usize = 8;
/// Signatures computed together at most: what inversions are shared by, and what memory is taken for.
pub(super) const TOGETHER: usize = 128;

/// The kernel with its memory.
pub(super) struct Verifier {
    token: Ifma512,
    multiples: Vec<table::OddMultiples>,
    sums: sums::Sums,
}

impl Verifier {
    pub(super) fn new(token: Ifma512) -> Self {
        Self { token, multiples: Vec::new(), sums: sums::Sums::new() }
    }

    /// Verdicts on claims under keys without a table, for every eight of them.
    #[allow(unsafe_code)]
    pub(super) fn by_windows(&mut self, claims: &[(&Claim, &Affine)]) -> Vec<Verdicts> {
        // SAFETY: the token proves the features.
        unsafe { verify::by_windows(self.token, claims, &mut self.multiples) }
    }

    /// Verdicts on claims under keys with a compact table, for every eight of them.
    #[allow(unsafe_code)]
    pub(super) fn by_combs(&mut self, claims: &[(&Claim, &Comb)]) -> Vec<Verdicts> {
        let claims: Vec<(&Claim, &[_])> = claims.iter().map(|(claim, comb)| (*claim, &comb.blocks()[..])).collect();
        // SAFETY: the token proves the features.
        unsafe { verify::by_combs::<{ comb::STEPS }>(self.token, &claims, &comb::WIDE_BASE[..], &mut self.sums) }
    }

    /// Verdicts on claims under keys with a flat table, for every eight of them.
    #[allow(unsafe_code)]
    pub(super) fn by_flat_combs(&mut self, claims: &[(&Claim, &FlatComb)]) -> Vec<Verdicts> {
        let claims: Vec<(&Claim, &[_])> = claims.iter().map(|(claim, comb)| (*claim, &comb.positions()[..])).collect();
        // SAFETY: the token proves the features.
        unsafe { verify::by_combs::<1>(self.token, &claims, &comb::FLAT_BASE[..], &mut self.sums) }
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
    let mut sums = sums::Sums::new();
    let together = LANES * base::GROUPS_MAX;
    for (scalars, out) in scalars.chunks(together).zip(out.chunks_mut(together)) {
        // SAFETY: the token proves the features.
        unsafe { base::x_coordinates(token, scalars, &mut sums, out) }
    }
}

/// All sums of an entry and some of the addends of the teeth, in variable time; see [`entries::grow`].
#[allow(unsafe_code)]
pub(super) fn grow_table(token: Ifma512, entries: &[Affine], teeth: &[Vec<Affine>]) -> Vec<Affine> {
    // SAFETY: the token proves the features.
    unsafe { entries::grow(token, entries, teeth) }
}

/// `[k]P` for each pair of a public point and a secret scalar other than zero, in constant time; `None` where the formulas met
/// an exceptional case.
///
/// # Panics
/// When the slices differ in length.
#[allow(unsafe_code)]
pub(super) fn secret_multiples(token: Ifma512, pairs: &[Pair<'_>], out: &mut [Coordinates]) {
    assert_eq!(pairs.len(), out.len(), "one product per pair");
    for (pairs, out) in pairs.chunks(TOGETHER).zip(out.chunks_mut(TOGETHER)) {
        // SAFETY: the token proves the features.
        unsafe { secret::multiples(token, pairs, out) }
    }
}
