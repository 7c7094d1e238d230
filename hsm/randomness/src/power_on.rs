//! The test of a generator before its output is used (GM/T 0062-2018, power-on test).
//!
//! | class | product | collected | tested by | not passed when |
//! |---|---|---|---|---|
//! | D | always on, little to test with, such as a terminal: here a TPM and every slow device | 20 groups of 10^4 bits | poker, m = 2 | two groups fail |
//! | E | always on, strong, such as a server | 20 groups of 10^6 bits | all fifteen tests | two groups fail one test |
//!
//! A collection that does not pass is an alarm and is repeated once; if the second does not pass either, the generator has failed.
//!
//! Taken by the letter that rule fails sound devices. At α = 0.01 two of twenty groups fail one item by chance with 1.7 %. The fifteen tests
//! have 27 items in annex A's parameters; taken as independent, 37 % of all collections of a sound device raise the alarm, and 14 % of all
//! starts, one in seven, fail (2.8 × 10^-4 in class D). [`Rule::Standard`] does that. [`Rule::Bounded`] keeps sample counts, tests, thresholds,
//! alarm and repetition, and takes the verdict *failed* where some item failed in so many of both collections' forty groups that a sound
//! device comes there with less than [`CHANCE_MAX`]; what lies between is an alarm that is told and stops nothing. A broken generator fails
//! nearly all groups of some item, not nine of forty.
//!
//! GM/T 0062-2018 was read through what others report of it: openHiTLS's self-test quotes class D in full (20 × 10^4 bits, poker m = 2, two
//! or more groups, one repetition); the class table and class E's 20 × 10^6 bits, all tests, fewer than two groups agree in every source.

use core::fmt;

use crate::decision::chance_of;
use crate::{Battery, Item, Length, Sample, Tally};

/// Groups of one collection.
pub const GROUPS: usize = 20;
/// Groups of one collection that must fail an item for the alarm.
pub const ALARM: usize = 2;
/// At most so often the bounded rule fails a sound device, for one start.
pub const CHANCE_MAX: f64 = 1e-6;
/// What the share of a sound generator's groups that fail an item is taken to be at most. By the P-values' definition it is 0.01, but some
/// of the distributions behind them are approximations (`tests::sound`).
const SHARE_MAX: f64 = 0.015;
/// Bytes asked of the device at once: the least of what libraries take in one call, and far from any call's deadline.
const PIECE_BYTES: usize = 2048;

/// A product class of GM/T 0062-2018.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Always on, with little to test with.
    D,
    /// Always on, with enough.
    E,
}

impl Class {
    /// Bytes of one group.
    #[must_use]
    pub const fn group_bytes(self) -> usize {
        match self {
            Self::D => 10_000 / 8,
            Self::E => 1_000_000 / 8,
        }
    }

    /// Bytes of one collection; a repetition takes as many again.
    #[must_use]
    pub const fn collection_bytes(self) -> usize {
        GROUPS * self.group_bytes()
    }

    fn battery(self) -> Battery {
        match self {
            Self::D => Battery::poker(2, self.group_bytes() * 8),
            Self::E => Battery::full(Length::BitsMillion),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::D => "class D (poker test on 20 groups of 10,000 bits)",
            Self::E => "class E (fifteen tests on 20 groups of 1,000,000 bits)",
        })
    }
}

/// When a second collection that does not pass fails the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Always, as GM/T 0062-2018 says.
    Standard,
    /// When a sound generator comes there with less than [`CHANCE_MAX`].
    Bounded,
}

/// What became of a test that the generator did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// By the first collection.
    AtOnce,
    /// By the second, after an alarm.
    Repeated,
    /// By the bounded rule only: both collections raised the alarm. Holds what the second one found.
    Alarmed(Vec<Finding>),
}

/// An item and the groups that failed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The item.
    pub item: Item,
    /// Groups that failed it.
    pub failed: usize,
    /// Groups that were tested.
    pub groups: usize,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed by {} of {}", self.item, self.failed, self.groups)
    }
}

/// Why a test ended without a pass.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure<E> {
    /// The generator gave no bytes.
    #[error(transparent)]
    Source(E),
    /// The generator is broken; the items it failed most come first.
    #[error("the random bit generator failed its power-on test, {class}: {}", listed(findings))]
    Generator {
        /// Tested as.
        class: Class,
        /// Never empty.
        findings: Vec<Finding>,
    },
}

/// The first few findings in words.
#[must_use]
pub fn listed(findings: &[Finding]) -> String {
    const SHOWN: usize = 3;
    let mut text = findings.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if findings.len() > SHOWN {
        text.push_str(&format!("; and {} more tests", findings.len() - SHOWN));
    }
    text
}

/// Tests what `source` fills buffers with.
///
/// # Errors
/// [`Failure::Generator`] by the rule, as soon as it is certain; the source's error as it is.
pub fn examine<E>(
    class: Class,
    rule: Rule,
    mut source: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Passed, Failure<E>> {
    let mut battery = class.battery();
    let failing = failures_beyond_chance(2 * GROUPS, battery.items().len());
    let mut whole = Tally::new(battery.items());
    let mut group = vec![0; class.group_bytes()];
    for collection in 0..2 {
        let mut tally = Tally::new(battery.items());
        for _ in 0..GROUPS {
            group.chunks_mut(PIECE_BYTES).try_for_each(&mut source).map_err(Failure::Source)?;
            let values = battery.run(&Sample::new(&group));
            tally.add(&values);
            whole.add(&values);
            // Certain by both rules, and a broken device need not be asked for the rest.
            let findings = found(&whole, failing);
            if !findings.is_empty() {
                return Err(Failure::Generator { class, findings });
            }
        }
        let alarms = found(&tally, ALARM);
        match (collection, rule) {
            (0, _) if alarms.is_empty() => return Ok(Passed::AtOnce),
            (0, _) => {}
            _ if alarms.is_empty() => return Ok(Passed::Repeated),
            (_, Rule::Standard) => return Err(Failure::Generator { class, findings: alarms }),
            (_, Rule::Bounded) => return Ok(Passed::Alarmed(alarms)),
        }
    }
    unreachable!("the second collection decides")
}

/// Items that at least `failures` groups failed, the worst first.
fn found(tally: &Tally, failures: usize) -> Vec<Finding> {
    let of_item = |(item, failed)| Finding { item, failed, groups: tally.samples() };
    let mut findings: Vec<Finding> = tally.failures().filter(|(_, failed)| *failed >= failures).map(of_item).collect();
    findings.sort_by_key(|finding| core::cmp::Reverse(finding.failed));
    findings
}

/// The least number of failed samples of `samples` at which one of `items` arrives by chance with less than [`CHANCE_MAX`] in all; one more
/// than there are samples when they are too few for any verdict.
#[must_use]
pub fn failures_beyond_chance(samples: usize, items: usize) -> usize {
    let is_beyond = |failures: &usize| items as f64 * chance_of(*failures, samples, SHARE_MAX) < CHANCE_MAX;
    (1..=samples).find(is_beyond).unwrap_or(samples + 1)
}
