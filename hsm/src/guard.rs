//! The sign-once guard: a validator never contradicts itself, whatever crashes.
//!
//! Invariants:
//! - a digest goes to the device only after its claim (key, position, digest) is durable: *claim → fsync → device → signature*;
//!   callers who come at once share an fsync (group commit), and a repeated claim waits for the first one's;
//! - in each lane only a position above every earlier one opens a new claim; the same statement at a remembered position gets
//!   its stored signature, or is signed again when the crash came before the signature was stored (SM2 nonces are fresh, and
//!   two signatures of one statement say the same thing); anything else is a conflict, for ever;
//! - a write that fails poisons the guard: it grants nothing more until it is opened again;
//! - opening reads and authenticates everything. A torn tail is accepted only above the last sync mark, where no signature
//!   can depend on it; any other damage is an error that names the file;
//! - one file, one signer: the lock beside the file keeps a second one away, a file with a second name (symbolic or hard
//!   link) is refused, and a file that was replaced or removed under a running guard ends its grants.
//!
//! What one disk cannot show is a complete older copy of the guard put in its place: a counter in the device finds that, where it has one
//! ([`Guard::count`]), and the peers' witness.
//!
//! ```text
//! claim ─ judge ─ Fresh ─▶ append ─▶ fsync, one for all who wait ─▶ Grant::Sign ─▶ device ─▶ store (durable with the next claim)
//!               ├ Repeat ─▶ Grant::Stored | wait for the fsync ─▶ Grant::Sign
//!               └ other ──▶ Conflict
//! ```

mod counting;
pub mod export;
mod journal;
mod lane;
mod moving;
mod officers;
mod reserved;
mod standing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::consensus::SignatureBytes;
use bixi_types::{H256, NodeId};

use counting::doubt::Doubt;
pub use counting::{BURST, CountError, Counter, Looked, Note, PERIOD, REFILL};
use journal::{Journal, Record};
pub use lane::{Claim, Position, Step};
use lane::{Lanes, Verdict};
pub use moving::Moved;
pub use officers::{Mark, Overruling};
pub use reserved::Reserved;
pub use standing::{HostId, Ticket, TicketError};

/// Why the guard granted nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// Signing it would contradict an earlier signature. Final for this statement.
    #[error("{position}: {reason}")]
    Conflict {
        /// Where.
        position: Position,
        /// What stands against it.
        reason: String,
    },
    /// The record could not be made durable, now or earlier. Stop signing; open the guard again after the disk is repaired.
    #[error("sign-once guard {path}: {reason}; the guard grants nothing more until it is opened again")]
    Storage {
        /// The guard's file.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// There is no guard file. Never make one for a key that has signed before.
    #[error(
        "sign-once guard {path} is missing; if this key has ever signed, restore the file or rotate the consensus key: \
         a new guard would not know what was signed"
    )]
    Missing {
        /// The guard's file.
        path: PathBuf,
    },
    /// The file is damaged, altered, or of another chain.
    #[error(
        "sign-once guard {path}: {reason}; do not delete it: restore it from this host's newest copy or rotate the consensus key"
    )]
    Damaged {
        /// The guard's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process holds the guard.
    #[error("sign-once guard {path} is in use by another process; two signers of one key would contradict each other")]
    InUse {
        /// The guard's file.
        path: PathBuf,
    },
    /// The file has more than one name: whoever comes by another name takes another lock, and each would rewrite a file of
    /// its own.
    #[error(
        "sign-once guard {path} is {what}; configure the file's one real path, and remove the other names: two signers of \
         one key would contradict each other"
    )]
    Linked {
        /// The name that was given.
        path: PathBuf,
        /// What is at that name.
        what: String,
    },
    /// A guard exists where one was to be made.
    #[error("sign-once guard {path} exists; open it instead of making a new one")]
    Exists {
        /// The guard's file.
        path: PathBuf,
    },
    /// It was retired: its validator moved to another host.
    #[error(
        "sign-once guard {path} was retired for this consensus key when its marks were exported: it signs nothing with it any more; run the \
         validator where they were imported, bring it back the same way (`bixi hsm guard await-import`), or rotate the consensus key; for a new \
         key of a guard that an earlier version retired, say that no other host signs with it (`bixi hsm guard adopt`)"
    )]
    Retired {
        /// The guard's file.
        path: PathBuf,
    },
    /// Its marks were signed for another importer.
    #[error(
        "sign-once guard {path} was retired for {ticket}, and its marks are signed for no other: two hosts would begin where they end. \
         If that importer is lost, rotate the consensus key"
    )]
    RetiredFor {
        /// The guard's file.
        path: PathBuf,
        /// Who may have them.
        ticket: String,
    },
    /// The ticket is of a move that has ended.
    #[error(
        "sign-once guard {path}: this ticket is of an earlier move, and no guard waits with it; take the one that `bixi hsm guard await-import` \
         prints now on the new host"
    )]
    Spent {
        /// The guard's file.
        path: PathBuf,
    },
    /// It has no marks of this key to move.
    #[error(
        "sign-once guard {path} has never signed with this key: it is not the one that the validator moves from. Look for the data directory \
         that the node runs with; a validator that never signed anywhere needs no move"
    )]
    NeverSigned {
        /// The guard's file.
        path: PathBuf,
    },
    /// It signs with this key on this host.
    #[error(
        "sign-once guard {path} signs with this key on this host: nothing can be moved to where it is. Ask the guard of the new host to wait; if \
         this is the new host, it has the identity (/etc/machine-id) of the old one: give it its own first"
    )]
    SignsHere {
        /// The guard's file.
        path: PathBuf,
    },
    /// It waits for another guard's marks.
    #[error(
        "sign-once guard {path} waits for the marks of another host and signs nothing before they are here: export them there, for the \
         ticket that `bixi hsm guard await-import` prints, and import them"
    )]
    Awaiting {
        /// The guard's file.
        path: PathBuf,
    },
    /// It waits for no marks, or for others.
    #[error("sign-once guard {path}: {reason}")]
    NotAwaited {
        /// The guard's file.
        path: PathBuf,
        /// What it waits for.
        reason: &'static str,
    },
    /// It signed on another host: it may be a copy.
    #[error(
        "sign-once guard {path} belongs to another host than this one ({reason}): a copy of it that signs contradicts the original. Move the \
         validator by `bixi hsm guard await-import` here and `guard export` there. Only if the other host can never sign again, or is \
         this one with a new system: `bixi hsm guard adopt`"
    )]
    OtherHost {
        /// The guard's file.
        path: PathBuf,
        /// How it was seen.
        reason: &'static str,
    },
    /// By the count of the device it is not the newest, or cannot be told from an older one.
    #[error("sign-once guard {path} may be an old copy: {reason}. {next}")]
    OldCopy {
        /// The guard's file.
        path: PathBuf,
        /// How it was seen.
        reason: String,
        /// What to do next.
        next: &'static str,
    },
    /// An overruling was taken before, or is for another state of the guard.
    #[error(
        "sign-once guard {path}: this is overruling {number}, and the next one of this guard is {next}: it was taken before, or is another guard's"
    )]
    Overruled {
        /// The guard's file.
        path: PathBuf,
        /// Its number.
        number: u64,
        /// The only number that is taken now.
        next: u64,
    },
    /// It watches over as many keys as it can.
    #[error(
        "sign-once guard {path} has the marks of as many keys as it can watch over and takes no other: set the validator up in a new data \
         directory for a new key"
    )]
    TooManyKeys {
        /// The guard's file.
        path: PathBuf,
    },
}

