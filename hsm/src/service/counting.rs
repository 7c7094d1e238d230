//! When the device counts: after the first statement of a process, every [`PERIOD`] in which more is signed, at an orderly end and after a write
//! of the vault, but never sooner than [`PAUSE`] after the last time, and seldom so soon, whatever ends and begins: memory that counts wears.
//! Officers' changes of the guard are counted at once. What is noted, and why, says [`Guard::count`](crate::Guard::count); of a device without a
//! counter nothing is asked.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bixi_platform::secret::Secret;

use super::SigningService;
use crate::audit::{Durability, Event, Outcome, now_ms};
use crate::device::{Cause, Count, DeviceError, DeviceInfo};
use crate::gate::Priority;
use crate::guard::{BURST, CountError, Counter, Note, PERIOD};
use crate::protocol::{CounterReport, Refusal};

/// Between two counts, whoever asks.
pub const PAUSE: Duration = Duration::from_secs(15);
/// How long something may stay uncounted before the trail is told.
const OVERDUE: Duration = PERIOD.saturating_mul(3);
/// How long an end waits for a count that is under way.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// When the device last counted, or was asked to, in this process.
pub(super) struct Counting {
    /// Whether the device says that it has a counter.
    has_counter: bool,
    last: Mutex<Last>,
    /// Apart from that: a report does not wait for the device.
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Last {
    counted: Option<Instant>,
    asked: Option<Instant>,
    /// The trail was told that nothing is counted.
    is_told: bool,
}

#[derive(Default)]
struct Shown {
    uncounted_since: Option<Instant>,
    failed: Option<String>,
}

impl Counting {
    pub(super) fn of(device: &DeviceInfo) -> Self {
        Self { has_counter: device.monotonic_counter, last: Mutex::default(), shown: Mutex::default() }
    }

    /// One counts at a time; nobody waits for another but an end, which does not wait long.
    fn turn(&self, is_end: bool) -> Option<MutexGuard<'_, Last>> {
        let until = Instant::now() + END_PATIENCE;
        loop {
            match self.last.try_lock() {
                Ok(last) => return Some(last),
                Err(TryLockError::Poisoned(last)) => return Some(last.into_inner()),
                Err(TryLockError::WouldBlock) if is_end && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => return None,
            }
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when there has been something uncounted.
    fn see(&self, is_uncounted: bool, now: Instant) -> Option<Instant> {
        let mut shown = self.shown();
        match is_uncounted {
            true => Some(*shown.uncounted_since.get_or_insert(now)),
            false => {
                *shown = Shown::default();
                None
            }
        }
    }
}

impl Last {
    /// Whether what is uncounted is to be counted now; `is_soon` at an end, and for a vault that was written.
    fn is_due(&self, note: &Note, now: Instant, now_ms: u64, is_soon: bool) -> bool {
        let is_over =
            |since: Option<Instant>, period| since.is_none_or(|at| now.saturating_duration_since(at) >= period);
        let rest = if note.spent_at(now_ms) < BURST { PAUSE } else { PERIOD };
        // Of a clock that was set back nothing can be told.
        let rested = now_ms < note.at_ms || now_ms - note.at_ms >= rest.as_millis() as u64;
        rested && is_over(self.asked, PAUSE) && (is_soon || is_over(self.counted, PERIOD))
    }
}

/// The host's clock at a moment that may lie ahead.
fn clock_at(now: Instant) -> u64 {
    now_ms().saturating_add(now.saturating_duration_since(Instant::now()).as_millis() as u64)
}

/// The counter, asked as the service asks for everything.
struct Reached<'a>(&'a SigningService);

impl Counter for Reached<'_> {
    fn read(&self) -> Result<Option<Count>, DeviceError> {
        let Self(service) = self;
        match service.counting.has_counter {
            true => service.at_device(Priority::Keeping, || service.device.counter()),
            false => Ok(None),
        }
    }

    /// Not tried again: each attempt is noted by itself.
    fn advance(&self) -> Result<Count, DeviceError> {
        let _place = self.0.place(Priority::Keeping)?;
        self.0.device.advance_counter()
    }
}

impl SigningService {
    /// Refuses a guard that is not the newest by the count of the device, and a vault that is older than the guard noted. To be asked before the
    /// first statement of a process.
    ///
    /// # Errors
    /// An old copy of the disk, or what may be one: nothing is signed then; a device that does not say.
    pub fn expect_newest(&self) -> Result<(), CountError> {
        self.guard.expect_newest(&Reached(self), self.vault_version()).inspect_err(|error| {
            if let Err(untold) = self.tell_doubt(error) {
                tracing::error!(error = %untold, "the trail was not told of a guard that is refused");
            }
        })
    }

    /// Why the guard is not the newest by the count of the device, or cannot be told from an older one; nothing when it is.
    ///
    /// # Errors
    /// The device's.
    pub fn may_be_old_copy(&self) -> Result<Option<String>, DeviceError> {
        self.guard.may_be_old_copy(&Reached(self), self.vault_version())
    }

