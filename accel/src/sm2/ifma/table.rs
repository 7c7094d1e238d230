//! Odd multiples of eight keys, for windows of public scalars.

use super::digits::{Digit, ODD_MULTIPLES};
use super::field::Element;
use super::point::Cached;
use super::vector::{Vector, transpose};
use crate::cpu::Ifma512;

/// Lines of the cache that one entry takes: five coordinates of five limbs would be 25 words, but the 12 bits of a
/// limb that IFMA does not read have room for a fifth of the last limb each.
const LINES: usize = 3;

/// One lane's entry, limb after limb.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Entry([[u64; 8]; LINES]);

/// `P, 3P, … 31P` of eight keys, 24 KiB: half of a first-level cache.
pub(super) struct OddMultiples(Box<[[Entry; ODD_MULTIPLES]; 8]>);

impl OddMultiples {
    pub(super) fn new() -> Self {
        Self(Box::new([[Entry([[0; 8]; LINES]); ODD_MULTIPLES]; 8]))
    }

    /// Writes entry `index` of all lanes.
    #[inline(always)]
    pub(super) fn put(&mut self, index: usize, point: &Cached) {
        let Cached { x: Element(x), y: Element(y), z: Element(z), zz: Element(zz), zzz: Element(zzz) } = *point;
        let last = zzz[4];
        let x0 = x[0].or(last.shift_left::<52>());
        let x1 = x[1].or(last.shift_right::<12>().shift_left::<52>());
        let x2 = x[2].or(last.shift_right::<24>().shift_left::<52>());
        let x3 = x[3].or(last.shift_right::<36>().shift_left::<52>());
        let x4 = x[4].or(last.shift_right::<48>().shift_left::<52>());
        let lines = [
            [x0, x1, x2, x3, x4, y[0], y[1], y[2]],
            [y[3], y[4], z[0], z[1], z[2], z[3], z[4], zz[0]],
            [zz[1], zz[2], zz[3], zz[4], zzz[0], zzz[1], zzz[2], zzz[3]],
        ];
        for (line, limbs) in lines.into_iter().enumerate() {
            for (lane, row) in transpose(limbs).into_iter().enumerate() {
                row.store(&mut self.0[lane][index].0[line]);
            }
        }
    }

    /// Each lane's entry at its own index, with foreign bits above the 52 of X's limbs; an address depends on the digit, so for public scalars only.
    #[inline(always)]
    pub(super) fn get(&self, token: Ifma512, digit: &Digit) -> Cached {
        let entry = |lane: usize| &self.0[lane][digit.index[lane] as usize % ODD_MULTIPLES].0;
        let entries = [entry(0), entry(1), entry(2), entry(3), entry(4), entry(5), entry(6), entry(7)];
        let [x0, x1, x2, x3, x4, y0, y1, y2] = line::<0>(token, &entries);
        let [y3, y4, z0, z1, z2, z3, z4, zz0] = line::<1>(token, &entries);
        let [zz1, zz2, zz3, zz4, zzz0, zzz1, zzz2, zzz3] = line::<2>(token, &entries);
        let low = x0.shift_right::<52>().or(x1.shift_right::<52>().shift_left::<12>());
        let high = x3.shift_right::<52>().or(x4.shift_right::<52>().shift_left::<12>());
        let zzz4 = low.or(x2.shift_right::<52>().shift_left::<24>()).or(high.shift_left::<36>());
        Cached {
            x: Element([x0, x1, x2, x3, x4]),
            y: Element([y0, y1, y2, y3, y4]),
            z: Element([z0, z1, z2, z3, z4]),
            zz: Element([zz0, zz1, zz2, zz3, zz4]),
            zzz: Element([zzz0, zzz1, zzz2, zzz3, zzz4]),
        }
    }
}

/// Line `LINE` of eight entries, limb after limb. (A closure would not be inlined into the kernels.)
#[inline(always)]
fn line<const LINE: usize>(token: Ifma512, entries: &[&[[u64; 8]; LINES]; 8]) -> [Vector; 8] {
    let [a, b, c, d, e, f, g, h] = entries;
    transpose([
        Vector::load(token, &a[LINE]),
        Vector::load(token, &b[LINE]),
        Vector::load(token, &c[LINE]),
        Vector::load(token, &d[LINE]),
        Vector::load(token, &e[LINE]),
        Vector::load(token, &f[LINE]),
        Vector::load(token, &g[LINE]),
        Vector::load(token, &h[LINE]),
    ])
}
