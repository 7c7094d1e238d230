//! The tree of affine additions against portable sums, with operands that the formulas cannot add.

use super::super::super::comb::{self, Entry};
use super::super::super::point::{Affine, Jacobian};
use super::super::convert::{lanes, load_affine};
use super::super::sums::Sums;
use super::super::vector::Mask;
use super::token;
use crate::cpu::Portable;

const ROWS: usize = 4;
/// Wide enough for a level down to a single row.
const WIDTH: usize = 128;

/// The point of a row, and whether it counts negative. Three lanes cannot be added: in the first level an equal and an
/// opposite point, in the second two equal sums.
fn operand(row: usize, column: usize, lane: usize) -> (Entry, bool) {
    let (row, flip) = match (column, lane, row) {
        (5, 3, 1) => (0, false),
        (9, 0, 3) => (2, true),
        (20, 7, 2 | 3) => (row - 2, false),
        _ => (row, false),
    };
    let index = (131 + 2 * column) * row + 17 * column + 61 * lane;
    (comb::BASE.blocks()[index / 128 % 4][index % 128], (row + column + lane).is_multiple_of(3) != flip)
}

fn expected_exceptions(column: usize) -> Mask {
    match column {
        5 => 1 << 3,
        9 => 1 << 0,
        20 => 1 << 7,
        _ => 0,
    }
}

fn portable_sum(column: usize, lane: usize) -> Affine {
    let sum = (0..ROWS).fold(Jacobian::infinity(Portable::TOKEN), |sum, row| {
        let (entry, negative) = operand(row, column, lane);
        sum.add_affine(&entry.point().negate_if(u64::from(negative).wrapping_neg()))
    });
    Jacobian::batch_to_affine(&[sum])[0]
}

#[test]
#[allow(unsafe_code)]
fn a_level_takes_out_exactly_the_lanes_it_cannot_add() {
    let Some(token) = token() else { return };
    let mut sums = Sums::new();
    sums.reset(ROWS, WIDTH);
    for (row, column) in (0..ROWS).flat_map(|row| (0..WIDTH).map(move |column| (row, column))) {
        let operands: [(Entry, bool); 8] = core::array::from_fn(|lane| operand(row, column, lane));
        let negative = (0..8).fold(0, |mask, lane| mask | Mask::from(operands[lane].1) << lane);
        sums.push(load_affine(token, operands.each_ref().map(|(entry, _)| &entry.0)), negative);
    }
    // SAFETY: the token proves the features.
    unsafe { sums.shrink(token) };
    for column in 0..WIDTH {
        let mut sum = None;
        // SAFETY: as above.
        unsafe { sums.add_to(token, &mut sum, [column]) };
        let exceptional = sums.exceptional(column);
        assert_eq!(exceptional, expected_exceptions(column), "column {column}");
        let xs = lanes(&sum.expect("a row is left").get(0).x);
        for lane in (0..8).filter(|lane| exceptional >> lane & 1 == 0) {
            assert_eq!(xs[lane], portable_sum(column, lane).x.to_limbs(), "column {column}, lane {lane}");
        }
    }
}
