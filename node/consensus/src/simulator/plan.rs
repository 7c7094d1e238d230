//! What one run does to the nodes.

use super::twins::{SCENE_MS, TwinGuard, Twins};
use super::{Mutation, Random};

/// A crash at a chosen point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrashAt {
    /// Effects of the first node until it happens.
    pub(crate) effect: u64,
    /// Unflushed log records that reached the disk anyway.
    pub(crate) kept: usize,
    /// Whether all nodes lose power.
    pub(crate) all: bool,
}

/// What happens to the disk of one node while it is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// The last durable records of the ordering log are damaged, and dropped as if torn.
    LostTail,
    /// An old copy of the ordering log comes back.
    OldLog,
    /// An old copy of ordering log and ledger comes back; the guard is kept elsewhere.
    OldData,
    /// An old copy of the guard comes back.
    OldGuard,
    /// An old copy of everything comes back: only the other validators remember.
    OldEverything,
}

impl DiskFault {
    pub(crate) const ALL: [Self; 5] =
        [Self::LostTail, Self::OldLog, Self::OldData, Self::OldGuard, Self::OldEverything];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LostTail => "disk: lost tail",
            Self::OldLog => "disk: old log",
            Self::OldData => "disk: old log and ledger",
            Self::OldGuard => "disk: old guard",
            Self::OldEverything => "disk: old everything",
        }
    }
}

/// A clock that is far off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BadClock {
    pub(crate) node: usize,
    /// Furthest it is off, either way.
    pub(crate) off_ms: u64,
    pub(crate) drift_permille: i64,
    /// Times it is set to something else.
    pub(crate) jumps: u64,
}

/// Faults and sizes of one run, drawn from its seed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Weight of each validator.
    pub(crate) weights: Vec<u64>,
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
    /// A node comes back with another disk than it left.
    pub(crate) disk: Option<(usize, DiskFault)>,
    /// Milliseconds per signature of each node.
    pub(crate) signer_ms: Vec<u64>,
    /// Device outages.
    pub(crate) outages: u64,
    /// Signatures that fail, in a thousand.
    pub(crate) sign_fail_permille: u64,
    /// A node that executes wrongly from this height on.
    pub(crate) diverge: Option<(usize, u64)>,
    /// Nodes whose messages are lies, well signed, in a third of the cases.
    pub(crate) liars: Vec<usize>,
    pub(crate) twins: Option<Twins>,
    pub(crate) clocks: Vec<BadClock>,
    /// A node whose parameters are not those of the others.
    pub(crate) odd: Option<usize>,
    /// One validator in turn is left out of the set for three heights.
    pub(crate) rotate: bool,
    /// The first node (or all of them) loses power at exactly this effect.
    pub(crate) crash_at: Option<CrashAt>,
    /// Clock error of each node at most.
    pub(crate) skew_ms: u64,
    pub(crate) mutation: Option<Mutation>,
}

/// Nodes of at most a third of the weight, one at least when that is possible.
pub(crate) fn faulty(random: &mut Random, weights: &[u64]) -> Vec<usize> {
    let mut left = (weights.iter().sum::<u64>() - 1) / 3;
    let first = random.between(0, weights.len() as u64 - 1) as usize;
    let mut nodes = Vec::new();
    for node in (0..weights.len()).map(|step| (first + step) % weights.len()) {
        if weights[node] <= left {
            left -= weights[node];
            nodes.push(node);
        }
    }
    nodes
}

impl Plan {
    pub(crate) fn validators(&self) -> usize {
        self.weights.len()
    }

