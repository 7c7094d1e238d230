//! The memory of wrong PINs.
//!
//! A device locks after a few wrong PINs, and a supervisor restarts a failing service in a loop: so an attempt is noted
//! in a file before it is made, and a PIN that was refused is not tried again, by any process, until it changes.
//! What is stored is a fingerprint: twelve bits of Argon2id of the PIN with a random salt (`record::Fingerprint` says why so few).
//!
//! An attempt that ended without a verdict counts too: a crash inside the vendor's library, a lost connection, an answer
//! that speaks of something else. The device may have counted it as wrong, so after two of them in a row the same PIN is held
//! back until the file is removed. The second one comes no sooner than [`PAUSE_MIN`] after the first, by whatever process, so that a
//! device that is away for a moment does not cost both; whoever asks sooner is told to wait ([`Cause::Busy`]), and nothing is sent or
//! counted. The answer that the device is locked is no verdict either: it may be this very attempt that locked it. Only a PIN that was
//! right, or was never sent, leaves no trace. That goes for a PIN that was right
//! before, too: it may have been changed since, and devices that count an attempt before they judge it are locked by a right PIN
//! just as well. What is done instead is that no process of ours ends while it waits for a verdict that may still come
//! ([`Phase::Pin`]), and that a PIN without a verdict is told apart from one that was refused ([`Cause::PinUnanswered`]).
//!
//! From reading the file to the device's verdict an attempt holds a lock beside it, so that of several processes with the
//! same wrong PIN one tries it and the others find it refused.

mod record;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use bixi_platform::credentials::PinSource;
use bixi_platform::random::OsRandom;
use bixi_platform::secret::Secret;
use zeroize::Zeroizing;

use crate::device::{Cause, DeviceError};
use crate::phase::{self, Entered, Phase};
use crate::whole_file;
use record::{Fingerprint, HASH_BYTES, Moment, RECORD_BYTES_MAX, REFUSED, Record, SALT_BYTES};

const MEMORY_KIB: u32 = 16 * 1024;
const PASSES: u32 = 2;
/// Attempts without a verdict after which a PIN is held back: devices allow three wrong PINs at the least.
const UNFINISHED_MAX: u8 = 2;
/// From the end of an attempt without a verdict to the next one, at least.
pub const PAUSE_MIN: Duration = Duration::from_secs(30);
/// Between two looks at a lock that another attempt holds.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Reads the PIN of a device.
///
/// # Errors
/// [`Cause::Setup`] when there is none where `source` says.
pub fn read(source: &PinSource) -> Result<Secret, DeviceError> {
    source.read().map_err(|error| {
        DeviceError::new("PIN source", Cause::Setup, error.to_string()).with_advice("correct the PIN's source")
    })
}

/// One file per device; removed when a PIN was right.
#[derive(Clone, Debug)]
pub struct PinMemory {
    path: PathBuf,
    /// Longest wait for an attempt of another process or device.
    patience: Duration,
    /// What a login is called in this kind of device.
    function: &'static str,
}

impl PinMemory {
    /// The memory in the file `path`, which need not exist; its directory must. Another attempt under way is waited for
    /// no longer than `patience`; errors name `function`.
    pub fn new(path: PathBuf, patience: Duration, function: &'static str) -> Self {
        Self { path, patience, function }
    }