/// What the guard allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The claim is durable: have exactly this digest signed, then [`Guard::store`] the signature.
    Sign,
    /// The statement was signed before; this is its signature.
    Stored(SignatureBytes),
}

/// The guard of one chain on this host.
pub struct Guard {
    path: PathBuf,
    inner: Mutex<Inner>,
    /// A sync has ended, well or not.
    synced: Condvar,
}

struct Inner {
    /// What was claimed, durable or about to be: a claim on its way to the disk stands against every other at once.
    lanes: Lanes,
    journal: Journal,
    /// Why it may be an old copy.
    doubt: Option<Doubt>,
    /// Somebody syncs for all who wait.
    syncing: bool,
}

/// The turn of the one who syncs, however it ends.
struct Turn<'a>(&'a Guard);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().syncing = false;
        self.0.synced.notify_all();
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard({})", self.path.display())
    }
}

impl Guard {
    /// Makes the guard of a key that has never signed. Refuses to replace one.
    pub fn create(
        storage: Arc<dyn Storage>,
        path: impl AsRef<Path>,
        ring: KeyRing,
        chain: H256,
    ) -> Result<Self, GuardError> {
        Self::create_noted(storage, path, ring, chain, None)
    }

    /// [`Self::create`] beside a device that counts, with how far it has.
    pub fn create_noted(
        storage: Arc<dyn Storage>,
        path: impl AsRef<Path>,
        ring: KeyRing,
        chain: H256,
        noted: Option<Note>,
    ) -> Result<Self, GuardError> {
        let lanes = Lanes::noting(noted);
        let journal = Journal::create(storage, path.as_ref(), ring, chain, &lanes)?;
        Ok(Self::new(path.as_ref(), lanes, journal))
    }

    /// Opens the guard of `chain`, reads and authenticates all of it, and rewrites it compactly.
    pub fn open(
        storage: Arc<dyn Storage>,
        path: impl AsRef<Path>,
        ring: KeyRing,
        chain: H256,
    ) -> Result<Self, GuardError> {
        Self::open_reserved(Self::reserve(storage, path)?, ring, chain)
    }