    /// Draws a plan of many small faults; about one run in eight is calm from the start.
    pub(crate) fn draw(seed: u64, validators: usize, target: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let quiet = random.chance(125);
        let mut often = |permille: u64| !quiet && random.chance(permille);
        let (lossy, doubling, split, crashing) = (often(600), often(400), often(350), often(500));
        let (blackout, restore, outage, flaky) = (often(120), often(150), often(250), often(250));
        // Four validators bear one that is faulty for good, not two.
        let diverging = often(80) && !restore;
        let lying = often(200) && !restore && !diverging && validators >= 4;
        let amount = |on: bool, value: u64| if on { value } else { 0 };
        let node = random.between(0, validators as u64 - 1) as usize;
        Self {
            seed,
            weights: vec![1; validators],
            target,
            depth: random.between(1, 4),
            storm_ms: if quiet { 0 } else { random.between(500, 8_000) },
            calm_ms: 180_000,
            drop_permille: amount(lossy, random.between(10, 250)),
            duplicate_permille: amount(doubling, random.between(10, 200)),
            delay_ms: random.pick(&[2, 20, 120]),
            partitions: amount(split, random.between(1, 3)),
            crashes: amount(crashing, random.between(1, 8)),
            blackout,
            disk: (restore && validators > 1).then_some((node, DiskFault::OldData)),
            signer_ms: (0..validators).map(|_| random.pick(&[1, 1, 20, 200])).collect(),
            outages: amount(outage, random.between(1, 3)),
            sign_fail_permille: amount(flaky, random.between(20, 300)),
            diverge: (diverging && validators > 1).then(|| (node, random.between(1, 12))),
            liars: if lying { vec![node] } else { Vec::new() },
            twins: None,
            clocks: Vec::new(),
            odd: None,
            rotate: validators == 7 && !diverging,
            crash_at: None,
            skew_ms: random.pick(&[0, 50, 400]),
            mutation: None,
        }
    }

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
            disk: None,
            signer_ms: vec![1; validators],
            outages: 0,
            sign_fail_permille: 0,
            diverge: None,
            liars: Vec::new(),
            rotate: false,
            skew_ms: 0,
            ..Self::draw(seed, validators, target)
        }
    }

    /// A scenario of twins, and whole networks after it.
    pub(crate) fn twins(seed: u64, validators: usize, target: u64, twins: Twins) -> Self {
        let storm_ms = (twins.scenes.len() as u64 + 1) * SCENE_MS;
        Self { storm_ms, delay_ms: 20, twins: Some(twins), ..Self::calm(seed, validators, target) }
    }

    /// Validators that may contradict themselves.
    pub(crate) fn byzantine(&self) -> Vec<usize> {
        let twins = self.twins.iter().filter(|twins| twins.guard == TwinGuard::Separate);
        self.liars.iter().copied().chain(twins.flat_map(|twins| twins.copy_of.clone())).collect()
    }

    /// Nothing but the fault of one disk happens, so that every message of that node reached all others, who remember it.
    pub(crate) fn is_witnessed(&self) -> bool {
        let whole = self.drop_permille == 0 && self.partitions == 0 && self.crashes == 0 && !self.blackout;
        whole && self.byzantine().is_empty() && self.twins.is_none()
    }
}