    /// Note that `pin` is about to be tried; refuses when it was refused before. Nobody else tries one until the attempt
    /// is dropped.
    ///
    /// # Errors
    /// [`Cause::PinHeldBack`] for a PIN that was refused, [`Cause::PinUnanswered`] for one that was twice without a verdict;
    /// [`Cause::Busy`] when another attempt does not end, or one without a verdict was made a moment ago; [`Cause::Setup`] or
    /// [`Cause::Fault`] when the memory cannot be kept. In each case no PIN may be tried.
    pub fn begin(&self, pin: &Secret) -> Result<Attempt<'_>, DeviceError> {
        self.turn()?.begin(pin)
    }

    /// The turn to try a PIN, before anything is noted: for a device that is waited for before the PIN can be sent. Whoever is
    /// ended while waiting has tried nothing.
    ///
    /// # Errors
    /// [`Cause::Setup`] or [`Cause::Fault`] when the memory cannot be kept; [`Cause::Busy`] when another attempt does not end.
    pub fn turn(&self) -> Result<Turn<'_>, DeviceError> {
        self.wait_for_turn().map(|lock| Turn { memory: self, lock })
    }

    /// How many attempts with this PIN ended without a verdict, by what is known; refuses one that may not be tried.
    fn unfinished(&self, known: Option<&Record>, pin: &Secret) -> Result<u8, DeviceError> {
        match known {
            Some(record) if fingerprint(pin, &record.salt)? == record.fingerprint => match record.verdict {
                REFUSED => Err(self.held_back(Cause::PinHeldBack, "the device has refused this PIN before")),
                count if count >= UNFINISHED_MAX => {
                    Err(self.held_back(Cause::PinUnanswered, "the last attempts with this PIN ended without a verdict"))
                }
                count => self.rested(record).map(|()| count),
            },
            _ => Ok(0),
        }
    }

    /// Refuses for now what an attempt a moment ago had no verdict on.
    fn rested(&self, known: &Record) -> Result<(), DeviceError> {
        let (passed, left) = known.pause();
        if left.is_zero() {
            return Ok(());
        }
        let message = format!(
            "the PIN was not tried: the device gave no verdict on it {} s ago (noted in {}); the next attempt, the last one before it is held \
             back, is made in {} s at the earliest",
            passed.as_secs(),
            self.path.display(),
            left.as_millis().div_ceil(1_000)
        );
        let advice = "wait; meanwhile make sure that the device is reached and answers";
        Err(DeviceError::new(self.function, Cause::Busy, message).with_advice(advice))
    }

    /// Notes that the device has refused `pin` at another occasion than an attempt: it is never tried again.
    ///
    /// # Errors
    /// [`Cause::Setup`] or [`Cause::Fault`] when the memory cannot be kept; [`Cause::Busy`] when an attempt does not end.
    pub fn note_refused(&self, pin: &Secret) -> Result<(), DeviceError> {
        let _turn = self.wait_for_turn()?;
        self.write(&self.record_of(pin, REFUSED)?)
    }

    /// Waits until the pause after an attempt without a verdict is over, [`PAUSE_MIN`] at most: for whoever opens a device for the first time
    /// and has nothing else to do. Whatever is wrong with the memory is told by the attempt.
    pub fn wait_out_pause(path: &Path) {
        let Ok(Some(bytes)) = whole_file::read(path, RECORD_BYTES_MAX as u64) else { return };
        let Some(record @ Record { verdict: 1..UNFINISHED_MAX, .. }) = Record::parse(&bytes) else { return };
        let (_, left) = record.pause();
        if !left.is_zero() {
            let seconds = left.as_millis().div_ceil(1_000);
            tracing::warn!(noted = %path.display(), seconds, "the device gave no verdict on a PIN a moment ago: waiting before the next attempt");
            sleep(left);
        }
    }

    fn record_of(&self, pin: &Secret, verdict: u8) -> Result<Record, DeviceError> {
        let salt = OsRandom.array().map_err(|error| self.unusable(error))?;
        Ok(Record { verdict, salt, fingerprint: fingerprint(pin, &salt)?, tried: Moment::now() })
    }

    /// The lock beside the file.
    fn wait_for_turn(&self) -> Result<Locked, DeviceError> {
        let path = whole_file::beside(&self.path, "lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| self.unusable(error))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked(file)),
                Err(TryLockError::Error(error)) => return Err(self.unusable(error)),
                Err(TryLockError::WouldBlock) if began.elapsed() < self.patience => sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let message = format!("another login is under way; it holds {}", path.display());
                    return Err(DeviceError::new(self.function, Cause::Busy, message));
                }
            }
        }
    }

    fn held_back(&self, cause: Cause, why: &str) -> DeviceError {
        let message = format!("the PIN was not tried: {why} (noted in {})", self.path.display());
        let advice = match cause {
            Cause::PinUnanswered => "make sure that the device answers and the PIN is right, then remove the file",
            _ => "correct the PIN; if it is right, remove the file and start again",
        };
        DeviceError::new(self.function, cause, message).with_advice(advice)
    }

    fn unusable(&self, error: io::Error) -> DeviceError {
        let message = format!("{}: {error}", self.path.display());
        // A disk that is full or fails may do better by itself.
        let cause = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData => Cause::Setup,
            _ => Cause::Fault,
        };
        DeviceError::new("pin memory", cause, message)
            .with_advice("the file that remembers wrong PINs must be readable and writable; no PIN is tried without it")
    }

    fn read(&self) -> Result<Option<Record>, DeviceError> {
        let bytes = whole_file::read(&self.path, RECORD_BYTES_MAX as u64).map_err(|error| self.unusable(error))?;
        let words = "it is damaged; remove it once the PIN is known to be right";
        let damaged = || self.unusable(io::Error::new(io::ErrorKind::InvalidData, words));
        bytes.map(|bytes| Record::parse(&bytes).ok_or_else(damaged)).transpose()
    }

    fn write(&self, record: &Record) -> Result<(), DeviceError> {
        whole_file::replace(&self.path, &record.encode()).map_err(|error| self.unusable(error))
    }
}

