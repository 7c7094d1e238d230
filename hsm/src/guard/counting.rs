//! The guard's file, bound to a counter inside the device: an old copy of it, and of the disk around it, is one that the device has
//! counted beyond. The vault beside it is bound by its version.
//!
//! ```text
//! counter reads c ─▶ note c + 1, durably ─▶ the device counts: c + 1, and nothing else ─▶ note it
//!                 └◀── while it does not stand above what was noted before ──┘
//! ```
//!
//! Invariants:
//! - the counter never stands above what the newest file notes, and that never more than one above the counter: so the newest file is never
//!   refused, wherever a crash falls;
//! - once the device has counted, every copy that was taken before is refused, also one that was taken while a count was under way;
//! - a file without a note beside a device that counts is refused too, and so are a note beside a device without a counter, or with another
//!   one: else a copy from before the first count, or an edited line about the device, would pass. Whoever makes a guard notes at once;
//! - a guard that was refused grants nothing, until an officer takes it up or it is opened again.

pub(super) mod doubt;

use std::path::Path;
use std::time::Duration;

use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::H256;
use borsh::{BorshDeserialize, BorshSerialize};

use super::journal::{self, Record};
use super::lane::Lanes;
use super::{Guard, GuardError, Inner};
use crate::device::{Cause, Count, DeviceError, KeyDevice};
use doubt::Doubt;

/// Between two counts while there is something to be counted: a copy that is younger is not told from the disk.
pub const PERIOD: Duration = Duration::from_secs(600);
/// Counts that may be made sooner than a [`PERIOD`] after the one before, by stops, starts and writes of the vault, before they have to wait for it.
pub const BURST: u32 = 24;
/// One of these may be made again after so long.
pub const REFILL: Duration = Duration::from_secs(3_600);

/// How far a device has counted at most, and what that binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Note {
    /// Which counter, and its highest possible value.
    pub at_most: Count,
    /// Version of the vault beside the guard.
    pub vault: u64,
    /// How often the guard had been changed when the device had counted; none while it is about to, or was and nobody knows.
    pub counted: Option<u64>,
    /// When the device was last to count, milliseconds since 1970 by the host's clock; so that restarts do not wear the counter.
    pub at_ms: u64,
    /// When it last did.
    pub counted_ms: u64,
    /// How many of [`BURST`] were made.
    pub spent: u32,
    /// From when on the next [`REFILL`] is reckoned.
    pub refilled_ms: u64,
}

impl Note {
    /// Of a guard that is made, beside a vault that was.
    pub fn begin(count: Count, vault: u64) -> Self {
        Self { at_most: count, vault, counted: Some(0), at_ms: 0, counted_ms: 0, spent: 0, refilled_ms: 0 }
    }

    /// How many of [`BURST`] count as made at a time.
    pub fn spent_at(&self, now_ms: u64) -> u32 {
        self.spent.saturating_sub(self.refills_at(now_ms))
    }

    fn refills_at(&self, now_ms: u64) -> u32 {
        let refills = now_ms.saturating_sub(self.refilled_ms) / millis(REFILL);
        u32::try_from(refills).unwrap_or(u32::MAX)
    }

    /// What is noted before the device counts to `next`. One that was tried before, and of which nobody knows, is not made twice.
    fn about(&self, next: Count, vault: u64, now_ms: u64) -> Self {
        let spent = self.spent_at(now_ms);
        let refilled_ms = match spent {
            0 => now_ms,
            _ => self.refilled_ms.saturating_add(u64::from(self.refills_at(now_ms)) * millis(REFILL)),
        };
        let is_early = now_ms.saturating_sub(self.at_ms) < millis(PERIOD);
        let is_repeated = self.counted.is_none() && self.at_most == next;
        let spent = spent.saturating_add(u32::from(is_early && !is_repeated));
        Self { at_most: next, vault, counted: None, at_ms: now_ms, spent, refilled_ms, ..*self }
    }
}

