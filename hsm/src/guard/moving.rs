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
//! - a guard that waits for a key's marks grants nothing with it, and nothing but the marks for its ticket ends that, on the host that drew it;
//! - raising never lowers: every mark of the guard lies below the one it is raised to, or is that very statement;
//! - a guard signs on the host where it was first started: a copied directory starts nowhere else by itself, where hosts have an identity.

use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;

use super::lane::{Lanes, Verdict};
use super::standing::{HostId, Ticket};
use super::{Claim, Guard, GuardError, Inner, Mark};

/// What another guard had last of a key.
#[derive(Debug, Clone, Copy)]
pub struct Moved<'a> {
    /// The key.
    pub key: &'a NodeId,
    /// The importer's.
    pub ticket: Ticket,
    /// Overrulings that this validator's guards have taken.
    pub overrulings: u64,
    /// The statement at the mark of each lane.
    pub marks: &'a [Mark],
}

impl Guard {
    /// Ends all grants with a key until marks for a ticket are [imported](Self::import) on `host`, and returns the ticket: `fresh`, or the
    /// one that was drawn before on this host.
    ///
    /// # Errors
    /// [`GuardError::SignsHere`] for the guard that signs with this key here; [`GuardError::OtherHost`] for a copy of a guard that waits;
    /// when it could not be made durable, and the guard then grants nothing until it is opened again.
    pub fn await_import(&self, key: &NodeId, fresh: Ticket, host: Option<HostId>) -> Result<Ticket, GuardError> {
        let mut inner = self.lock();
        self.expect_undoubted(&inner)?;
        let standing = &inner.lanes.standing;
        if let Some(ticket) = standing.awaiting.get(key) {
            self.expect_home(&inner, host)?;
            return Ok(*ticket);
        }
        let signs_here = host.is_some() && standing.host == host && inner.lanes.marks(key).next().is_some();
        if signs_here && !inner.lanes.is_retired(key) {
            return Err(GuardError::SignsHere { path: self.path.clone() });
        }
        let mut lanes = inner.lanes.clone();
        lanes.standing.awaiting.insert(*key, fresh);
        lanes.standing.host = host;
        inner.rewrite(lanes)?;
        Ok(fresh)
    }

    /// Ends all grants with a key, durably and for good: its marks may leave for that ticket. Again for the same ticket is nothing new.
    ///
    /// # Errors
    /// [`GuardError::RetiredFor`] for another ticket, [`GuardError::Awaiting`] for a guard whose own marks are not the last word,
    /// [`GuardError::Spent`] for the ticket of a move that has ended, [`GuardError::NeverSigned`]; the disk's.
    pub fn retire(&self, key: &NodeId, ticket: Ticket) -> Result<(), GuardError> {
        let mut inner = self.lock();
        self.expect_undoubted(&inner)?;
        let standing = &inner.lanes.standing;
        let path = || self.path.clone();
        match standing.retired.get(key) {
            Some(earlier) if *earlier == ticket => return Ok(()),
            Some(&Ticket::UNNAMED) => {
                return Err(GuardError::RetiredFor { path: path(), ticket: "whoever had the file".to_owned() });
            }
            Some(earlier) => {
                let digits = earlier.to_string()[..8].to_owned();
                return Err(GuardError::RetiredFor {
                    path: path(),
                    ticket: format!("the ticket that begins with {digits}"),
                });
            }
            None => {}
        }
        if standing.awaiting.contains_key(key) {
            return Err(GuardError::Awaiting { path: path() });
        }
        if standing.spent.contains(&ticket) {
            return Err(GuardError::Spent { path: path() });
        }
        if inner.lanes.marks(key).next().is_none() {
            return Err(GuardError::NeverSigned { path: path() });
        }
        let mut lanes = inner.lanes.clone();
        lanes.standing.retired.insert(*key, ticket);
        inner.rewrite(lanes)
    }

    /// Whether it grants nothing with this key any more.
    pub fn is_retired(&self, key: &NodeId) -> bool {
        self.lock().lanes.is_retired(key)
    }

