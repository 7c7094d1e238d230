//! Fixed-point multiplication by a signed comb: 4 blocks of 8 teeth, 512 affine points (32 KiB) per point.
//!
//! An odd `k < 2^256` is `Σ dᵢ·2^i` with every `dᵢ = ±1`: `dᵢ = 1` where bit `i` of `(k + 2^256 - 1) / 2` is set.
//! (An even scalar is replaced by `n - k` and the result negated.) Digit `i = 32t + 8j + s` is tooth `t` of block `j`
//! at step `s`. Block `j`'s table holds `Σ dₜ·2^(32t + 8j)·P` for all signs of teeth 0..6 with `d₇ = +1`; the other
//! half is its negative. A product is eight steps of four additions, seven doublings between.

mod scan;

use super::field::{Arithmetic, Element, with_field};
#[cfg(target_arch = "x86_64")]
use super::ifma;
use super::limbs::Limbs;
use super::point::{Affine, G, Jacobian, Projective};
use super::scalar::Scalar;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Ifma512;
use crate::ct;
use crate::memory::Kept;
pub(super) use scan::Scan;
use std::sync::LazyLock;
use zeroize::{Zeroize, Zeroizing};

pub(super) const BLOCKS: usize = 4;
const TEETH: usize = 8;
pub(super) const SPACING: usize = 32;
/// Steps of a product; one doubling lies between two steps.
pub(super) const STEPS: usize = SPACING / BLOCKS;
pub(super) const ENTRIES: usize = 1 << (TEETH - 1);

/// Teeth of the base point's wide comb: three blocks of 1024 entries (192 KiB) save a quarter of the additions.
pub(super) const WIDE_TEETH: usize = 11;
pub(super) const WIDE_BLOCKS: usize = 3;
pub(super) const WIDE_SPACING: usize = WIDE_BLOCKS * STEPS;
pub(super) const WIDE_ENTRIES: usize = 1 << (WIDE_TEETH - 1);

/// The wide comb of the base point: the same sum with `WIDE_TEETH · WIDE_SPACING` = 264 digits. For public scalars.
pub(super) static WIDE_BASE: LazyLock<Kept<[[Entry; WIDE_ENTRIES]; WIDE_BLOCKS]>> =
    LazyLock::new(|| with_field!(field => into_blocks(build(field, &G, WIDE_TEETH, WIDE_BLOCKS, STEPS))));

/// The same with every step of every block in a table of its own, 1.5 MiB: no doublings.
#[cfg(target_arch = "x86_64")]
pub(super) static FLAT_BASE: LazyLock<Kept<[[Entry; WIDE_ENTRIES]; WIDE_SPACING]>> =
    LazyLock::new(|| with_field!(field => into_blocks(build(field, &G, WIDE_TEETH, WIDE_SPACING, 1))));

/// A point's [`Comb`] with every step of every block in a table of its own, 256 KiB: no doublings.
pub(super) struct FlatComb(Kept<[[Entry; ENTRIES]; SPACING]>);

impl FlatComb {
    pub(super) const BYTES: usize = size_of::<[[Entry; ENTRIES]; SPACING]>();

    /// Builds the table of a public point.
    pub(super) fn new(point: &Affine) -> Self {
        with_field!(field => Self(into_blocks(build(field, point, TEETH, SPACING, 1))))
    }

    /// The table of digit `STEPS · block + step`.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(super) fn positions(&self) -> &[[Entry; ENTRIES]; SPACING] {
        &self.0
    }
}

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
    pub(super) fn point(&self) -> Affine {
        let [x0, x1, x2, x3, y0, y1, y2, y3] = self.0;
        Affine { x: Element::from_raw([x0, x1, x2, x3]), y: Element::from_raw([y0, y1, y2, y3]) }
    }
}

/// The table of one point.
pub(super) struct Comb {
    blocks: Kept<[[Entry; ENTRIES]; BLOCKS]>,
}

/// The digits of a scalar, and whether the product is to be negated.
pub(super) struct Digits {
    bits: Limbs,
    negate: u64,
}

impl Zeroize for Digits {
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
    pub(super) fn parts(&self) -> (&Limbs, u64) {
        (&self.bits, self.negate)
    }