/// A lock of a file, which the system releases when its holder ends, however it ends.
struct Locked(File);

impl Drop for Locked {
    /// Said, not left to closing: a helper that the vendor's library forked meanwhile has the file open as well.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn fingerprint(pin: &Secret, salt: &[u8; SALT_BYTES]) -> Result<Fingerprint, DeviceError> {
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let computed = Params::new(MEMORY_KIB, PASSES, 1, Some(HASH_BYTES)).and_then(|params| {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(pin.as_slice(), salt, &mut hash[..])
    });
    match computed {
        Ok(()) => Ok(Fingerprint::of(&hash)),
        Err(error) => Err(DeviceError::new("pin memory", Cause::Fault, error.to_string())),
    }
}

/// The turn to try a PIN: nobody else tries one until it ends, and nothing is noted of it.
pub struct Turn<'a> {
    memory: &'a PinMemory,
    lock: Locked,
}

impl<'a> Turn<'a> {
    /// Refuses `pin` when it may not be tried, and notes nothing.
    ///
    /// # Errors
    /// As [`PinMemory::begin`].
    pub fn check(&self, pin: &Secret) -> Result<(), DeviceError> {
        self.memory.unfinished(self.memory.read()?.as_ref(), pin).map(drop)
    }

    /// Notes that `pin` is sent next.
    ///
    /// # Errors
    /// As [`PinMemory::begin`].
    pub fn begin(self, pin: &Secret) -> Result<Attempt<'a>, DeviceError> {
        let Self { memory, lock } = self;
        let before = memory.read()?;
        let unfinished = memory.unfinished(before.as_ref(), pin)? + 1;
        // Before it is noted: whoever is kept from sending it has not tried it.
        let phase = phase::enter(Phase::Pin);
        let record = memory.record_of(pin, unfinished)?;
        memory.write(&record)?;
        Ok(Attempt { memory, before, record, _turn: lock, _phase: phase })
    }
}

/// A noted attempt; say how it ended. Dropped, it counts as one without a verdict.
pub struct Attempt<'a> {
    memory: &'a PinMemory,
    /// What was known before it.
    before: Option<Record>,
    record: Record,
    /// Released with the attempt, after its end was noted.
    _turn: Locked,
    _phase: Entered,
}

impl Attempt<'_> {
    /// Note what the device answered to the PIN, and hand it on. What is neither success nor a refusal may have been counted by
    /// the device as a wrong PIN: it stays noted, as an attempt without a verdict. That goes for "locked" too: some devices count the attempt
    /// that locks them and then say so.
    ///
    /// # Errors
    /// The answer's own; after a right PIN, [`Cause::Setup`] or [`Cause::Fault`] when the memory cannot be kept.
    pub fn judged(self, answer: Result<(), DeviceError>) -> Result<(), DeviceError> {
        let Err(error) = answer else { return self.forget() };
        let noted = match error.cause {
            Cause::WrongPin => self.refuse(),
            _ => self.leave_unanswered(),
        };
        if let Err(unnoted) = noted {
            tracing::error!(error = %unnoted, "the device's verdict on a PIN could not be noted");
        }
        Err(error)
    }

    /// The PIN was right: forget the attempt, durably. Else a right PIN would count as one without a verdict after a loss of
    /// power, and be held back after the second.
    ///
    /// # Errors
    /// [`Cause::Setup`] or [`Cause::Fault`] when the memory cannot be kept.
    pub fn forget(self) -> Result<(), DeviceError> {
        whole_file::remove(&self.memory.path).map_err(|error| self.memory.unusable(error))
    }

    /// No verdict came: the next attempt is made a while after now.
    fn leave_unanswered(mut self) -> Result<(), DeviceError> {
        self.record.tried = Moment::now();
        self.memory.write(&self.record)
    }

    /// The PIN was not sent: what was known before is known again.
    ///
    /// # Errors
    /// [`Cause::Setup`] or [`Cause::Fault`] when the memory cannot be kept; the attempt then counts as one without a verdict.
    pub fn withdraw(self) -> Result<(), DeviceError> {
        match &self.before {
            Some(known) => self.memory.write(known),
            None => self.forget(),
        }
    }

    /// The device refused the PIN: never try it again.
    ///
    /// # Errors
    /// [`Cause::Setup`] or [`Cause::Fault`] when the memory cannot be kept; the attempt then counts as one without a verdict.
    pub fn refuse(mut self) -> Result<(), DeviceError> {
        self.record.verdict = REFUSED;
        self.memory.write(&self.record)
    }
}
