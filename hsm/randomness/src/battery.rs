//! Which tests a sample of some length goes through, with which parameters (GM/T 0005-2021 annex A).

use core::fmt;

use crate::patterns::{self, Overlapping};
use crate::spectrum::Spectrum;
use crate::{Sample, complexity, frequency, rank, runs, shifted, universal};

/// The lengths for which annex A sets parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// 20,000 bits: too short for matrix rank, linear complexity and Maurer's test, which are left out.
    Bits20Thousand,
    /// 1,000,000 bits.
    BitsMillion,
    /// 100,000,000 bits.
    Bits100Million,
}

impl Length {
    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> usize {
        match self {
            Self::Bits20Thousand => 20_000,
            Self::BitsMillion => 1_000_000,
            Self::Bits100Million => 100_000_000,
        }
    }
}

/// The fifteen tests, in the standard's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Test {
    /// 5.1
    SingleBit,
    /// 5.2
    BlockFrequency,
    /// 5.3
    Poker,
    /// 5.4
    OverlappingSubsequence,
    /// 5.5
    TotalRuns,
    /// 5.6
    RunDistribution,
    /// 5.7
    LongestRun,
    /// 5.8
    BinaryDerivation,
    /// 5.9
    Autocorrelation,
    /// 5.10
    MatrixRank,
    /// 5.11
    CumulativeSums,
    /// 5.12
    ApproximateEntropy,
    /// 5.13
    LinearComplexity,
    /// 5.14
    MaurerUniversal,
    /// 5.15
    DiscreteFourier,
}

impl Test {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SingleBit => "single-bit frequency",
            Self::BlockFrequency => "block frequency",
            Self::Poker => "poker",
            Self::OverlappingSubsequence => "overlapping subsequence",
            Self::TotalRuns => "total runs",
            Self::RunDistribution => "run distribution",
            Self::LongestRun => "longest run in a block",
            Self::BinaryDerivation => "binary derivation",
            Self::Autocorrelation => "autocorrelation",
            Self::MatrixRank => "matrix rank",
            Self::CumulativeSums => "cumulative sums",
            Self::ApproximateEntropy => "approximate entropy",
            Self::LinearComplexity => "linear complexity",
            Self::MaurerUniversal => "Maurer's universal",
            Self::DiscreteFourier => "discrete Fourier",
        }
    }

    /// The letter of its parameter in the standard.
    const fn letter(self) -> &'static str {
        match self {
            Self::BinaryDerivation => "k",
            Self::Autocorrelation => "d",
            _ => "m",
        }
    }

    /// The statistics it has; most have one.
    const fn statistics(self) -> &'static [&'static str] {
        match self {
            Self::OverlappingSubsequence => &["first difference", "second difference"],
            Self::LongestRun => &["zeros", "ones"],
            Self::CumulativeSums => &["forward", "backward"],
            _ => &[""],
        }
    }
}

/// One P-value of a sample: a test, its parameter and which of its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item {
    /// The test.
    pub test: Test,
    /// Its parameter (bits of a block or a pattern, times, distance); nothing when it has none to choose.
    pub parameter: Option<usize>,
    /// Which of its statistics; empty when it has one.
    pub statistic: &'static str,
}

impl Item {
    /// Parameter and statistic as reports show them, such as `m=3, first difference`.
    #[must_use]
    pub fn detail(&self) -> String {
        let parameter = self.parameter.map(|value| format!("{}={value}", self.test.letter()));
        let statistic = (!self.statistic.is_empty()).then(|| self.statistic.to_owned());
        parameter.into_iter().chain(statistic).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.detail();
        f.write_str(self.test.name())?;
        if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
    }
}

/// What an item says of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// How likely a sound generator's sample looks at least as odd.
    pub p: f64,
    /// The same for one side where the test has two: uniform over samples of a sound generator.
    pub q: f64,
}

impl From<(f64, f64)> for Value {
    fn from((p, q): (f64, f64)) -> Self {
        Self { p, q }
    }
}

/// Tests with their parameters, for samples of one length.
pub struct Battery {
    bits: usize,
    steps: Vec<(Test, Option<usize>)>,
    items: Vec<Item>,
    spectrum: Option<Spectrum>,
}

impl fmt::Debug for Battery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Battery").field("bits", &self.bits).field("items", &self.items).finish_non_exhaustive()
    }
}

