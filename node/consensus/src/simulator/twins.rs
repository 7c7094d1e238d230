//! Twins: a validator that exists several times with one key, and networks cut anew at every turn.
//!
//! After "Twins: BFT Systems Made Robust" (Bano et al.): honest code, run twice under one key and kept apart by the network,
//! behaves as a byzantine validator does, so scenarios need no invented lies. A scenario is a sequence of *turns* (height +
//! round, which is also what chooses the proposer), each with a cut of the machines into sides that hear only each other. Who
//! the twin is relative to the turn enumerates the leaders. A turn that got nowhere is made whole after [`SCENE_MS`], and
//! after the last scene everything is.

use super::Random;

/// How long the messages of a turn stay cut off.
pub(crate) const SCENE_MS: u64 = 4_000;
/// Cuts of five machines (four validators, one twin) into at most two sides.
const CUTS: u64 = 16;

/// Whether the copies of a validator share what keeps them from contradicting each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TwinGuard {
    /// One guard beside one device, as when a node is started twice: no two statements in one place.
    Shared,
    /// A guard each, as when a key was copied: the twins contradict each other and do not mind.
    Separate,
}

/// One scenario.
#[derive(Debug, Clone)]
pub(crate) struct Twins {
    /// The validator behind each additional machine.
    pub(crate) copy_of: Vec<usize>,
    pub(crate) guard: TwinGuard,
    /// Side of every machine, turn by turn.
    pub(crate) scenes: Vec<Vec<u8>>,
}

impl Twins {
    /// How many scenarios of four validators, one of them twice, there are with so many turns.
    pub(crate) fn count(turns: u32) -> u64 {
        2 * 4 * CUTS.pow(turns)
    }

    /// One of them.
    pub(crate) fn nth(index: u64, turns: u32) -> Self {
        let guard = if index.is_multiple_of(2) { TwinGuard::Separate } else { TwinGuard::Shared };
        let twin = (index / 2 % 4) as usize;
        let cuts = (0..turns).map(|turn| index / 8 / CUTS.pow(turn) % CUTS);
        // The first machine is always on side 0.
        let sides = |cut: u64| (0..5).map(|machine| (cut << 1 >> machine & 1) as u8).collect();
        Self { copy_of: vec![twin], guard, scenes: cuts.map(sides).collect() }
    }

    /// A scenario of `validators` of which `doubled` exist two or three times.
    pub(crate) fn sample(random: &mut Random, validators: usize, doubled: &[usize]) -> Self {
        let guard = random.pick(&[TwinGuard::Shared, TwinGuard::Separate]);
        let copies = random.between(1, 2);
        let copy_of: Vec<usize> = (0..copies).flat_map(|_| doubled.iter().copied()).collect();
        let machines = validators + copy_of.len();
        let turns = random.between(2, 8);
        let scene = |random: &mut Random| {
            let sides = random.between(1, 3);
            (0..machines).map(|_| random.between(0, sides - 1) as u8).collect()
        };
        Self { copy_of, guard, scenes: (0..turns).map(|_| scene(random)).collect() }
    }

    /// Whether messages of `turn` pass between two machines.
    pub(crate) fn hears(&self, turn: u64, from: usize, to: usize) -> bool {
        let scene = turn.checked_sub(1).and_then(|index| self.scenes.get(index as usize));
        scene.is_none_or(|sides| sides[from] == sides[to])
    }
}
