//! The sign-once guard of a simulated machine: its claims are durable before the device is asked.
//!
//! A claim whose signature has not come back may still be on its way to the disk: a crash keeps or loses it, in order.

use bixi_types::H256;
use bixi_types::ports::{SignError, Statement};

use crate::message::{Mark, Step};

/// What the guard remembers: the last statement of each lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes {
    ordering: Option<(Mark, Vec<u8>)>,
    checkpoint: Option<(u64, H256)>,
}

/// The guard beside the device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    lanes: Lanes,
    durable: Lanes,
    /// Claims whose signature is not out, by ticket, with the lanes after each.
    pending: Vec<(u64, Lanes)>,
    tickets: u64,
    /// Lets everything through.
    skipped: bool,
}

impl Guard {
    pub(crate) fn new(skipped: bool) -> Self {
        Self { skipped, ..Self::default() }
    }

    /// Records and allows the statement, or refuses it; the bytes are what is to be signed, the ticket names the claim.
    pub(crate) fn allow(
        &mut self,
        statement: &Statement,
        header_hash: Option<H256>,
    ) -> Result<(u64, Vec<u8>), SignError> {
        let bytes = match statement {
            Statement::Proposal(proposal) => {
                let mark = Mark { height: proposal.height, round: proposal.round, step: Step::Propose };
                self.claim_order(mark, proposal.sign_bytes())
            }
            Statement::Vote(vote) => self.claim_order(Mark::of_vote(vote), vote.sign_bytes()),
            Statement::Checkpoint(header) => {
                self.claim_checkpoint(header.number as u64, header_hash.expect("executed here"))
            }
        }?;
        self.tickets += 1;
        self.pending.push((self.tickets, self.lanes.clone()));
        Ok((self.tickets, bytes))
    }

    fn claim_order(&mut self, mark: Mark, bytes: Vec<u8>) -> Result<Vec<u8>, SignError> {
        let refused = self.lanes.ordering.as_ref().is_some_and(|(last, signed)| mark <= *last && *signed != bytes);
        if refused && !self.skipped {
            return Err(SignError::Conflict(format!("{mark:?}")));
        }
        self.lanes.ordering = Some((mark, bytes.clone()));
        Ok(bytes)
    }

    fn claim_checkpoint(&mut self, height: u64, hash: H256) -> Result<Vec<u8>, SignError> {
        let last = self.lanes.checkpoint;
        let refused = last.is_some_and(|(last, signed)| height <= last && (height, hash) != (last, signed));
        if refused && !self.skipped {
            return Err(SignError::Conflict(format!("checkpoint {height}")));
        }
        self.lanes.checkpoint = Some((height, hash));
        Ok(hash.0.to_vec())
    }

    /// The highest place of the ordering lane it allowed; one that is skipped tells nothing.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.lanes.ordering.as_ref().filter(|_| !self.skipped).map(|(mark, _)| *mark)
    }

    /// The device answered: the claim, and all before it, had reached the disk.
    pub(crate) fn answered(&mut self, ticket: u64) {
        let Some(place) = self.pending.iter().position(|(pending, _)| *pending == ticket) else { return };
        self.durable = self.pending.drain(..=place).next_back().expect("just found").1;
    }

    /// The power goes: of the claims without a signature the first `kept` had reached the disk. Returns how many were lost.
    pub(crate) fn crash(&mut self, kept: usize) -> usize {
        let lost = self.pending.len().saturating_sub(kept);
        self.pending.truncate(kept);
        if let Some((_, lanes)) = self.pending.drain(..).next_back() {
            self.durable = lanes;
        }
        self.lanes = self.durable.clone();
        lost
    }

    /// What a copy of the guard's file holds.
    pub(crate) fn copy(&self) -> Lanes {
        self.durable.clone()
    }

    /// An old copy is put in the place of the file.
    pub(crate) fn restore(&mut self, copy: Lanes) {
        (self.lanes, self.durable) = (copy.clone(), copy);
        self.pending.clear();
    }
}