    /// Has the device count, if that is due. One that does not answer stops nothing: it is asked again, and after a while the trail tells.
    ///
    /// # Errors
    /// When the guard is not the newest any more; a counter that is gone; a disk that takes no note: nothing is signed then. Told once.
    pub(super) fn count_if_due(&self, now: Instant, is_end: bool) -> Result<(), Refusal> {
        if !self.counting.has_counter || self.guard.is_doubted() {
            return Ok(());
        }
        let Some(mut last) = self.counting.turn(is_end) else { return Ok(()) };
        let vault = self.vault_version();
        let (is_uncounted, note) = (self.guard.is_uncounted(vault), self.guard.noted());
        let Some(since) = self.counting.see(is_uncounted, now) else { return Ok(()) };
        let is_soon = is_end || note.is_some_and(|note| note.vault != vault);
        if !note.is_some_and(|note| last.is_due(&note, now, clock_at(now), is_soon)) {
            return Ok(());
        }
        last.asked = Some(now);
        match self.guard.count(&Reached(self), vault, clock_at(now)) {
            Ok(()) => {
                *last = Last { counted: Some(now), asked: Some(now), is_told: false };
                self.counting.see(false, now);
                Ok(())
            }
            Err(CountError::Device(error)) => {
                tracing::warn!(%error, "the device did not count; it is asked again");
                self.counting.shown().failed = Some(error.to_string());
                let is_overdue = now.saturating_duration_since(since) >= OVERDUE;
                if is_overdue && !std::mem::replace(&mut last.is_told, true) {
                    self.tell_count(
                        "the device does not count, and no old copy of this disk is told",
                        error.to_string(),
                    )?;
                }
                Ok(())
            }
            Err(error) => Err(self.tell_refused(error)),
        }
    }

    /// Has the device count what an officer has changed, now.
    ///
    /// # Errors
    /// As [`Self::expect_newest`]; the disk's, and the device's.
    pub(super) fn count_change(&self) -> Result<(), Refusal> {
        self.guard.count(&Reached(self), self.vault_version(), now_ms()).map_err(|error| self.tell_refused(error))
    }

    /// The same of what cannot be repeated: where the device does not, the next start has it count.
    pub(super) fn count_change_or_later(&self) -> Result<(), Refusal> {
        match self.count_change() {
            Err(Refusal::Device(error)) => {
                tracing::warn!(%error, "the device did not count; the next start has it do so");
                Ok(())
            }
            counted => counted,
        }
    }

    /// Takes the guard for the newest, whatever it notes, and every other copy for an old one.
    pub(super) fn take_count(&self) -> Result<(), Refusal> {
        self.guard.take_for_newest(&Reached(self), self.vault_version())?;
        self.count_change_or_later()
    }

    /// Whether the counter was removed, and there is another one now.
    pub(super) fn renew_counter_if_removed(&self, owner_authorization: &Secret) -> Result<bool, DeviceError> {
        match Reached(self).read() {
            Err(error) if error.cause == Cause::CounterRemoved => {}
            read => return read.map(|_| false),
        }
        let _place = self.place(Priority::Keeping)?;
        self.device.renew_counter(owner_authorization).map(|()| true)
    }

    /// What is known of the counter; the device is not asked.
    pub(super) fn counter_report(&self) -> Option<CounterReport> {
        if !self.counting.has_counter {
            return None;
        }
        let (note, shown) = (self.guard.noted(), self.counting.shown());
        Some(CounterReport {
            value: note.map(|note| note.at_most.value),
            at_ms: note.map_or(0, |note| note.counted_ms),
            uncounted_ms: shown.uncounted_since.map(|since| since.elapsed().as_millis() as u64),
            failed: shown.failed.clone(),
            doubted: self.guard.is_doubted(),
        })
    }

    fn vault_version(&self) -> u64 {
        self.data_keys.as_ref().map_or(0, |holder| holder.vault_version())
    }

    /// Has the trail told of a guard that is refused.
    fn tell_refused(&self, error: CountError) -> Refusal {
        self.tell_doubt(&error).err().unwrap_or_else(|| error.into())
    }

    fn tell_doubt(&self, error: &CountError) -> Result<(), Refusal> {
        match error {
            CountError::Guard(error) => self.tell_count("compared with the count of the device", error.to_string()),
            CountError::Device(_) => Ok(()),
        }
    }

    fn tell_count(&self, subject: &str, reason: String) -> Result<(), Refusal> {
        let (request, outcome) = ("guard-count".to_owned(), Outcome::Refused(reason));
        let event = Event { request, subject: subject.to_owned(), digest: None, outcome };
        self.audit.record(&event, Durability::AtOnce).map_err(|error| Refusal::Audit(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_after_the_first_statement_after_time_and_soon_but_never_too_often() {
        const BEGIN_MS: u64 = 1_000_000;
        let begin = Instant::now();
        let noted = |at_ms, spent| {
            let at_most = Count { counter: [1; 32], value: 1 };
            Note { counted: None, at_ms, spent, refilled_ms: at_ms, ..Note::begin(at_most, 1) }
        };
        let due = |last: &Last, note: &Note, seconds, is_soon| {
            last.is_due(note, begin + Duration::from_secs(seconds), BEGIN_MS + seconds * 1_000, is_soon)
        };
        let fresh = Last::default();
        assert!(due(&fresh, &noted(0, 0), 0, false));
        assert!(!due(&fresh, &noted(BEGIN_MS, 0), 14, true), "restarts do not wear it");
        assert!(due(&fresh, &noted(BEGIN_MS, 0), 15, false));
        assert!(due(&fresh, &noted(BEGIN_MS + 999_999, 0), 0, false), "a clock that was set back");
        let counted = Last { counted: Some(begin), asked: Some(begin), is_told: false };
        assert!(!due(&counted, &noted(0, 0), 14, true));
        assert!(due(&counted, &noted(0, 0), 15, true) && !due(&counted, &noted(0, 0), 599, false));
        assert!(due(&counted, &noted(0, 0), 600, false));
        let failed = Last { asked: Some(begin), ..Last::default() };
        assert!(!due(&failed, &noted(0, 0), 14, false) && due(&failed, &noted(0, 0), 15, false));
        // Whoever stops and starts it all day has it count once in a period.
        assert!(!due(&fresh, &noted(BEGIN_MS, BURST), 599, true) && due(&fresh, &noted(BEGIN_MS, BURST), 600, true));
        assert!(due(&fresh, &noted(BEGIN_MS, BURST - 1), 15, true));
    }
}
