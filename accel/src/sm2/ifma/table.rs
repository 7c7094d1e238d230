//! Odd multiples of eight keys, for windows of public scalars.

use super::digits::{Digit, ODD_MULTIPLES};
use super::field::Element;
use super::point::Cached;
use super::vector::{Vector, transpose};
use crate::cpu::Ifma512;

/// Words of one entry: five coordinates of five limbs, padded to four lines of the cache.
const ENTRY_WORDS: usize = 32;

/// One lane's entry, limb after limb.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Entry([[u64; 8]; ENTRY_WORDS / 8]);

/// `P, 3P, … 31P` of eight keys, 32 KiB.
pub(super) struct OddMultiples(Box<[[Entry; ODD_MULTIPLES]; 8]>);

impl OddMultiples {
    pub(super) fn new() -> Self {
        Self(Box::new([[Entry([[0; 8]; ENTRY_WORDS / 8]); ODD_MULTIPLES]; 8]))
    }

    /// Writes entry `index` of all lanes.
    #[inline(always)]
    pub(super) fn put(&mut self, index: usize, point: &Cached) {
        let Cached { x: Element(x), y: Element(y), z: Element(z), zz: Element(zz), zzz: Element(zzz) } = *point;
        let zero = x[0].constant(0);
        let lines = [
            [x[0], x[1], x[2], x[3], x[4], y[0], y[1], y[2]],
            [y[3], y[4], z[0], z[1], z[2], z[3], z[4], zz[0]],
            [zz[1], zz[2], zz[3], zz[4], zzz[0], zzz[1], zzz[2], zzz[3]],
            [zzz[4], zero, zero, zero, zero, zero, zero, zero],
        ];
        for (line, limbs) in lines.into_iter().enumerate() {
            for (lane, row) in transpose(limbs).into_iter().enumerate() {
                row.store(&mut self.0[lane][index].0[line]);
            }
        }
    }

    /// Each lane's entry at its own index: an address depends on the digit, so for public scalars only.
    #[inline(always)]
    pub(super) fn get(&self, token: Ifma512, digit: &Digit) -> Cached {
        let entry = |lane: usize| &self.0[lane][digit.index[lane] as usize % ODD_MULTIPLES].0;
        let entries = [entry(0), entry(1), entry(2), entry(3), entry(4), entry(5), entry(6), entry(7)];
        let line = |line: usize| transpose(entries.map(|entry| Vector::load(token, &entry[line])));
        let [x0, x1, x2, x3, x4, y0, y1, y2] = line(0);
        let [y3, y4, z0, z1, z2, z3, z4, zz0] = line(1);
        let [zz1, zz2, zz3, zz4, zzz0, zzz1, zzz2, zzz3] = line(2);
        let [zzz4, ..] = line(3);
        Cached {
            x: Element([x0, x1, x2, x3, x4]),
            y: Element([y0, y1, y2, y3, y4]),
            z: Element([z0, z1, z2, z3, z4]),
            zz: Element([zz0, zz1, zz2, zz3, zz4]),
            zzz: Element([zzz0, zzz1, zzz2, zzz3, zzz4]),
        }
    }
}