/// The counter of a device, as whoever holds the device reaches it.
pub trait Counter {
    /// As [`KeyDevice::counter`].
    ///
    /// # Errors
    /// The device's.
    fn read(&self) -> Result<Option<Count>, DeviceError>;

    /// As [`KeyDevice::advance_counter`], in one attempt.
    ///
    /// # Errors
    /// The device's.
    fn advance(&self) -> Result<Count, DeviceError>;
}

impl Counter for dyn KeyDevice + '_ {
    fn read(&self) -> Result<Option<Count>, DeviceError> {
        self.counter()
    }

    fn advance(&self) -> Result<Count, DeviceError> {
        self.advance_counter()
    }
}

/// What a guard's file says of the counter, read without opening the guard: for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// What it notes.
    pub note: Option<Note>,
    changes: u64,
}

impl Looked {
    /// Whether there is something that the device has not counted.
    pub fn is_uncounted(&self, vault: u64) -> bool {
        self.note.is_some_and(|note| note.counted != Some(self.changes) || note.vault != vault)
    }

    /// Why a start beside a device that counts so would refuse it. To be read before the file was: whoever counts meanwhile notes first.
    pub fn doubt(&self, count: Option<Count>, vault: u64) -> Option<String> {
        let doubt = Doubt::of(self.note, count, vault).err()?;
        Some(format!("{}. {}", doubt.reason(), doubt.next()))
    }
}

