//! What officers have this service do to its guard: move its marks to another host, take those of another host, take another
//! checkpoint. The audit trail tells of each before it is done and after.
//!
//! No request of the protocol reaches this: whoever calls it holds the device, with the node stopped.

use std::collections::BTreeSet;

use bixi_accel::sm2::Signature;
use bixi_platform::random::OsRandom;
use bixi_platform::secret::Secret;
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::Signer as _;
use bixi_types::{H256, NodeId};

use super::{SigningService, refuse};
use crate::audit::{Durability, Event, Outcome, now_ms};
use crate::gate::Priority;
use crate::guard::export::Export;
use crate::guard::{HostId, Moved, Overruling, Ticket};
use crate::officer::{Approval, Change, Override};
use crate::protocol::{KeyRole, Refusal};

impl SigningService {
    /// Has the trail told that the guard has a home from now on ([`Guard::expect_ready`](crate::Guard::expect_ready)).
    ///
    /// # Errors
    /// When the trail refuses.
    pub fn tell_home(&self) -> Result<(), Refusal> {
        self.tell("guard-home", "at home on this host from now on".to_owned(), None, Outcome::Answered)
    }

    /// Has the guard wait for another one's marks on `host`, signing nothing before, and returns the ticket for which they are to be
    /// exported. Of a guard that waits already it is the same ticket.
    ///
    /// # Errors
    /// When the trail or the guard refuses.
    pub fn await_guard_import(&self, host: Option<HostId>) -> Result<String, Refusal> {
        let fresh =
            OsRandom.array().map_err(|error| Refusal::Storage(format!("the system's random numbers: {error}")))?;
        let node = self.node_id();
        let ticket = self.told("guard-await", "waits for another guard's marks", None, || {
            self.expect_newest()?;
            let ticket = self.guard.await_import(&node, Ticket::new(fresh), host).map_err(refuse)?;
            self.count_change_or_later()?;
            Ok(ticket)
        })?;
        Ok(ticket.text(&self.chain, &node))
    }

    /// Retires the guard for this key, for good, and returns its marks as a file for the holder of a ticket, that the TLS key vouches for.
    /// Of a retired guard the file is made again, for the same ticket only.
    ///
    /// # Errors
    /// For a text that is no ticket of this validator; when `host` is not the guard's; when the trail, the guard or the device refuses, which
    /// also has to count.
    pub fn export_guard(&self, ticket: &str, host: Option<HostId>) -> Result<(Export, Vec<u8>), Refusal> {
        let key = self.tls.as_ref().ok_or(Refusal::NoKey(KeyRole::Tls))?;
        let node = self.node_id();
        self.told("guard-export", "retired, and its marks exported", None, || {
            self.guard.expect_at_home(host).map_err(refuse)?;
            self.expect_newest()?;
            let ticket =
                Ticket::parse(ticket, &self.chain, &node).map_err(|error| Refusal::Malformed(error.to_string()))?;
            self.guard.retire(&node, ticket).map_err(refuse)?;
            // Before the marks leave: the guard as it was is an old copy by then.
            self.count_change()?;
            self.tell("guard-export", format!("retired for ticket {ticket}"), None, Outcome::Answered)?;
            let export = Export {
                chain: self.chain,
                node,
                signer: key.bytes(),
                ticket,
                overrulings: self.guard.overrulings(),
                at_ms: now_ms(),
                marks: self.guard.mark_statements(&node),
            };
            let signature = self.sign_verified(key, &key.digest(&export.sign_bytes()), Priority::Keeping)?;
            let file = export.encode(&SignatureBytes(signature));
            Ok((export, file))
        })
    }

    /// Raises the guard to the marks of an export that `signer` vouches for; the service's own TLS key when nobody else is named.
    ///
    /// # Errors
    /// When the file is of another chain, validator, signer or ticket, holds a signature that this validator never made, or would lower a
    /// mark; when `host` is not the one that waits; when trail or guard refuses.
    pub fn import_guard(&self, file: &[u8], signer: Option<[u8; 64]>, host: Option<HostId>) -> Result<Export, Refusal> {
        let fingerprint = Export::fingerprint(file);
        self.told("guard-import", &format!("marks imported from the export {fingerprint}"), None, || {
            let export = self.read_export(file, signer)?;
            let Export { node: key, ticket, overrulings, marks, .. } = &export;
            let moved = Moved { key, ticket: *ticket, overrulings: *overrulings, marks };
            self.expect_newest()?;
            self.guard.import(&moved, host).map_err(refuse)?;
            self.count_change_or_later()?;
            Ok(export)
        })
    }

