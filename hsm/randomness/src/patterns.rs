//! Tests of how often each pattern of bits occurs: poker (GM/T 0005-2021 5.3), overlapping subsequences (5.4), approximate entropy (5.12).

use core::f64::consts::LN_2;

use libm::log;

use crate::Sample;
use crate::special::of_chi_square;

/// 5.3: patterns of `width` bits that do not overlap; `width` divides 64.
pub(crate) fn poker(sample: &Sample, width: usize) -> (f64, f64) {
    let patterns = sample.bits() / width;
    let mut counts = vec![0u64; 1 << width];
    for index in 0..patterns {
        counts[sample.pattern(index * width, width)] += 1;
    }
    let statistic = counts.len() as f64 / patterns as f64 * squares(&counts) - patterns as f64;
    of_chi_square((counts.len() - 1) as f64, statistic)
}

fn squares(counts: &[u64]) -> f64 {
    counts.iter().map(|count| (*count as f64) * (*count as f64)).sum()
}

/// How often each pattern of up to eight bits begins at some bit of a sample that is closed to a circle.
///
/// Counted once for eight bits: on a circle the count of a shorter pattern is the sum over its two continuations.
pub(crate) struct Overlapping {
    bits: f64,
    /// Counts for each width, the index.
    counts: Vec<Vec<u64>>,
}

impl Overlapping {
    const WIDTH_MAX: usize = 8;
    /// Bytes that are counted one after the other fall into as many tables, so that none waits for the one before.
    const TABLES: usize = 4;

    pub(crate) fn count(sample: &Sample) -> Self {
        let mut counts = vec![Self::count_longest(sample)];
        while counts.len() <= Self::WIDTH_MAX {
            let longer = counts.last().expect("never empty");
            counts.push(longer.chunks(2).map(|pair| pair[0] + pair[1]).collect());
        }
        counts.reverse();
        Self { bits: sample.bits() as f64, counts }
    }

    fn count_longest(sample: &Sample) -> Vec<u64> {
        let mut tables = vec![[0u32; 1 << Self::WIDTH_MAX]; Self::TABLES];
        let bits = sample.bits();
        debug_assert!(bits >= 16 && bits.is_multiple_of(8) && bits < u32::MAX as usize);
        let mut tally = |window: usize| {
            for place in 0..8 {
                tables[place % Self::TABLES][window >> (8 - place) & 0xFF] += 1;
            }
        };
        for index in (0..bits - 8).step_by(8) {
            tally(sample.pattern(index, 16));
        }
        tally(sample.pattern(bits - 8, 8) << 8 | sample.pattern(0, 8));
        (0..1 << Self::WIDTH_MAX).map(|pattern| tables.iter().map(|table| u64::from(table[pattern])).sum()).collect()
    }

    /// ψ² of 5.4; 0 for width 0.
    fn psi(&self, width: usize) -> f64 {
        let counts = &self.counts[width];
        counts.len() as f64 / self.bits * squares(counts) - self.bits
    }

    /// 5.4 with patterns of `width` bits: the first and the second difference.
    pub(crate) fn serial(&self, width: usize) -> [(f64, f64); 2] {
        let (longest, middle, shortest) = (self.psi(width), self.psi(width - 1), self.psi(width - 2));
        let freedom = (1 << (width - 1)) as f64;
        [of_chi_square(freedom, longest - middle), of_chi_square(freedom / 2.0, longest - 2.0 * middle + shortest)]
    }

    /// Φ of 5.12.
    fn phi(&self, width: usize) -> f64 {
        let share = self.counts[width].iter().filter(|count| **count > 0).map(|count| *count as f64 / self.bits);
        share.map(|share| share * log(share)).sum()
    }

    /// 5.12 with patterns of `width` and `width` + 1 bits.
    pub(crate) fn approximate_entropy(&self, width: usize) -> (f64, f64) {
        let entropy = self.phi(width) - self.phi(width + 1);
        of_chi_square((1 << width) as f64, 2.0 * self.bits * (LN_2 - entropy))
    }
}
