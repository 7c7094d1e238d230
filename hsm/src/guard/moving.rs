//! A validator moves from host to host, each step by one durable rewrite of a guard's file.
//!
//! ```text
//! new host                       old host                         new host
//! await ─ draws a ticket ──────▶ retire for the ticket, export ──▶ import: raise to the marks, in service again
//! grants nothing                 grants nothing with this key      (waiting ends with this very ticket only)
//! ```
//!
//! Invariants:
//! - a guard retired for a key grants nothing with it, until the marks of the guard that had it last are imported in their turn;
//! - marks leave for one ticket only, so at most one guard begins where another ended;
//! - a guard that waits grants nothing, and nothing but the marks for its ticket ends that;
//! - raising never lowers: every mark of the guard lies below the one it is raised to, or is that very statement;
//! - a guard signs on the host where it signed first: a copied directory starts nowhere else by itself.

use std::collections::btree_map::Entry;

use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;

use super::lane::{Lanes, Verdict};
use super::standing::{HostId, Ticket};
use super::{Claim, Guard, GuardError, Inner, Mark};

impl Guard {
    /// Ends all grants until marks for a ticket are [imported](Self::import) on `host`, and returns the ticket: `fresh`, or the one that was
    /// drawn before.
    ///
    /// # Errors
    /// [`GuardError::Retired`] when a version retired it that signed for no tickets; when it could not be made durable, and the guard then
    /// grants nothing until it is opened again.
    pub fn await_import(&self, fresh: Ticket, host: Option<HostId>) -> Result<Ticket, GuardError> {
        let mut inner = self.lock();
        if inner.lanes.standing.all_retired {
            return Err(GuardError::Retired { path: self.path.clone() });
        }
        let mut lanes = inner.lanes.clone();
        let ticket = *lanes.standing.awaiting.get_or_insert(fresh);
        lanes.standing.host = host;
        inner.rewrite(lanes)?;
        Ok(ticket)
    }

    /// Ends all grants with a key, durably and for good: its marks may leave for that ticket. Again for the same ticket is nothing new.
    ///
    /// # Errors
    /// [`GuardError::RetiredFor`] for another ticket, [`GuardError::Awaiting`] for a guard whose own marks are not the last word; the disk's.
    pub fn retire(&self, key: &NodeId, ticket: Ticket) -> Result<(), GuardError> {
        let mut inner = self.lock();
        if inner.lanes.standing.awaiting.is_some() {
            return Err(GuardError::Awaiting { path: self.path.clone() });
        }
        let mut lanes = inner.lanes.clone();
        match lanes.standing.retired.entry(*key) {
            Entry::Occupied(earlier) if *earlier.get() == ticket => return Ok(()),
            Entry::Occupied(earlier) => {
                let ticket = earlier.get().to_string()[..8].to_owned();
                return Err(GuardError::RetiredFor { path: self.path.clone(), ticket });
            }
            Entry::Vacant(place) => *place.insert(ticket),
        };
        inner.rewrite(lanes)
    }

    /// Whether it grants nothing with this key any more.
    pub fn is_retired(&self, key: &NodeId) -> bool {
        let standing = &self.lock().lanes.standing;
        standing.all_retired || standing.retired.contains_key(key)
    }

    /// Whether it waits for another guard's marks.
    pub fn is_awaiting(&self) -> bool {
        self.lock().lanes.standing.awaiting.is_some()
    }

    /// Refuses to begin where this guard would grant `key` nothing, or is not at home; a guard that never signed is at home from now on.
    ///
    /// # Errors
    /// Says which; the disk's.
    pub fn expect_ready(&self, key: &NodeId, host: Option<HostId>) -> Result<(), GuardError> {
        let mut inner = self.lock();
        self.expect_in_service(&inner, key)?;
        if !inner.lanes.has_room_for(key) {
            return Err(GuardError::TooManyKeys { path: self.path.clone() });
        }
        self.expect_home(&inner, host)?;
        if inner.lanes.standing.host == host {
            return Ok(());
        }
        let mut lanes = inner.lanes.clone();
        lanes.standing.host = host;
        inner.rewrite(lanes)
    }

    /// Makes `host` the one on which it signs.
    ///
    /// # Errors
    /// The disk's.
    pub fn adopt(&self, host: Option<HostId>) -> Result<(), GuardError> {
        let mut inner = self.lock();
        let mut lanes = inner.lanes.clone();
        lanes.standing.host = host;
        inner.rewrite(lanes)
    }

    /// Refuses what only the guard's own host may do.
    ///
    /// # Errors
    /// [`GuardError::OtherHost`].
    pub fn expect_at_home(&self, host: Option<HostId>) -> Result<(), GuardError> {
        self.expect_home(&self.lock(), host)
    }

    /// Raises the lanes of a key to the marks of another guard, durably: all or none. It grants again from then on.
    ///
    /// # Errors
    /// [`GuardError::NotAwaited`] when they are not for the ticket that this guard drew; [`GuardError::Conflict`] when a mark of this guard
    /// does not lie below; the disk's.
    pub fn import(&self, key: &NodeId, ticket: Ticket, overrulings: u64, marks: &[Mark]) -> Result<(), GuardError> {
        let mut inner = self.lock();
        let refuse = |reason| Err(GuardError::NotAwaited { path: self.path.clone(), reason });
        match inner.lanes.standing.awaiting {
            Some(awaited) if awaited == ticket => {}
            Some(_) => return refuse("the marks are signed for another ticket than the one this guard waits for"),
            None => {
                return refuse(
                    "it waits for no marks, or has them: `bixi hsm guard await-import` begins a move to this host",
                );
            }
        }
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
        let standing = &mut lanes.standing;
        standing.awaiting = None;
        standing.retired.remove(key);
        standing.overrulings = standing.overrulings.max(overrulings);
        inner.rewrite(lanes)
    }

    pub(super) fn expect_in_service(&self, inner: &Inner, key: &NodeId) -> Result<(), GuardError> {
        let standing = &inner.lanes.standing;
        if standing.all_retired || standing.retired.contains_key(key) {
            return Err(GuardError::Retired { path: self.path.clone() });
        }
        if standing.awaiting.is_some() {
            return Err(GuardError::Awaiting { path: self.path.clone() });
        }
        Ok(())
    }

    fn expect_home(&self, inner: &Inner, host: Option<HostId>) -> Result<(), GuardError> {
        let reason = match (inner.lanes.standing.host, host) {
            (Some(home), Some(here)) if home != here => "by /etc/machine-id",
            (Some(_), None) => "which has no /etc/machine-id to be known by",
            _ => return Ok(()),
        };
        Err(GuardError::OtherHost { path: self.path.clone(), reason })
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