    /// Whether only an officer's word can tell if it may grant with this key: an earlier version retired it without naming keys, and it has no
    /// marks of this one.
    pub fn is_retired_unnamed(&self, key: &NodeId) -> bool {
        let inner = self.lock();
        inner.lanes.is_retired(key) && !inner.lanes.standing.retired.contains_key(key)
    }

    /// Whether it waits for another guard's marks of this key.
    pub fn is_awaiting(&self, key: &NodeId) -> bool {
        self.lock().lanes.standing.awaiting.contains_key(key)
    }

    /// Refuses to begin where this guard would grant `key` nothing, or is not at home; one that has no home yet has it here from now on,
    /// and the answer is true.
    ///
    /// # Errors
    /// Says which; the disk's.
    pub fn expect_ready(&self, key: &NodeId, host: Option<HostId>) -> Result<bool, GuardError> {
        let mut inner = self.lock();
        self.expect_undoubted(&inner)?;
        self.expect_in_service(&inner, key)?;
        if !inner.lanes.has_room_for(key) {
            return Err(GuardError::TooManyKeys { path: self.path.clone() });
        }
        self.expect_home(&inner, host)?;
        let is_new = inner.lanes.standing.host != host;
        if is_new {
            let mut lanes = inner.lanes.clone();
            lanes.standing.host = host;
            inner.rewrite(lanes)?;
        }
        Ok(is_new)
    }

    /// Makes `host` the one on which it signs, and the only one: a key that was [retired unnamed](Self::is_retired_unnamed) is in service.
    ///
    /// # Errors
    /// The disk's.
    pub fn adopt(&self, host: Option<HostId>) -> Result<(), GuardError> {
        let mut inner = self.lock();
        self.expect_undoubted(&inner)?;
        let mut lanes = inner.lanes.clone();
        lanes.standing.host = host;
        lanes.standing.retired_unnamed = false;
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
    /// [`GuardError::NotAwaited`] when they are not for the ticket that this guard drew, or are none; [`GuardError::OtherHost`] for a copy of
    /// the guard that drew it; [`GuardError::Conflict`] when a mark of this guard does not lie below; the disk's.
    pub fn import(&self, moved: &Moved<'_>, host: Option<HostId>) -> Result<(), GuardError> {
        let Moved { key, ticket, overrulings, marks } = *moved;
        let mut inner = self.lock();
        self.expect_undoubted(&inner)?;
        let refuse = |reason| Err(GuardError::NotAwaited { path: self.path.clone(), reason });
        match inner.lanes.standing.awaiting.get(key) {
            Some(awaited) if *awaited == ticket => {}
            Some(_) => return refuse("the marks are signed for another ticket than the one this guard waits for"),
            None => {
                return refuse(
                    "it waits for no marks, or has them: `bixi hsm guard await-import` begins a move to this host",
                );
            }
        }
        self.expect_home(&inner, host)?;
        if marks.is_empty() {
            return refuse(
                "the export has no marks: it is of a guard that never signed, not of the one that the validator moves from",
            );
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
        if overrulings > lanes.standing.overrulings {
            // What stood there was changed by officers after this guard had seen it: the mark alone is the last word.
            lanes.forget_checkpoints(key);
        }
        for (claim, signature) in marks {
            raise_to(&mut lanes, claim, *signature).map_err(|reason| super::conflict(claim, reason))?;
        }
        let standing = &mut lanes.standing;
        standing.awaiting.remove(key);
        standing.spent.insert(ticket);
        standing.spent.extend(standing.retired.remove(key));
        standing.overrulings = standing.overrulings.max(overrulings);
        inner.rewrite(lanes)
    }

    pub(super) fn expect_in_service(&self, inner: &Inner, key: &NodeId) -> Result<(), GuardError> {
        let standing = &inner.lanes.standing;
        if standing.awaiting.contains_key(key) {
            return Err(GuardError::Awaiting { path: self.path.clone() });
        }
        if inner.lanes.is_retired(key) {
            return Err(GuardError::Retired { path: self.path.clone() });
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
