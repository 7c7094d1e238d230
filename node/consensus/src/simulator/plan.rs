//! What one run does to the nodes.

use super::{Mutation, Random};

/// A crash at a chosen point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrashAt {
    /// Effects of the first node until it happens.
    pub(crate) effect: u64,
    /// Unflushed log entries that reached the disk anyway.
    pub(crate) kept: usize,
    /// Whether all nodes lose power.
    pub(crate) all: bool,
}

/// Faults and sizes of one run, drawn from its seed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) validators: usize,
    /// Heights every live node must add after the storm.
    pub(crate) target: u64,
    pub(crate) depth: u64,
    /// Length of the stormy part.
    pub(crate) storm_ms: u64,
    /// Longest calm part allowed.
    pub(crate) calm_ms: u64,
    /// Messages lost, doubled, in a thousand.
    pub(crate) drop_permille: u64,
    pub(crate) duplicate_permille: u64,
    /// Network delay at most.
    pub(crate) delay_ms: u64,
    pub(crate) partitions: u64,
    /// Crashes of single nodes, each at a random effect.
    pub(crate) crashes: u64,
    /// Crash of all nodes at once.
    pub(crate) blackout: bool,
    /// A node comes back with an old copy of its disk.
    pub(crate) restore: bool,
    /// Milliseconds per signature of each node.
    pub(crate) signer_ms: Vec<u64>,
    /// Device outages.
    pub(crate) outages: u64,
    /// Signatures that fail, in a thousand.
    pub(crate) sign_fail_permille: u64,
    /// A node that executes wrongly from this height on.
    pub(crate) diverge: Option<(usize, u64)>,
    /// A node whose messages are lies, well signed, in a third of the cases.
    pub(crate) babbler: Option<usize>,
    /// One validator in turn is left out of the set for three heights.
    pub(crate) rotate: bool,
    /// The first node (or all of them) loses power at exactly this effect.
    pub(crate) crash_at: Option<CrashAt>,
    /// Clock error of each node at most.
    pub(crate) skew_ms: u64,
    pub(crate) mutation: Option<Mutation>,
}

impl Plan {
    /// Draws a plan; about one run in eight is calm from the start.
    pub(crate) fn draw(seed: u64, validators: usize, target: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let quiet = random.chance(125);
        let mut often = |permille: u64| !quiet && random.chance(permille);
        let (lossy, doubling, split, crashing) = (often(600), often(400), often(350), often(500));
        let (blackout, restore, outage, flaky) = (often(120), often(150), often(250), often(250));
        // Four validators bear one that is faulty for good, not two.
        let diverging = often(80) && !restore;
        let lying = often(200) && !restore && !diverging && validators >= 4;
        let faulty = |on: bool, value: u64| if on { value } else { 0 };
        let node = random.between(0, validators as u64 - 1) as usize;
        Self {
            seed,
            validators,
            target,
            depth: random.between(1, 4),
            storm_ms: if quiet { 0 } else { random.between(500, 8_000) },
            calm_ms: 180_000,
            drop_permille: faulty(lossy, random.between(10, 250)),
            duplicate_permille: faulty(doubling, random.between(10, 200)),
            delay_ms: random.pick(&[2, 20, 120]),
            partitions: faulty(split, random.between(1, 3)),
            crashes: faulty(crashing, random.between(1, 8)),
            blackout,
            restore: restore && validators > 1,
            signer_ms: (0..validators).map(|_| random.pick(&[1, 1, 20, 200])).collect(),
            outages: faulty(outage, random.between(1, 3)),
            sign_fail_permille: faulty(flaky, random.between(20, 300)),
            diverge: (diverging && validators > 1).then(|| (node, random.between(1, 12))),
            babbler: lying.then_some(node),
            rotate: validators == 7 && !diverging,
            crash_at: None,
            skew_ms: random.pick(&[0, 50, 400]),
            mutation: None,
        }
    }
}

impl Plan {
    /// No fault at all.
    pub(crate) fn calm(seed: u64, validators: usize, target: u64) -> Self {
        Self {
            storm_ms: 0,
            delay_ms: 5,
            drop_permille: 0,
            duplicate_permille: 0,
            partitions: 0,
            crashes: 0,
            blackout: false,
            restore: false,
            signer_ms: vec![1; validators],
            outages: 0,
            sign_fail_permille: 0,
            diverge: None,
            babbler: None,
            skew_ms: 0,
            ..Self::draw(seed, validators, target)
        }
    }
}