    /// Table index and sign mask (all ones: negate) of the column at a position, `STEPS · block + step`. Of `TEETH · SPACING`
    /// digits the topmost is 1; between it and digit 255 lie only -1.
    #[inline(always)]
    fn at<const TEETH: usize, const SPACING: usize>(&self, position: usize) -> (usize, u64) {
        let bit =
            |i: usize| if i < 255 { self.bits[i / 64] >> (i % 64) & 1 } else { u64::from(i == TEETH * SPACING - 1) };
        let column = (0..TEETH).fold(0, |column, tooth| column | bit(SPACING * tooth + position) << tooth);
        let negative = (column >> (TEETH - 1)).wrapping_sub(1);
        let index = (column ^ negative) & ((1 << (TEETH - 1)) - 1);
        (index as usize, negative ^ self.negate)
    }

    /// Adds a step's entries to `sum`, one for each block. Variable time: for public scalars.
    #[inline(always)]
    fn add_step<F: Arithmetic, const TEETH: usize, const SPACING: usize, const ENTRIES: usize, const BLOCKS: usize>(
        &self,
        blocks: &[[Entry; ENTRIES]; BLOCKS],
        step: usize,
        sum: Jacobian<F>,
    ) -> Jacobian<F> {
        blocks.iter().enumerate().fold(sum, |sum, (block, entries)| {
            let (index, negative) = self.at::<TEETH, SPACING>(STEPS * block + step);
            sum.add_affine(&entries[index].point().negate_if(negative))
        })
    }
}

/// `[s]G + [t]P` with the comb of `P`, for public scalars other than zero.
pub(super) fn double_multiple<F: Arithmetic>(field: F, s: &Scalar, t: &Scalar, key: &Comb) -> Jacobian<F> {
    let (base_digits, key_digits) = (Digits::new(s), Digits::new(t));
    (0..STEPS).rev().fold(Jacobian::infinity(field), |sum, step| {
        let sum = if sum.is_infinity() { sum } else { sum.double() };
        let sum = base_digits.add_step::<_, WIDE_TEETH, WIDE_SPACING, _, _>(&WIDE_BASE, step, sum);
        key_digits.add_step::<_, TEETH, SPACING, _, _>(&key.blocks, step, sum)
    })
}

/// The affine `[k]G` for a secret scalar other than zero, in constant time.
pub(super) fn base_multiple(k: &Scalar) -> Affine {
    with_field!(field => base_multiple_on(field, Scan::selected(), k))
}

/// Whether the formulas met an exception shows: a random scalar makes them with probability about 2^-250. The complete formulas
/// serve it then.
pub(super) fn base_multiple_on<F: Arithmetic>(field: F, scan: Scan, k: &Scalar) -> Affine {
    let point = Zeroizing::new(BASE.multiply_distinct(field, scan, k));
    if point.is_infinity() {
        return Zeroizing::new(BASE.multiply_complete(field, scan, k)).to_affine();
    }
    point.to_affine()
}

impl Comb {
    #[cfg(any(target_arch = "x86_64", test))]
    pub(super) fn blocks(&self) -> &[[Entry; ENTRIES]; BLOCKS] {
        &self.blocks
    }

    /// Builds the table of a public point.
    pub(super) fn new(point: &Affine) -> Self {
        with_field!(field => Self { blocks: into_blocks(build(field, point, TEETH, BLOCKS, STEPS)) })
    }

    /// `k·P` in constant time for a secret scalar other than zero: every entry of a block is read for each digit. Infinity where
    /// the formulas met an exception.
    fn multiply_distinct<F: Arithmetic>(&self, field: F, scan: Scan, k: &Scalar) -> Jacobian<F> {
        let digits = Zeroizing::new(Digits::new(k));
        let entry = |step: usize, block: usize| {
            let (index, negative) = digits.at::<TEETH, SPACING>(STEPS * block + step);
            scan.entry(&self.blocks[block], index as u64).negate_if(negative)
        };
        let mut sum = Jacobian::from_affine(field, &entry(STEPS - 1, 0));
        for position in 1..SPACING {
            let (step, block) = (STEPS - 1 - position / BLOCKS, position % BLOCKS);
            if block == 0 {
                sum = sum.double();
            }
            sum = sum.add_affine_distinct(&entry(step, block));
        }
        sum
    }

