//! Fixed-point multiplication by a signed comb: 4 blocks of 8 teeth, 512 affine points (32 KiB) per point.
//!
//! An odd `k < 2^256` is `Σ dᵢ·2^i` with every `dᵢ = ±1`: `dᵢ = 1` where bit `i` of `(k + 2^256 - 1) / 2` is set.
//! (An even scalar is replaced by `n - k` and the result negated.) Digit `i = 32t + 8j + s` is tooth `t` of block `j`
//! at step `s`. Block `j`'s table holds `Σ dₜ·2^(32t + 8j)·P` for all signs of teeth 0..6 with `d₇ = +1`; the other
//! half is its negative. A product is eight steps of four additions, seven doublings between.

use super::field::Element;
use super::limbs::Limbs;
use super::point::{Affine, G, Jacobian, Projective};
use super::scalar::Scalar;
use crate::ct;
use std::sync::LazyLock;

pub(super) const BLOCKS: usize = 4;
const TEETH: usize = 8;
pub(super) const SPACING: usize = 32;
/// Steps of a product; one doubling lies between two steps.
pub(super) const STEPS: usize = SPACING / BLOCKS;
pub(super) const ENTRIES: usize = 1 << (TEETH - 1);

/// Teeth of the base point's wide comb: three blocks of 1024 entries (192 KiB) save a quarter of the additions.
#[cfg(target_arch = "x86_64")]
pub(super) const WIDE_TEETH: usize = 11;
#[cfg(target_arch = "x86_64")]
pub(super) const WIDE_BLOCKS: usize = 3;
#[cfg(target_arch = "x86_64")]
pub(super) const WIDE_SPACING: usize = WIDE_BLOCKS * STEPS;
#[cfg(target_arch = "x86_64")]
pub(super) const WIDE_ENTRIES: usize = 1 << (WIDE_TEETH - 1);

/// The wide comb of the base point: the same sum with `WIDE_TEETH · WIDE_SPACING` = 264 digits.
#[cfg(target_arch = "x86_64")]
pub(super) static WIDE_BASE: LazyLock<Box<[[Entry; WIDE_ENTRIES]; WIDE_BLOCKS]>> =
    LazyLock::new(|| into_blocks(build(&G, WIDE_TEETH, WIDE_BLOCKS)));

/// The comb of the base point.
pub(super) static BASE: LazyLock<Comb> = LazyLock::new(|| Comb::new(&G));

/// A point of a table, `x ‖ y` in Montgomery form: one line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Entry(pub(super) [u64; 8]);

impl From<&Affine> for Entry {
    fn from(point: &Affine) -> Self {
        let ([x0, x1, x2, x3], [y0, y1, y2, y3]) = (*point.x.raw(), *point.y.raw());
        Self([x0, x1, x2, x3, y0, y1, y2, y3])
    }
}

impl Entry {
    #[inline(always)]
    fn point(&self) -> Affine {
        let [x0, x1, x2, x3, y0, y1, y2, y3] = self.0;
        Affine { x: Element::from_raw([x0, x1, x2, x3]), y: Element::from_raw([y0, y1, y2, y3]) }
    }
}

/// The table of one point.
pub(super) struct Comb {
    blocks: Box<[[Entry; ENTRIES]; BLOCKS]>,
}

/// The digits of a scalar, and whether the product is to be negated.
pub(super) struct Digits {
    bits: Limbs,
    negate: u64,
}

impl zeroize::Zeroize for Digits {
    fn zeroize(&mut self) {
        self.bits.zeroize();
        self.negate.zeroize();
    }
}

impl Digits {
    /// Recodes a scalar other than zero; constant time.
    pub(super) fn new(k: &Scalar) -> Self {
        let even = ct::mask_from_bit(!k.limbs()[0]);
        let [a, b, c, d] = *Scalar::choose(even, &k.negate(), k).limbs();
        Self { bits: [a >> 1 | b << 63, b >> 1 | c << 63, c >> 1 | d << 63, d >> 1 | 1 << 63], negate: even }
    }