    /// An export of this validator's that a trusted key vouches for.
    fn read_export(&self, file: &[u8], signer: Option<[u8; 64]>) -> Result<Export, Refusal> {
        let export = Export::decode(file).map_err(|error| Refusal::Malformed(error.to_string()))?;
        super::statement::check_origin(&export.chain, &export.node, &self.chain, &self.node_id())?;
        let trusted = signer.or_else(|| self.tls.as_ref().map(super::SigningKey::bytes));
        if trusted != Some(export.signer) {
            let (signer, fingerprint) = (NodeId(export.signer), Export::fingerprint(file));
            return Err(Refusal::Foreign(format!(
                "the export is signed by {signer}, which is not the key to be trusted; compare with the source's TLS key, and the file's \
                 fingerprint {fingerprint}, then name that key"
            )));
        }
        for (claim, signature) in &export.marks {
            let is_ours = |signature: &SignatureBytes| {
                self.consensus.public.verify_digest(&claim.digest, &Signature(signature.0))
            };
            if !signature.as_ref().is_none_or(is_ours) {
                return Err(Refusal::Foreign(format!(
                    "the export's signature at {} is not this validator's; it was not exported by a guard of its",
                    claim.position
                )));
            }
        }
        Ok(export)
    }

    /// Makes `host` the one on which the guard signs: its old one signs never again.
    ///
    /// # Errors
    /// When the trail or the guard refuses.
    pub fn adopt_guard(&self, host: Option<HostId>) -> Result<(), Refusal> {
        self.told("guard-adopt", "at home on this host from now on", None, || {
            self.expect_newest()?;
            self.guard.adopt(host).map_err(refuse)?;
            self.count_change_or_later()
        })
    }

    /// Takes what may be an old copy of the guard, and the vault beside it, for the newest: every other copy of them is an old one from now on.
    /// How the guard stands besides stays as it is. A device whose counter was removed makes another one, by the word of its owner.
    ///
    /// # Errors
    /// When the trail, the guard or the device refuses.
    pub fn adopt_old_copy(&self, owner_authorization: &Secret) -> Result<(), Refusal> {
        self.told("guard-adopt", "the newest, whatever its device has counted", None, || {
            if self.renew_counter_if_removed(owner_authorization)? {
                self.tell("guard-adopt", "a new counter in the device".to_owned(), None, Outcome::Answered)?;
            }
            self.take_count()
        })
    }

    /// Takes the checkpoints of a statement that two of `officers` approved.
    ///
    /// # Errors
    /// When the statement is of another chain or validator, is not approved, or does not fit what the guard remembers; when trail or
    /// guard refuses.
    pub fn overrule(
        &self,
        statement: &Override,
        approvals: &[Approval],
        officers: &[[u8; 64]],
    ) -> Result<BTreeSet<[u8; 64]>, Refusal> {
        let foreign = |error: String| Refusal::Foreign(error);
        statement.check().map_err(|reason| Refusal::Malformed(reason.to_owned()))?;
        super::statement::check_origin(&statement.chain, &statement.node, &self.chain, &self.node_id())?;
        if self.tls.as_ref().is_some_and(|tls| officers.contains(&tls.bytes())) {
            return Err(foreign(
                "hsm.officers names the node's own TLS key; an officer has a key of his own".to_owned(),
            ));
        }
        let approved = statement.approved_by(officers, approvals).map_err(|error| foreign(error.to_string()))?;
        let names: Vec<String> = approved.iter().map(|officer| NodeId(*officer).to_hex()).collect();
        let changes: Vec<Overruling> = statement.changes.iter().map(|change| self.overruling(change)).collect();
        // Each in an entry of its own: texts of an entry are cut.
        let subjects = names.iter().map(|name| format!("approved by officer {name}"));
        let subjects = subjects.chain(statement.changes.iter().map(|change| {
            let Change { height, old, new } = change;
            format!("checkpoint {height}: header {new} in the place of {old}")
        }));
        let fingerprint = statement.fingerprint();
        for subject in subjects.chain([format!("reason: {}", statement.reason)]) {
            self.tell("guard-override", subject, Some(fingerprint.0), Outcome::Answered)?;
        }
        let subject = format!("override {} of this guard", statement.number);
        self.told("guard-override", &subject, Some(fingerprint.0), || {
            self.expect_newest()?;
            self.guard.overrule(&statement.node, statement.number, &changes).map_err(refuse)?;
            self.count_change_or_later()
        })?;
        Ok(approved)
    }

    /// Whether the guard holds this very header for a height: it was signed, or officers put it in the place of another.
    pub fn stands_for(&self, height: u64, header: &H256) -> bool {
        self.guard.checkpoint(&self.node_id(), height) == Some(self.consensus.digest(&header.0))
    }

    fn overruling(&self, change: &Change) -> Overruling {
        let digest = |header: &H256| self.consensus.digest(&header.0);
        Overruling { height: change.height, old: digest(&change.old), new: digest(&change.new) }
    }

    /// Does what the trail was told of before, and tells what became of it.
    fn told<T>(
        &self,
        request: &str,
        subject: &str,
        digest: Option<[u8; 32]>,
        work: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.tell(request, format!("{subject}, about to be done"), digest, Outcome::Answered)?;
        let done = work();
        let outcome = match &done {
            Ok(_) => Outcome::Answered,
            Err(refusal) => Outcome::Refused(refusal.to_string()),
        };
        self.tell(request, subject.to_owned(), digest, outcome)?;
        done
    }

    pub(super) fn tell(
        &self,
        request: &str,
        subject: String,
        digest: Option<[u8; 32]>,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let event = Event { request: request.to_owned(), subject, digest, outcome };
        self.audit.record(&event, Durability::AtOnce).map_err(|error| Refusal::Audit(error.to_string()))
    }
}