    /// The same by complete formulas, which have no exception.
    fn multiply_complete<F: Arithmetic>(&self, field: F, scan: Scan, k: &Scalar) -> Projective<F> {
        let digits = Zeroizing::new(Digits::new(k));
        let mut sum = Projective::infinity(field);
        for step in (0..STEPS).rev() {
            if step != STEPS - 1 {
                sum = sum.double();
            }
            for (block, entries) in self.blocks.iter().enumerate() {
                let (index, negative) = digits.at::<TEETH, SPACING>(STEPS * block + step);
                sum = sum.add_affine(&scan.entry(entries, index as u64).negate_if(negative));
            }
        }
        sum
    }

    /// The same by portable code.
    #[cfg(test)]
    pub(super) fn multiply(&self, k: &Scalar) -> Projective {
        self.multiply_complete(crate::cpu::Portable::TOKEN, Scan::Portable, k)
    }
}

/// The entries of all blocks, one block after another, `steps` doublings apart. Every tooth doubles a block's entries.
fn build<F: Arithmetic>(field: F, point: &Affine, teeth: usize, blocks: usize, steps: usize) -> Vec<Entry> {
    // 2^(steps·i)·P and its double, i = tooth·blocks + block.
    let mut power = Jacobian::from_affine(field, point);
    let mut powers = Vec::with_capacity(2 * teeth * blocks);
    for _ in 0..teeth * blocks {
        let twice = power.double();
        powers.extend([power, twice]);
        power = (1..steps).fold(twice, |p, _| p.double());
    }
    let powers = Jacobian::batch_to_affine(&powers);
    let tooth = |tooth: usize, block: usize| &powers[2 * (tooth * blocks + block)..][..2];
    let lowest = |block| {
        (0..teeth - 1).fold(Jacobian::from_affine(field, &tooth(teeth - 1, block)[0]), |sum, t| {
            sum.add_affine(&tooth(t, block)[0].negate())
        })
    };
    // Entry `index` of each block, one index after another. The multipliers of a block's entries are different and small against
    // the order: no sum meets an exception.
    let lowest: Vec<_> = (0..blocks).map(lowest).collect();
    let next = lowest.iter().enumerate().map(|(block, point)| point.add_affine(&tooth(0, block)[1]));
    let first: Vec<_> = lowest.iter().copied().chain(next).collect();
    let addends = (1..teeth - 1).map(|t| (0..blocks).map(|block| tooth(t, block)[1]).collect());
    let entries = grow(field, Jacobian::batch_to_affine(&first), &addends.collect::<Vec<_>>());
    (0..blocks).flat_map(|block| entries[block..].iter().step_by(blocks).map(Entry::from)).collect()
}

/// Appends to the entries, for each tooth in turn, those there are with its addend. Addend `i` is for entries `i`, `i + addends`,
/// and so on.
fn grow<F: Arithmetic>(field: F, entries: Vec<Affine>, teeth: &[Vec<Affine>]) -> Vec<Affine> {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = Ifma512::selected().filter(|_| entries.len().is_multiple_of(ifma::LANES)) {
        return ifma::grow_table(token, &entries, teeth);
    }
    grow_alone(field, entries, teeth)
}

/// [`grow`] by one batch of affine additions for each tooth.
pub(super) fn grow_alone<F: Arithmetic>(field: F, mut entries: Vec<Affine>, teeth: &[Vec<Affine>]) -> Vec<Affine> {
    for addends in teeth {
        let addends: Vec<Affine> = addends.iter().copied().cycle().take(entries.len()).collect();
        entries.extend(Affine::add_each(field, &entries, &addends));
    }
    entries
}

fn into_blocks<const ENTRIES: usize, const BLOCKS: usize>(entries: Vec<Entry>) -> Kept<[[Entry; ENTRIES]; BLOCKS]> {
    let blocks: Vec<[Entry; ENTRIES]> = entries.as_chunks::<ENTRIES>().0.to_vec();
    Kept::table(blocks.try_into().ok().expect("as many entries as the blocks have"))
}
