//! What officers do to a guard, each by one durable rewrite of its file: retire it, raise it to another guard's marks, have it take
//! another checkpoint than the one it has signed.
//!
//! Invariants:
//! - a retired guard grants nothing, for ever; no copy of a key it watched over is lost with it, because its marks leave it first;
//! - raising never lowers: every mark of the guard lies below the one it is raised to, or is that very statement;
//! - an overruling names what stands there and is the next one of this guard: none is taken twice, and none of another guard's state.

use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;

use super::lane::{Lanes, Verdict};
use super::{Claim, Guard, GuardError, Inner, Position};

/// Another digest for a checkpoint that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overruling {
    /// Height of the checkpoint.
    pub height: u64,
    /// What the guard must remember there.
    pub old: [u8; 32],
    /// What it allows from then on, in its place.
    pub new: [u8; 32],
}

/// The statement at the mark of a lane, and its signature, if it was stored.
pub type Mark = (Claim, Option<SignatureBytes>);

impl Guard {
    /// Ends all grants, durably and for good. Retiring again is nothing new.
    ///
    /// # Errors
    /// When it could not be made durable; the guard then grants nothing until it is opened again.
    pub fn retire(&self) -> Result<(), GuardError> {
        let mut inner = self.lock();
        let mut lanes = inner.lanes.clone();
        lanes.standing.is_retired = true;
        inner.rewrite(lanes)
    }

    /// Whether it was retired.
    pub fn is_retired(&self) -> bool {
        self.lock().lanes.standing.is_retired
    }

    /// How often checkpoints were overruled.
    pub fn overrulings(&self) -> u64 {
        self.lock().lanes.standing.overrulings
    }

    /// The statement at the mark of each lane of a key.
    pub fn mark_statements(&self, key: &NodeId) -> Vec<Mark> {
        let inner = self.lock();
        let marks: Vec<Position> = inner.lanes.marks(key).collect();
        inner.lanes.entries().filter(|(claim, _)| claim.key == *key && marks.contains(&claim.position)).collect()
    }

    /// The digest that was claimed for a checkpoint, if it is remembered.
    pub fn checkpoint(&self, key: &NodeId, height: u64) -> Option<[u8; 32]> {
        self.lock().lanes.digest(key, Position::Checkpoint { height })
    }

    /// Takes other digests for checkpoints, durably: all or none. `number` must be that of the next overruling, counted from 1.
    ///
    /// # Errors
    /// [`GuardError::Conflict`] when something else stands at a height than the overruling says; [`GuardError::Overruled`] for a number
    /// that is not the next; the disk's.
    pub fn overrule(&self, key: &NodeId, number: u64, changes: &[Overruling]) -> Result<(), GuardError> {
        let mut inner = self.lock();
        self.expect_in_service(&inner)?;
        let mut lanes = inner.lanes.clone();
        let next = lanes.standing.overrulings + 1;
        if number != next {
            return Err(GuardError::Overruled { path: self.path.clone(), number, next });
        }
        for Overruling { height, old, new } in changes {
            let position = Position::Checkpoint { height: *height };
            if !lanes.exchange(key, position, old, *new) {
                let reason =
                    "the guard remembers another statement there than the one to be overruled, or none".to_owned();
                return Err(GuardError::Conflict { position, reason });
            }
        }
        lanes.standing.overrulings = next;
        inner.rewrite(lanes)
    }

    /// Raises the lanes of a key to the marks of another guard, durably: all or none.
    ///
    /// # Errors
    /// [`GuardError::Conflict`] when a mark of this guard does not lie below; the disk's.
    pub fn raise(&self, key: &NodeId, marks: &[Mark]) -> Result<(), GuardError> {
        let mut inner = self.lock();
        self.expect_in_service(&inner)?;
        let mut lanes = inner.lanes.clone();
        for position in inner.lanes.marks(key) {
            let reaches = |(claim, _): &Mark| claim.position.is_same_lane(position) && claim.position >= position;
            if !marks.iter().any(reaches) {
                let reason =
                    format!("this guard stands at {position} already, and nothing it is to be raised to reaches that");
                return Err(GuardError::Conflict { position, reason });
            }
        }
        for (claim, signature) in marks {
            raise_to(&mut lanes, claim, *signature).map_err(|reason| super::conflict(claim, reason))?;
        }
        inner.rewrite(lanes)
    }

    pub(super) fn expect_in_service(&self, inner: &Inner) -> Result<(), GuardError> {
        match inner.lanes.standing.is_retired {
            true => Err(GuardError::Retired { path: self.path.clone() }),
            false => Ok(()),
        }
    }
}

fn raise_to(lanes: &mut Lanes, claim: &Claim, signature: Option<SignatureBytes>) -> Result<(), String> {
    match lanes.judge(claim) {
        Verdict::Fresh if lanes.has_room_for(&claim.key) => assert!(lanes.claim(claim), "a claim judged fresh enters"),
        Verdict::Fresh => return Err("the guard watches over too many keys".to_owned()),
        Verdict::Repeat(_) => {}
        Verdict::Contradiction => return Err("another statement was signed here".to_owned()),
        Verdict::Below(mark) => return Err(format!("this guard stands higher, at {mark}")),
    }
    if let Some(signature) = signature {
        assert!(lanes.store(claim, signature), "the claim stands there");
    }
    Ok(())
}

impl Inner {
    /// Durable first, then in memory.
    fn rewrite(&mut self, lanes: Lanes) -> Result<(), GuardError> {
        self.journal.compact(&lanes)?;
        self.lanes = lanes;
        Ok(())
    }
}
