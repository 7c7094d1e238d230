//! The rule of one lane, as pure code: what may be signed at which position.

use std::collections::BTreeMap;

use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;
use borsh::{BorshDeserialize, BorshSerialize};

use super::counting::Note;
use super::standing::{Standing, Ticket};

/// Statements a lane remembers below its mark, so that a repeated request gets its stored signature.
pub(super) const HISTORY_MAX: usize = 256;
/// Keys one guard watches over: today's and those that rotations leave behind, of which little is kept.
pub(super) const KEYS_MAX: usize = 256;

/// A step of one round, in the order in which a correct validator signs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Step {
    /// The round's proposal.
    Proposal,
    /// First round of voting.
    Prevote,
    /// Second round of voting.
    Precommit,
}

/// Where in a lane a statement stands. Positions of different lanes are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Position {
    /// Lane "ordering".
    Ordering {
        /// Height.
        height: u64,
        /// Round within the height.
        round: u32,
        /// Step within the round.
        step: Step,
    },
    /// Lane "checkpoint".
    Checkpoint {
        /// Height of the executed header.
        height: u64,
    },
}

impl Position {
    /// Whether both stand in one lane, so that they can be compared.
    pub(super) fn is_same_lane(self, other: Self) -> bool {
        self.lane() == other.lane()
    }

    fn lane(self) -> Lane {
        match self {
            Self::Ordering { .. } => Lane::Ordering,
            Self::Checkpoint { .. } => Lane::Checkpoint,
        }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ordering { height, round, step } => write!(f, "height {height} round {round} {step:?}"),
            Self::Checkpoint { height } => write!(f, "checkpoint {height}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Lane {
    Ordering,
    Checkpoint,
}

/// A statement as the guard sees it: whose key, where, and the digest the device would sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Claim {
    /// The key.
    pub key: NodeId,
    /// Its place.
    pub position: Position,
    /// e = SM3(Z ‖ M).
    pub digest: [u8; 32],
}

/// What the lane says to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Above everything signed so far.
    Fresh,
    /// The statement already stands there; its signature, if one was stored.
    Repeat(Option<SignatureBytes>),
    /// Another statement stands there.
    Contradiction,
    /// Below the mark, and not among the remembered statements.
    Below(Position),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    digest: [u8; 32],
    signature: Option<SignatureBytes>,
}

/// All lanes of all keys of one guard, and how the guard stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lanes {
    histories: BTreeMap<(NodeId, Lane), BTreeMap<Position, Entry>>,
    /// The key of the last claim.
    latest: Option<NodeId>,
    pub(super) standing: Standing,
    /// Read from a guard that was retired before keys were told apart.
    pub(super) retires_all: bool,
    /// What is known of the device's counter.
    pub(super) noted: Option<Note>,
    /// How often something was claimed, or changed by an officer. Files without notes do not keep it.
    pub(super) changes: u64,
}

impl Lanes {
    /// Of a new guard.
    pub(super) fn noting(noted: Option<Note>) -> Self {
        Self { noted, ..Self::default() }
    }

    pub(super) fn judge(&self, claim: &Claim) -> Verdict {
        let Some(history) = self.histories.get(&(claim.key, claim.position.lane())) else { return Verdict::Fresh };
        match history.get(&claim.position) {
            Some(entry) if entry.digest == claim.digest => Verdict::Repeat(entry.signature),
            Some(_) => Verdict::Contradiction,
            None => match history.last_key_value() {
                Some((mark, _)) if *mark > claim.position => Verdict::Below(*mark),
                _ => Verdict::Fresh,
            },
        }
    }

    /// Enters a fresh claim. False when [`Self::judge`] would not have called it fresh.
    #[must_use]
    pub(super) fn claim(&mut self, claim: &Claim) -> bool {
        if self.judge(claim) != Verdict::Fresh {
            return false;
        }
        let history = self.histories.entry((claim.key, claim.position.lane())).or_default();
        history.insert(claim.position, Entry { digest: claim.digest, signature: None });
        while history.len() > HISTORY_MAX {
            history.pop_first();
        }
        self.latest = Some(claim.key);
        self.changes += 1;
        true
    }

