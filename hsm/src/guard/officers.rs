//! Officers have a guard take another checkpoint than the one it has signed, by one durable rewrite of its file.
//!
//! Invariant: an overruling names what stands there and is the next one of this validator, whose number moves with its marks: none
//! is taken twice, and none of another guard's state.

use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;

use super::lane::Lanes;
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
        self.expect_undoubted(&inner)?;
        self.expect_in_service(&inner, key)?;
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
}

impl Inner {
    /// Durable first, then in memory.
    pub(super) fn rewrite(&mut self, mut lanes: Lanes) -> Result<(), GuardError> {
        lanes.changes += 1;
        self.journal.compact(&lanes)?;
        self.lanes = lanes;
        Ok(())
    }
}
