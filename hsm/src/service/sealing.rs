//! When the device signs the head of the trail: after so many entries, after so long, and at an orderly end.
//!
//! A device that is away makes no such signature and stops nothing: the next one covers all entries before it. A trail that takes no
//! entries stops everything, as ever.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::Signer as _;

use super::{SigningKey, SigningService};
use crate::audit::{AuditError, Durability, Event, HeadStatement, LAG_ENTRIES_MAX, Outcome, SignedHead, now_ms};
use crate::gate::Priority;

/// Entries after which the head is signed.
const ENTRIES: u64 = 10_000;
/// Time after which it is signed, when there are new entries.
const PERIOD: Duration = Duration::from_secs(600);
/// Pause after a device that did not sign.
const PAUSE: Duration = Duration::from_secs(60);

/// When the head was last signed, or this service began. After how many entries is read from the trail: a process that never lives long
/// enough goes on counting where the one before it ended.
pub(super) struct Sealing(Mutex<Last>);

struct Last {
    at: Instant,
    failed: Option<Instant>,
}

impl Sealing {
    pub(super) fn begin(now: Instant) -> Self {
        Self(Mutex::new(Last { at: now, failed: None }))
    }

    fn is_due(&self, new_entries: u64, now: Instant, is_end: bool) -> bool {
        let last = self.lock();
        let waits = last.failed.is_some_and(|failed| now.saturating_duration_since(failed) < PAUSE);
        let is_time = new_entries >= ENTRIES || now.saturating_duration_since(last.at) >= PERIOD;
        new_entries > 0 && (is_end || (is_time && !waits))
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SigningService {
    /// Has the head signed and written down, if that is due.
    pub(super) fn seal_trail(&self, now: Instant, is_end: bool) -> Result<(), AuditError> {
        let (Some(head), Some(key)) = (self.audit.head(), &self.tls) else { return Ok(()) };
        if !self.sealing.is_due(head.entries.saturating_sub(self.audit.sealed()), now, is_end) {
            return Ok(());
        }
        let statement = HeadStatement { chain: self.chain, node: self.node_id(), head, at_ms: now_ms() };
        let Some((signed, digest)) = self.sign_head(key, statement) else {
            self.sealing.lock().failed = Some(now);
            return Ok(());
        };
        let subject = format!("head {head}");
        let outcome = Outcome::HeadSigned(Box::new(signed));
        let event = Event { request: "audit-head".to_owned(), subject, digest: Some(digest), outcome };
        self.audit.record(&event, Durability::AtOnce)?;
        *self.sealing.lock() = Last { at: now, failed: None };
        Ok(())
    }

    /// The signature, unless the device gave none in time.
    fn sign_head(&self, key: &SigningKey, statement: HeadStatement) -> Option<(SignedHead, [u8; 32])> {
        let digest = key.digest(&statement.sign_bytes());
        let signature = match self.sign_verified(key, &digest, Priority::Keeping) {
            Ok(signature) => SignatureBytes(signature),
            Err(error) => {
                tracing::warn!(%error, "the head of the audit log was not signed; it is tried again");
                return None;
            }
        };
        let lag = self.audit.head()?.entries.saturating_sub(statement.head.entries);
        (lag < LAG_ENTRIES_MAX / 2).then(|| (SignedHead { statement, key: key.bytes(), signature }, digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_after_entries_after_time_and_at_the_end_and_never_without_new_entries() {
        let begin = Instant::now();
        let sealing = Sealing::begin(begin);
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert!(!sealing.is_due(0, after(10_000), true));
        assert!(!sealing.is_due(1, after(599), false));
        assert!(sealing.is_due(1, after(600), false) && sealing.is_due(1, begin, true));
        assert!(!sealing.is_due(ENTRIES - 1, begin, false) && sealing.is_due(ENTRIES, begin, false));
        sealing.lock().failed = Some(after(600));
        assert!(!sealing.is_due(1, after(659), false) && sealing.is_due(1, after(660), false));
        assert!(sealing.is_due(1, after(601), true), "the end waits for nothing");
    }
}