/// The plans of the campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Loss, delay, crashes, partitions, outages: [`Plan::draw`].
    Storm,
    Twins,
    Lies,
    Disks,
    Clocks,
    Sizes,
    Parameters,
    /// Several of the above at once.
    Mixed,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] =
        [Self::Storm, Self::Twins, Self::Lies, Self::Disks, Self::Clocks, Self::Sizes, Self::Parameters, Self::Mixed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Storm => "storm",
            Self::Twins => "twins",
            Self::Lies => "lies",
            Self::Disks => "disks",
            Self::Clocks => "clocks",
            Self::Sizes => "sizes",
            Self::Parameters => "parameters",
            Self::Mixed => "mixed",
        }
    }

    /// The plan of a seed.
    pub(crate) fn draw(self, seed: u64, target: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x1e7e1 ^ ((self as u64) << 40));
        let random = &mut random;
        let few = random.pick(&[4, 4, 4, 7]);
        match self {
            // Four validators mostly; one and seven in between.
            Self::Storm => Plan::draw(seed, random.pick(&[4, 4, 4, 4, 4, 4, 1, 7]), target),
            Self::Twins => {
                let validators = random.pick(&[4, 4, 7, 10]);
                let doubled = faulty(random, &vec![1; validators]);
                Plan::twins(seed, validators, target, Twins::sample(random, validators, &doubled))
            }
            Self::Lies => {
                let liars = faulty(random, &vec![1; few]);
                let (drop_permille, crashes) = (random.pick(&[0, 0, 50]), random.between(1, 4));
                Plan { storm_ms: 8_000, drop_permille, crashes, liars, delay_ms: 20, ..Plan::calm(seed, few, target) }
            }
            Self::Disks => disks(random, seed, few, target),
            Self::Clocks => clocks(random, seed, few, target),
            Self::Sizes => sizes(random, seed, target),
            Self::Parameters => {
                let odd = Some(random.between(0, few as u64 - 1) as usize);
                let drop_permille = random.pick(&[0, 20]);
                Plan { storm_ms: 6_000, odd, drop_permille, delay_ms: 20, ..Plan::calm(seed, few, target) }
            }
            Self::Mixed => mixed(random, seed, few, target),
        }
    }
}

/// Half of the disks fail in an otherwise quiet chain, where even a whole old copy must do no harm.
fn disks(random: &mut Random, seed: u64, validators: usize, target: u64) -> Plan {
    let node = random.between(0, validators as u64 - 1) as usize;
    let fault = random.pick(&DiskFault::ALL);
    let quiet = random.chance(500);
    let crashes = if quiet { 0 } else { random.between(2, 8) };
    let (blackout, drop_permille) = (!quiet && random.chance(300), if quiet { 0 } else { random.pick(&[0, 100]) });
    let calm = Plan::calm(seed, validators, target);
    let delay_ms = random.pick(&[5, 20, 60]);
    Plan { storm_ms: 6_000, crashes, blackout, drop_permille, delay_ms, disk: Some((node, fault)), ..calm }
}

fn clocks(random: &mut Random, seed: u64, validators: usize, target: u64) -> Plan {
    let nodes = faulty(random, &vec![1; validators]);
    let clock = |node: &usize| BadClock {
        node: *node,
        off_ms: random.pick(&[5_000, 60_000, 600_000, 86_400_000]),
        drift_permille: random.pick(&[0, 0, -200, -20, 20, 200]),
        jumps: random.between(0, 4),
    };
    let clocks = nodes.iter().map(clock).collect();
    Plan { storm_ms: 8_000, clocks, skew_ms: 400, ..Plan::calm(seed, validators, target) }
}

fn sizes(random: &mut Random, seed: u64, target: u64) -> Plan {
    let validators = random.pick(&[4, 7, 16, 16, 31]);
    let weights = (0..validators).map(|_| random.pick(&[1, 1, 2, 3, 5])).collect();
    let target = if validators > 7 { target.min(3) } else { target };
    let crashes = random.between(0, 3);
    let (drop_permille, partitions) = (random.pick(&[0, 50]), random.between(0, 1));
    let storm_ms = if validators > 7 { 1_500 } else { 4_000 };
    Plan { storm_ms, weights, crashes, drop_permille, partitions, ..Plan::calm(seed, validators, target) }
}

fn mixed(random: &mut Random, seed: u64, validators: usize, target: u64) -> Plan {
    let unfit = faulty(random, &vec![1; validators]);
    let mut plan = Plan { disk: None, diverge: None, liars: Vec::new(), ..Plan::draw(seed, validators, target) };
    plan.storm_ms = plan.storm_ms.max(3_000);
    plan.rotate = false;
    for node in unfit {
        match random.between(0, 4) {
            0 | 1 => plan.liars.push(node),
            2 => plan.odd = Some(node),
            3 => plan.disk = Some((node, random.pick(&DiskFault::ALL))),
            _ => plan.clocks.push(BadClock { node, off_ms: 300_000, drift_permille: 0, jumps: 2 }),
        }
    }
    plan
}