    /// The bits that say which digits are 1, and the mask to negate under.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn parts(&self) -> (&Limbs, u64) {
        (&self.bits, self.negate)
    }

    /// Table index and sign mask (all ones: negate) for a block at a step.
    #[inline(always)]
    fn at(&self, block: usize, step: usize) -> (usize, u64) {
        let column = (0..TEETH).fold(0, |column, tooth| {
            let i = SPACING * tooth + STEPS * block + step;
            column | (self.bits[i / 64] >> (i % 64) & 1) << tooth
        });
        let negative = (column >> (TEETH - 1)).wrapping_sub(1);
        let index = (column ^ negative) & (ENTRIES as u64 - 1);
        (index as usize, negative ^ self.negate)
    }
}

impl Comb {
    #[cfg(target_arch = "x86_64")]
    pub(super) fn blocks(&self) -> &[[Entry; ENTRIES]; BLOCKS] {
        &self.blocks
    }

    /// Builds the table of a public point.
    pub(super) fn new(point: &Affine) -> Self {
        Self { blocks: into_blocks(build(point, TEETH, BLOCKS)) }
    }

    /// Adds the step's four entries to `sum`. Variable time: for public scalars.
    pub(super) fn add_step(&self, digits: &Digits, step: usize, sum: Jacobian) -> Jacobian {
        self.blocks.iter().enumerate().fold(sum, |sum, (block, entries)| {
            let (index, negative) = digits.at(block, step);
            sum.add_affine(&entries[index].point().negate_if(negative))
        })
    }

    /// `k·P` in constant time for a secret scalar other than zero: every entry of a block is read for each digit.
    pub(super) fn multiply(&self, k: &Scalar) -> Projective {
        let mut digits = Digits::new(k);
        let mut sum = Projective::INFINITY;
        for step in (0..STEPS).rev() {
            if step != STEPS - 1 {
                sum = sum.double();
            }
            for (block, entries) in self.blocks.iter().enumerate() {
                let (index, negative) = digits.at(block, step);
                sum = sum.add_affine(&scan(entries, index as u64).negate_if(negative));
            }
        }
        zeroize::Zeroize::zeroize(&mut digits);
        sum
    }
}

/// The entries of all blocks, one block after another.
fn build(point: &Affine, teeth: usize, blocks: usize) -> Vec<Entry> {
    // 2^(STEPS·i)·P, i = tooth·blocks + block.
    let mut doubled = Jacobian::from(point);
    let mut bases = vec![doubled];
    for _ in 1..teeth * blocks {
        doubled = (0..STEPS).fold(doubled, |p, _| p.double());
        bases.push(doubled);
    }
    let twice: Vec<Jacobian> = bases.iter().map(Jacobian::double).collect();
    let bases = Jacobian::batch_to_affine(&bases);
    let twice = Jacobian::batch_to_affine(&twice);
    let mut entries = Vec::with_capacity(blocks << (teeth - 1));
    for block in 0..blocks {
        let tooth = |t: usize| t * blocks + block;
        let lowest = (0..teeth - 1)
            .fold(Jacobian::from(&bases[tooth(teeth - 1)]), |sum, t| sum.add_affine(&bases[tooth(t)].negate()));
        let start = entries.len();
        entries.push(lowest);
        for t in 0..teeth - 1 {
            for index in 0..1 << t {
                let entry: Jacobian = entries[start + index];
                entries.push(entry.add_affine(&twice[tooth(t)]));
            }
        }
    }
    Jacobian::batch_to_affine(&entries).iter().map(Entry::from).collect()
}

fn into_blocks<const ENTRIES: usize, const BLOCKS: usize>(entries: Vec<Entry>) -> Box<[[Entry; ENTRIES]; BLOCKS]> {
    let blocks: Vec<[Entry; ENTRIES]> = entries.as_chunks::<ENTRIES>().0.to_vec();
    blocks.try_into().ok().expect("as many entries as the blocks have")
}

/// The entry at a secret index, all entries read and masked.
#[inline(always)]
fn scan(entries: &[Entry; ENTRIES], index: u64) -> Affine {
    let mut found = Entry([0; 8]);
    for (entry, i) in entries.iter().zip(0u64..) {
        let mask = ct::mask_eq(i, index);
        for (limb, value) in found.0.iter_mut().zip(&entry.0) {
            *limb |= value & mask;
        }
    }
    found.point()
}