    /// The highest positions of every key by the file at `path`, which stays as it is and may be anybody's.
    ///
    /// # Errors
    /// [`GuardError::Missing`], [`GuardError::Damaged`], or the disk's.
    pub fn marks_at(
        storage: &dyn Storage,
        path: impl AsRef<Path>,
        ring: &KeyRing,
        chain: H256,
    ) -> Result<Vec<Position>, GuardError> {
        let (lanes, _) = journal::read(storage, path.as_ref(), ring, chain)?;
        Ok(lanes.all_marks().collect())
    }

    fn new(path: &Path, lanes: Lanes, journal: Journal) -> Self {
        let inner = Mutex::new(Inner { lanes, journal, doubt: None, syncing: false });
        Self { path: path.to_owned(), inner, synced: Condvar::new() }
    }

    /// Grants a claim, durably, before the digest may go to the device.
    pub fn claim(&self, claim: &Claim) -> Result<Grant, GuardError> {
        let mut inner = self.lock();
        inner.journal.check_usable()?;
        self.expect_undoubted(&inner)?;
        self.expect_in_service(&inner, &claim.key)?;
        match inner.lanes.judge(claim) {
            Verdict::Repeat(Some(signature)) => return Ok(Grant::Stored(signature)),
            // It may still be on its way to the disk.
            Verdict::Repeat(None) => {}
            Verdict::Contradiction => return Err(conflict(claim, "another statement was signed here".to_owned())),
            Verdict::Below(mark) => return Err(conflict(claim, format!("below the mark, which stands at {mark}"))),
            Verdict::Fresh if !inner.lanes.has_room_for(&claim.key) => {
                return Err(GuardError::TooManyKeys { path: self.path.clone() });
            }
            Verdict::Fresh => inner.enter(claim)?,
        }
        self.until_durable(inner).map(|()| Grant::Sign)
    }

    /// Waits until every record written by now is durable. Whoever finds nobody syncing syncs, for all who have written by then;
    /// others write meanwhile and wait for the next one.
    fn until_durable<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> Result<(), GuardError> {
        let wanted = inner.journal.written();
        loop {
            inner.journal.check_usable()?;
            if inner.journal.is_durable(wanted) {
                return Ok(());
            }
            if inner.syncing {
                inner = self.synced.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            inner.syncing = true;
            let pending = inner.journal.pending();
            drop(inner);
            let turn = Turn(self);
            let result = pending.sync();
            self.lock().journal.settle(&pending, result)?;
            drop(turn);
            inner = self.lock();
        }
    }

    /// Stores the signature of a granted claim. It becomes durable with the next claim: losing it in a crash costs a second
    /// signature of the same statement, nothing else. A device so slow that the lane has forgotten the claim meanwhile stores
    /// nothing: the statement can only be refused from then on.
    ///
    /// # Panics
    /// If the claim was never granted: the caller signed without asking.
    pub fn store(&self, claim: &Claim, signature: SignatureBytes) -> Result<(), GuardError> {
        let mut inner = self.lock();
        inner.journal.check_usable()?;
        if inner.lanes.has_forgotten(claim) {
            return Ok(());
        }
        assert!(inner.lanes.store(claim, signature), "a signature without a claim at {}", claim.position);
        inner.journal.append(&Record::Signed(*claim, signature))
    }

    /// Goes on in a file under the current epoch of the data keys, if the present one is of an older epoch.
    ///
    /// # Errors
    /// The disk's; the guard grants nothing more then.
    pub fn renew(&self) -> Result<(), GuardError> {
        let mut inner = self.lock();
        let Inner { lanes, journal, .. } = &mut *inner;
        match journal.is_of_current_epoch() {
            true => Ok(()),
            false => journal.compact(lanes),
        }
    }

    /// The epoch of the data keys that the file needs to be read.
    pub fn file_epoch(&self) -> u32 {
        self.lock().journal.file_epoch()
    }

    /// The highest position of each lane of a key, for reports and the rollback mark.
    pub fn marks(&self, key: &NodeId) -> Vec<Position> {
        self.lock().lanes.marks(key).collect()
    }

    /// The guard's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What [`Self::claim`] would grant, without writing anything: for a mutation that the fault campaign must catch.
    #[cfg(test)]
    fn would_grant(&self, claim: &Claim) -> bool {
        matches!(self.lock().lanes.judge(claim), Verdict::Fresh | Verdict::Repeat(_))
    }

    /// The mutation "claims are written and not synced", which the fault campaign must catch.
    #[cfg(test)]
    fn set_sync_claims(&self, sync: bool) {
        self.lock().journal.sync_claims = sync;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside (a caller's broken promise) leaves lanes and journal as they were: both change only at the end.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Writes a claim, which is not yet durable.
    fn enter(&mut self, claim: &Claim) -> Result<(), GuardError> {
        self.journal.append(&Record::Claimed(*claim))?;
        assert!(self.lanes.claim(claim), "a claim judged fresh enters");
        if self.journal.wants_compaction() {
            self.lanes.forget_left_behind();
            self.journal.compact(&self.lanes)?;
        }
        Ok(())
    }
}

fn conflict(claim: &Claim, reason: String) -> GuardError {
    GuardError::Conflict { position: claim.position, reason }
}