/// Why nothing was counted or compared.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The guard is not the newest, or cannot be written.
    #[error("{0}")]
    Guard(#[from] GuardError),
    /// The device does not say.
    #[error("{0}")]
    Device(#[from] DeviceError),
}

const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Lanes {
    fn looked(&self) -> Looked {
        Looked { note: self.noted, changes: self.changes }
    }
}

impl Guard {
    /// Reads the file of a guard and changes nothing; another process may have it open.
    ///
    /// # Errors
    /// [`GuardError::Missing`], [`GuardError::Damaged`]; the disk's.
    pub fn look(storage: &dyn Storage, path: &Path, ring: &KeyRing, chain: H256) -> Result<Looked, GuardError> {
        let (lanes, _) = journal::read(storage, path, ring, chain)?;
        Ok(lanes.looked())
    }

    /// What it notes of the device's counter; nothing beside a device without one.
    pub fn noted(&self) -> Option<Note> {
        self.lock().lanes.noted
    }

    /// How often it was changed: a claim is a change, and whatever an officer has done.
    pub fn changes(&self) -> u64 {
        self.lock().lanes.changes
    }

    /// Whether there is something that the device has not counted: a change of the guard, or a vault of another version.
    pub fn is_uncounted(&self, vault: u64) -> bool {
        self.lock().lanes.looked().is_uncounted(vault)
    }

    /// Whether it was refused as what may be an old copy, and grants nothing.
    pub fn is_doubted(&self) -> bool {
        self.lock().doubt.is_some()
    }

    /// Why it may be an old copy by the count of the device, or by the vault of that version beside it; nothing for the newest.
    ///
    /// # Errors
    /// The device's.
    pub fn may_be_old_copy(
        &self,
        counter: &(impl Counter + ?Sized),
        vault: u64,
    ) -> Result<Option<String>, DeviceError> {
        match self.compare(counter, vault) {
            Ok(_) => Ok(None),
            Err(CountError::Guard(error)) => Ok(Some(error.to_string())),
            Err(CountError::Device(error)) => Err(error),
        }
    }

    /// Refuses a guard that is not the newest by the count of the device: it grants nothing then.
    ///
    /// # Errors
    /// [`GuardError::OldCopy`]; the device's.
    pub fn expect_newest(&self, counter: &(impl Counter + ?Sized), vault: u64) -> Result<(), CountError> {
        self.compare(counter, vault).map(drop)
    }

    /// Has the device count, so that every copy that was taken before is an old one, and notes the version of the vault. By one or two: as many
    /// as it takes to stand above everything that was noted before. Nothing of a device without a counter.
    ///
    /// # Errors
    /// [`GuardError::OldCopy`] for a guard that is not the newest, or not the only one that has the device count, and it grants nothing then; the
    /// disk's, likewise; the device's, of which it is not known then whether it has counted.
    pub fn count(&self, counter: &(impl Counter + ?Sized), vault: u64, now_ms: u64) -> Result<(), CountError> {
        let changes = self.changes();
        let Some((before, mut count)) = self.compare(counter, vault)? else { return Ok(()) };
        let mut note = before;
        while count.value <= before.at_most.value {
            let Some(value) = count.value.checked_add(1) else {
                return Err(self.doubted(Doubt::AtEnd));
            };
            let next = Count { value, ..count };
            note = note.about(next, vault, now_ms);
            self.note(Some(note))?;
            count = counter.advance().map_err(|error| self.doubted_by(error))?;
            if count != next {
                return Err(self.doubted(Doubt::Beside { expected: value, counted: count.value }));
            }
        }
        Ok(self.note(Some(Note { counted: Some(changes), counted_ms: now_ms, ..note }))?)
    }

    /// Takes the guard and the vault beside it for the newest, whatever it noted: an officer says so, or its device is a new one. A newer state
    /// somewhere may note one more than the counter shows, so this does, too: the next [`Self::count`] shuts that one out.
    ///
    /// # Errors
    /// The device's and the disk's.
    pub fn take_for_newest(&self, counter: &(impl Counter + ?Sized), vault: u64) -> Result<(), CountError> {
        let note = match counter.read()? {
            Some(count) => {
                let value = count.value.checked_add(1).ok_or_else(|| {
                    DeviceError::new("counter", Cause::BadAnswer, "the device's counter stands at its end")
                })?;
                Some(Note { at_most: Count { value, ..count }, counted: None, ..Note::begin(count, vault) })
            }
            None => None,
        };
        self.note(note)?;
        self.lock().doubt = None;
        Ok(())
    }

    fn note(&self, note: Option<Note>) -> Result<(), GuardError> {
        let mut inner = self.lock();
        inner.journal.check_usable()?;
        if inner.lanes.noted.is_some() == note.is_some()
            && let Some(note) = note
        {
            let changes = inner.lanes.changes;
            inner.journal.append(&Record::Noted { note, changes })?;
            inner.lanes.noted = Some(note);
            return self.until_durable(inner);
        }
        // A file with notes has a format of its own.
        let mut lanes = inner.lanes.clone();
        lanes.noted = note;
        inner.journal.compact(&lanes)?;
        inner.lanes = lanes;
        Ok(())
    }

    /// The note and the counter, of a device that has one.
    fn compare(&self, counter: &(impl Counter + ?Sized), vault: u64) -> Result<Option<(Note, Count)>, CountError> {
        // Read before the note: whoever counts meanwhile notes first.
        let count = counter.read().map_err(|error| self.doubted_by(error))?;
        match Doubt::of(self.noted(), count, vault) {
            Ok(fitting) => Ok(fitting),
            Err(doubt) => Err(self.doubted(doubt)),
        }
    }

    /// What the device's error means for the guard: of one that is disturbed or away nothing can be told.
    fn doubted_by(&self, error: DeviceError) -> CountError {
        match error.cause {
            Cause::CounterRemoved => self.doubted(Doubt::Removed(error.message)),
            _ => error.into(),
        }
    }

    fn doubted(&self, doubt: Doubt) -> CountError {
        let mut inner = self.lock();
        let doubt = inner.doubt.insert(doubt);
        CountError::Guard(self.old_copy(doubt))
    }

    fn old_copy(&self, doubt: &Doubt) -> GuardError {
        GuardError::OldCopy { path: self.path.clone(), reason: doubt.reason(), next: doubt.next() }
    }

    /// Refuses whatever grants or moves something, while the guard may be an old copy.
    pub(super) fn expect_undoubted(&self, inner: &Inner) -> Result<(), GuardError> {
        inner.doubt.as_ref().map_or(Ok(()), |doubt| Err(self.old_copy(doubt)))
    }
}