/// A row of annex A: test and parameters at 20,000, 10^6 and 10^8 bits. `None` where the test is left out, an empty list where it has
/// nothing to choose.
type Row = (Test, [Option<&'static [usize]>; 3]);

const NONE: [Option<&[usize]>; 3] = [Some(&[]); 3];
const LONG_ONLY: [Option<&[usize]>; 3] = [None, Some(&[]), Some(&[])];

const ANNEX_A: [Row; 15] = [
    (Test::SingleBit, NONE),
    (Test::BlockFrequency, [Some(&[1_000]), Some(&[10_000]), Some(&[100_000])]),
    (Test::Poker, [Some(&[4, 8]); 3]),
    (Test::OverlappingSubsequence, [Some(&[3, 5]), Some(&[3, 5]), Some(&[3, 5, 7])]),
    (Test::TotalRuns, NONE),
    (Test::RunDistribution, NONE),
    (Test::LongestRun, [Some(&[128]), Some(&[10_000]), Some(&[10_000])]),
    (Test::BinaryDerivation, [Some(&[3, 7]), Some(&[3, 7]), Some(&[3, 7, 15])]),
    (Test::Autocorrelation, [Some(&[2, 8, 16]), Some(&[1, 2, 8, 16]), Some(&[1, 2, 8, 16, 32])]),
    (Test::MatrixRank, LONG_ONLY),
    (Test::CumulativeSums, NONE),
    (Test::ApproximateEntropy, [Some(&[2, 5]), Some(&[2, 5]), Some(&[5, 7])]),
    (Test::LinearComplexity, [None, Some(&[500, 1_000]), Some(&[5_000])]),
    (Test::MaurerUniversal, LONG_ONLY),
    (Test::DiscreteFourier, NONE),
];

impl Battery {
    /// Every test that annex A has for samples of this length.
    #[must_use]
    pub fn full(length: Length) -> Self {
        let steps = ANNEX_A.iter().filter_map(|(test, parameters)| Some((*test, parameters[length as usize]?)));
        let steps = steps.flat_map(|(test, parameters)| match parameters {
            [] => vec![(test, None)],
            some => some.iter().map(|parameter| (test, Some(*parameter))).collect(),
        });
        Self::of(length.bits(), steps.collect())
    }

    /// One test alone, with annex A's parameters.
    #[must_use]
    pub fn only(length: Length, test: Test) -> Self {
        let mut steps = Self::full(length).steps;
        steps.retain(|(kept, _)| *kept == test);
        Self::of(length.bits(), steps)
    }

    /// The poker test alone, with patterns of `width` bits; what GM/T 0062-2018 asks of products with little to test with.
    #[must_use]
    pub fn poker(width: usize, bits: usize) -> Self {
        assert!(bits.is_multiple_of(8) && matches!(width, 2 | 4 | 8), "patterns divide bytes, bytes divide samples");
        Self::of(bits, vec![(Test::Poker, Some(width))])
    }

    fn of(bits: usize, steps: Vec<(Test, Option<usize>)>) -> Self {
        let of_step = |(test, parameter): &(Test, Option<usize>)| {
            let (test, parameter) = (*test, *parameter);
            test.statistics().iter().map(move |statistic| Item { test, parameter, statistic })
        };
        let items = steps.iter().flat_map(of_step).collect();
        let has_spectrum = steps.iter().any(|(test, _)| *test == Test::DiscreteFourier);
        Self { bits, steps, items, spectrum: has_spectrum.then(|| Spectrum::new(bits)) }
    }

    /// Bits of a sample.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// What is judged, in order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The values of every item, in the order of [`Self::items`]. The sample has [`Self::bits`] bits.
    pub fn run(&mut self, sample: &Sample) -> Vec<Value> {
        assert_eq!(sample.bits(), self.bits, "the battery is for samples of another length");
        let mut overlapping = None;
        let mut values: Vec<(f64, f64)> = Vec::with_capacity(self.items.len());
        for (test, parameter) in &self.steps {
            let parameter = parameter.unwrap_or_default();
            match test {
                Test::SingleBit => values.push(frequency::single_bit(sample)),
                Test::BlockFrequency => values.push(frequency::within_block(sample, parameter)),
                Test::Poker => values.push(patterns::poker(sample, parameter)),
                Test::OverlappingSubsequence => {
                    values.extend(overlapping.get_or_insert_with(|| Overlapping::count(sample)).serial(parameter));
                }
                Test::TotalRuns => values.push(runs::total(sample)),
                Test::RunDistribution => values.push(runs::distribution(sample)),
                Test::LongestRun => {
                    let table = if parameter == 128 { &runs::LONGEST_IN_128 } else { &runs::LONGEST_IN_10000 };
                    values.extend(runs::longest(sample, table));
                }
                Test::BinaryDerivation => values.push(shifted::derivation(sample, parameter)),
                Test::Autocorrelation => values.push(shifted::autocorrelation(sample, parameter)),
                Test::MatrixRank => values.push(rank::matrix_rank(sample)),
                Test::CumulativeSums => {
                    values.extend([true, false].map(|is_forward| frequency::cumulative_sums(sample, is_forward)));
                }
                Test::ApproximateEntropy => {
                    let overlapping = overlapping.get_or_insert_with(|| Overlapping::count(sample));
                    values.push(overlapping.approximate_entropy(parameter));
                }
                Test::LinearComplexity => values.push(complexity::linear_complexity(sample, parameter)),
                Test::MaurerUniversal => values.push(universal::universal(sample)),
                Test::DiscreteFourier => {
                    values.push(self.spectrum.as_mut().expect("made with this step").test(sample));
                }
            }
        }
        values.into_iter().map(Value::from).collect()
    }
}
