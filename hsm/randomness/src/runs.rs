//! Tests of runs: their number (GM/T 0005-2021 5.5), the distribution of their lengths (5.6), the longest in a block (5.7).

use libm::{pow, sqrt};

use crate::Sample;
use crate::special::{of_chi_square, of_normal};

/// 5.5.
pub(crate) fn total(sample: &Sample) -> (f64, f64) {
    let bits = sample.bits() as f64;
    let runs = sample.against_shifted(1).ones() as f64 + 1.0;
    let share = sample.ones() as f64 / bits;
    let spread = share * (1.0 - share);
    if spread == 0.0 {
        return (0.0, 0.0);
    }
    of_normal((runs - 2.0 * bits * spread) / (2.0 * sqrt(bits) * spread))
}

/// 5.6. Lengths are told apart up to the longest of which five are to be expected.
pub(crate) fn distribution(sample: &Sample) -> (f64, f64) {
    let longest = longest_expected(sample.bits());
    let mut counts = [vec![0u64; longest], vec![0u64; longest]];
    sample.for_each_run(0, sample.bits(), |bit, len| counts[usize::from(bit)][len.min(longest) - 1] += 1);
    let runs: u64 = counts.iter().flatten().sum();
    let expected = |place: usize| runs as f64 / pow(2.0, (place + 2 - usize::from(place + 1 == longest)) as f64);
    let deviation = |(place, count): (usize, &u64)| {
        let expected = expected(place);
        (*count as f64 - expected) * (*count as f64 - expected) / expected
    };
    let statistic: f64 = counts.iter().flat_map(|counts| counts.iter().enumerate().map(deviation)).sum();
    of_chi_square(2.0 * (longest - 1) as f64, statistic)
}

/// The greatest k with (n − k + 3) / 2^(k + 2) ≥ 5.
fn longest_expected(bits: usize) -> usize {
    let is_expected = |k: &usize| (bits + 3 - k) as f64 / pow(2.0, (k + 2) as f64) >= 5.0;
    (1..bits).take_while(is_expected).last().unwrap_or(1)
}

/// How the longest run of a block of `block_bits` is distributed: below or at `shortest`, each length above, the last open.
pub(crate) struct Longest {
    pub(crate) block_bits: usize,
    pub(crate) shortest: usize,
    pub(crate) shares: &'static [f64],
}

/// For blocks of 128 bits. NIST SP 800-22 prints .2493 for the third; the exact value is .24937.
pub(crate) const LONGEST_IN_128: Longest =
    Longest { block_bits: 128, shortest: 4, shares: &[0.1174, 0.2430, 0.2494, 0.1752, 0.1027, 0.1124] };

/// For blocks of 10,000 bits. The edition of 2012 and NIST SP 800-22 give .0882 .2092 .2483 .1933 .1208 .0675 .0727, which are off by up to
/// two per cent; these are exact to the digits shown (`tests::exact`).
pub(crate) const LONGEST_IN_10000: Longest = Longest {
    block_bits: 10_000,
    shortest: 10,
    shares: &[0.086_632, 0.208_201, 0.248_419, 0.193_913, 0.121_458, 0.068_011, 0.073_366],
};

/// 5.7 for runs of zeros and of ones.
pub(crate) fn longest(sample: &Sample, table: &Longest) -> [(f64, f64); 2] {
    let blocks = sample.bits() / table.block_bits;
    let mut counts = [vec![0u64; table.shares.len()], vec![0u64; table.shares.len()]];
    for block in 0..blocks {
        let mut longest = [0; 2];
        sample.for_each_run(block * table.block_bits, (block + 1) * table.block_bits, |bit, len| {
            let longest = &mut longest[usize::from(bit)];
            *longest = len.max(*longest);
        });
        for (counts, longest) in counts.iter_mut().zip(longest) {
            counts[longest.saturating_sub(table.shortest).min(table.shares.len() - 1)] += 1;
        }
    }
    counts.map(|counts| categories(&counts, table.shares, blocks))
}

/// Chi-square of counts in categories against their shares of `total`.
pub(crate) fn categories(counts: &[u64], shares: &[f64], total: usize) -> (f64, f64) {
    let deviation = |(count, share): (&u64, &f64)| {
        let expected = share * total as f64;
        (*count as f64 - expected) * (*count as f64 - expected) / expected
    };
    of_chi_square((shares.len() - 1) as f64, counts.iter().zip(shares).map(deviation).sum())
}
