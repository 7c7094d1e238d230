//! Entries of a public point's comb, eight in a vector: every tooth doubles those there are.
//!
//! A vector's addition is so cheap that Jacobian ones, with one inversion at the end, beat affine ones with an inversion for each
//! tooth.

use super::super::point;
use super::LANES;
use super::convert::{load_affine, store_affine};
use super::field::{Element, Field};
use super::point::{Affine, Point};
use super::table::{divide, invert_all};
use super::vector::Mask;
use crate::cpu::Ifma512;
use crate::sm2::comb::Entry;
use crate::stack::align as align_stack;

/// All sums of an entry and some of the addends, one of each tooth: to the entries so far, those with the tooth's addend are
/// appended. Addend `i` of a tooth is for entries `i`, `i + addends`, and so on.
///
/// # Panics
/// When the entries fill no whole vectors, or a sum is of points with the same x.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn grow(token: Ifma512, entries: &[point::Affine], teeth: &[Vec<point::Affine>]) -> Vec<point::Affine> {
    let (eights, rest) = entries.as_chunks::<LANES>();
    assert!(rest.is_empty() && !eights.is_empty(), "entries fill vectors");
    let one = Element::one(token);
    let mut points = Vec::with_capacity(eights.len() << teeth.len());
    for eight in eights {
        points.push(load(token, eight).over_one(0, one));
    }
    for addends in teeth {
        add_tooth(token, &mut points, addends);
    }
    to_affine(token, &points)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn load(token: Ifma512, points: &[point::Affine; LANES]) -> Affine {
    let entries = points.each_ref().map(Entry::from);
    load_affine(token, entries.each_ref().map(|entry| &entry.0))
}

/// Two vectors at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn add_tooth(token: Ifma512, points: &mut Vec<Point>, addends: &[point::Affine]) {
    let count = points.len();
    let addend = |vector: usize| core::array::from_fn(|lane| addends[(LANES * vector + lane) % addends.len()]);
    for i in (0..count).step_by(2) {
        let first = load(token, &addend(i));
        if i + 1 < count {
            let second = load(token, &addend(i + 1));
            let sums = add([points[i], points[i + 1]], &[first, second]);
            points.extend(sums);
        } else {
            let sums = add([points[i]], &[first]);
            points.extend(sums);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn add<const N: usize>(points: [Point; N], addends: &[Affine; N]) -> [Point; N]
where
    [Element; N]: Field<Mask = [Mask; N]>,
{
    align_stack();
    let addends = Affine::bundle(addends);
    let sums = Point::bundle(&points).add_affine(&addends.x, &addends.y, [0; N]);
    let mut out = points;
    for (i, out) in out.iter_mut().enumerate() {
        *out = sums.get(i);
    }
    out
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn to_affine(token: Ifma512, points: &[Point]) -> Vec<point::Affine> {
    align_stack();
    let mut exceptional = 0;
    let mut inverses = Vec::with_capacity(points.len());
    for point in points {
        exceptional |= point.z.is_zero();
        inverses.push(point.z);
    }
    assert_eq!(exceptional, 0, "a sum of a table is of points with different x");
    invert_all(token, &mut inverses);
    let mut out = Vec::with_capacity(LANES * points.len());
    let ((twos, rest), (inverses, rest_inverses)) = (points.as_chunks::<2>(), inverses.as_chunks::<2>());
    for (points, inverses) in twos.iter().zip(inverses) {
        store(points, inverses, &mut out);
    }
    for (point, inverse) in rest.iter().zip(rest_inverses) {
        store(&[*point], &[*inverse], &mut out);
    }
    out
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn store<const N: usize>(points: &[Point; N], inverses: &[Element; N], out: &mut Vec<point::Affine>)
where
    [Element; N]: Field,
{
    align_stack();
    let points = Point::bundle(points);
    let (x, y) = divide(&points.x, &points.y, inverses);
    for i in 0..N {
        out.extend(store_affine(&Affine { x: x[i], y: y[i] }));
    }
}
