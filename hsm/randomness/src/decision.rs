//! From the values of many samples to a verdict (GM/T 0005-2021 chapter 6), and how often chance alone leads to one.

use libm::{ceil, exp, lgamma, log, log1p, sqrt};

use crate::special::of_chi_square;
use crate::{Item, Value};

/// Significance of one sample's P-value (6.2).
pub const ALPHA: f64 = 0.01;
/// Significance of the distribution of Q-values over the samples (6.3).
pub const UNIFORMITY_ALPHA: f64 = 0.0001;
/// Cells of equal width into which Q-values are counted (6.3).
const CELLS: usize = 10;

/// How many of `samples` must pass an item, by 6.2: at least s (1 − α − 3 √(α (1 − α) / s)).
#[must_use]
pub fn passes_needed(samples: usize) -> usize {
    let count = samples as f64;
    ceil(count * (1.0 - ALPHA - 3.0 * sqrt(ALPHA * (1.0 - ALPHA) / count))).max(0.0) as usize
}

/// How many samples passed each item, and how their Q-values are spread.
#[derive(Debug, Clone)]
pub struct Tally {
    samples: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    item: Item,
    failed: usize,
    cells: [u64; CELLS],
}

impl Tally {
    /// Nothing counted yet for `items`.
    #[must_use]
    pub fn new(items: &[Item]) -> Self {
        let rows = items.iter().map(|item| Row { item: *item, failed: 0, cells: [0; CELLS] }).collect();
        Self { samples: 0, rows }
    }

    /// Counts one sample's values, which are in the order of the items.
    pub fn add(&mut self, values: &[Value]) {
        assert_eq!(values.len(), self.rows.len(), "one value for each item");
        self.samples += 1;
        for (row, value) in self.rows.iter_mut().zip(values) {
            // A value that is no number passes nothing.
            row.failed += usize::from(value.p.is_nan() || value.p < ALPHA);
            row.cells[((value.q * CELLS as f64) as usize).min(CELLS - 1)] += 1;
        }
    }

    /// Counts the samples of `other`, which has the same items, too.
    pub fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        for (row, other) in self.rows.iter_mut().zip(&other.rows) {
            assert_eq!(row.item, other.item, "tallies of one battery");
            row.failed += other.failed;
            row.cells.iter_mut().zip(other.cells).for_each(|(cell, other)| *cell += other);
        }
    }

    /// Samples counted.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// How many items there are.
    #[must_use]
    pub fn items(&self) -> usize {
        self.rows.len()
    }

    /// Each item with the number of samples that failed it.
    pub fn failures(&self) -> impl Iterator<Item = (Item, usize)> + '_ {
        self.rows.iter().map(|row| (row.item, row.failed))
    }

    /// P of the spread of each item's Q-values (6.3), in the order of the items.
    pub fn uniformities(&self) -> impl Iterator<Item = f64> + '_ {
        let expected = self.samples as f64 / CELLS as f64;
        self.rows.iter().map(move |row| {
            let deviation = |cell: &u64| (*cell as f64 - expected) * (*cell as f64 - expected) / expected;
            of_chi_square((CELLS - 1) as f64, row.cells.iter().map(deviation).sum()).0
        })
    }
}

/// How likely at least `failures` of `samples` fail when each does with probability `share`.
pub(crate) fn chance_of(failures: usize, samples: usize, share: f64) -> f64 {
    let term = |count: usize| {
        let (n, k) = (samples as f64, count as f64);
        let choices = lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0);
        exp(choices + k * log(share) + (n - k) * log1p(-share))
    };
    (failures..=samples).map(term).sum()
}