    /// Retires every key, where a file says so that did not tell keys apart.
    pub(super) fn retire_all_if_said(&mut self) {
        if std::mem::take(&mut self.retires_all) {
            self.standing.retired = self.histories.keys().map(|(key, _)| (*key, Ticket::UNNAMED)).collect();
            self.standing.retired_unnamed = true;
        }
    }

    /// Whether a key grants nothing any more here.
    pub(super) fn is_retired(&self, key: &NodeId) -> bool {
        let Standing { retired, retired_unnamed, .. } = &self.standing;
        retired.contains_key(key) || (*retired_unnamed && self.marks(key).next().is_none())
    }

    /// Forgets what a key's checkpoint lane holds: officers had it changed where its marks come from.
    pub(super) fn forget_checkpoints(&mut self, key: &NodeId) {
        self.histories.remove(&(*key, Lane::Checkpoint));
    }

    /// Forgets all but the marks of every key other than the last one that claimed: a key that a rotation left behind signs no more, and
    /// whoever asks again for what it signed is refused.
    pub(super) fn forget_left_behind(&mut self) {
        for ((key, _), history) in &mut self.histories {
            while history.len() > 1 && Some(*key) != self.latest {
                history.pop_first();
            }
        }
    }

    /// Stores the signature of an entered claim. False when no such claim stands there.
    #[must_use]
    pub(super) fn store(&mut self, claim: &Claim, signature: SignatureBytes) -> bool {
        let history = self.histories.get_mut(&(claim.key, claim.position.lane()));
        match history.and_then(|history| history.get_mut(&claim.position)) {
            Some(entry) if entry.digest == claim.digest => {
                entry.signature = Some(signature);
                true
            }
            _ => false,
        }
    }

    /// The digest remembered at a place.
    pub(super) fn digest(&self, key: &NodeId, position: Position) -> Option<[u8; 32]> {
        self.histories.get(&(*key, position.lane()))?.get(&position).map(|entry| entry.digest)
    }

    /// Puts another digest in the place of `old`. False when something else is remembered there.
    #[must_use]
    pub(super) fn exchange(&mut self, key: &NodeId, position: Position, old: &[u8; 32], new: [u8; 32]) -> bool {
        let history = self.histories.get_mut(&(*key, position.lane()));
        match history.and_then(|history| history.get_mut(&position)) {
            Some(entry) if entry.digest == *old => {
                *entry = Entry { digest: new, signature: None };
                true
            }
            _ => false,
        }
    }

    /// Whether the claim's place lies below everything its lane still remembers: [`Self::judge`] refuses it from now on.
    pub(super) fn has_forgotten(&self, claim: &Claim) -> bool {
        let history = self.histories.get(&(claim.key, claim.position.lane()));
        history.and_then(|history| history.first_key_value()).is_some_and(|(first, _)| claim.position < *first)
    }

    /// Whether a claim of this key may open new lanes.
    pub(super) fn has_room_for(&self, key: &NodeId) -> bool {
        let mut keys: Vec<_> = self.histories.keys().map(|(key, _)| key).collect();
        keys.dedup();
        keys.contains(&key) || keys.len() < KEYS_MAX
    }

    /// The highest position of each lane of a key.
    pub(super) fn marks<'a>(&'a self, key: &'a NodeId) -> impl Iterator<Item = Position> + 'a {
        self.histories
            .iter()
            .filter(move |((owner, _), _)| owner == key)
            .filter_map(|(_, history)| history.last_key_value().map(|(position, _)| *position))
    }

    /// The highest position of each lane of every key.
    pub(super) fn all_marks(&self) -> impl Iterator<Item = Position> + '_ {
        self.histories.values().filter_map(|history| history.last_key_value().map(|(position, _)| *position))
    }

    /// Everything remembered, in an order that [`Self::claim`] accepts, and the key of the last claim at the end.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Claim, Option<SignatureBytes>)> + '_ {
        let of = move |is_latest: bool| {
            let histories = self.histories.iter().filter(move |((key, _), _)| (Some(*key) == self.latest) == is_latest);
            histories.flat_map(|((key, _), history)| {
                history.iter().map(|(position, entry)| {
                    (Claim { key: *key, position: *position, digest: entry.digest }, entry.signature)
                })
            })
        };
        of(false).chain(of(true))
    }
}

#[cfg(test)]
mod tests;
