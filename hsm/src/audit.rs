//! The trail of every decision about a key: who asked for what, and what became of it. No secrets.
//!
//! ```text
//! SigningService ─ Audit::record(event, durability) ─▶ AuditLog: audit-000001.log ─▶ audit-000002.log ─▶ …
//!                                                          ▲ sync() about once a second, and when the node stops
//! ```
//!
//! What must be durable before an answer leaves ([`Durability`]):
//! - *at once*: refusals and conflicts, and what is done with a key besides its daily work (certificate requests,
//!   derivations of the key encryption key, attestations). They are rare, and they are what an inquiry asks for;
//! - *grouped*: signatures of the daily work. They survive the end of the process at once, and the loss of power from the
//!   next [`AuditLog::sync`] on. Nothing is lost with them: the guard's claim of the same statement was durable before the
//!   device was asked, so the signing path waits for no second sync.
//!
//! From time to time, and when the node stops in order, the device signs the head of the trail, and the signature becomes an entry
//! ([`SignedHead`]). A trail of an earlier release has none and is verified as it is.

mod chain;
mod epochs;
mod log;
mod reserved;
mod signed;
#[cfg(test)]
mod tests;
mod verify;

use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::device::ErrorKind;
use crate::protocol::TrailResealed;

pub use chain::{Entry, Head, HeadError};
pub use log::{AuditLog, DISK_BYTES_WARN, FILE_BYTES_MAX, Usage};
pub use reserved::Reserved;
pub use signed::{HeadStatement, LAG_ENTRIES_MAX, SignedHead};
pub use verify::{Chain, verify_chain};

pub(crate) use log::now_ms;

/// Longest text in an event; longer ones are cut. Reasons may quote what an outsider or a vendor's library said.
pub const TEXT_BYTES_MAX: usize = 512;

/// What became of a request. Variants are only ever added at the end: old trails stay readable.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// The device signed.
    Signed,
    /// A stored signature was given again.
    Stored,
    /// Answered without a signature.
    Answered,
    /// Refused, and why.
    Refused(String),
    /// The device signed the head of the trail as it stood some entries before.
    HeadSigned(Box<SignedHead>),
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Event {
    /// Name of the request.
    pub request: String,
    /// What it was about.
    pub subject: String,
    /// The digest that was signed, or that a refused request asked for.
    pub digest: Option<[u8; 32]>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Event {
    /// As a trail has it: with every text at most [`TEXT_BYTES_MAX`] long.
    fn encode(&self) -> Vec<u8> {
        let encode = |event: &Self| borsh::to_vec(event).expect("borsh into memory cannot fail");
        let reason = match &self.outcome {
            Outcome::Refused(reason) => reason.as_str(),
            _ => "",
        };
        if [&self.request, &self.subject, reason].iter().all(|text| text.len() <= TEXT_BYTES_MAX) {
            return encode(self);
        }
        let outcome = match &self.outcome {
            Outcome::Refused(reason) => Outcome::Refused(clip(reason)),
            outcome => outcome.clone(),
        };
        encode(&Self { request: clip(&self.request), subject: clip(&self.subject), digest: self.digest, outcome })
    }
}

fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// When an event must survive the loss of power. It survives the end of the process in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// With the next [`AuditLog::sync`].
    Grouped,
    /// Before [`Audit::record`] returns.
    AtOnce,
}

/// The trail could not be written, or does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The disk failed; nothing may leave until the log is opened again.
    #[error("audit log {path}: {reason}; nothing is signed until it can be written again")]
    Storage {
        /// The log's file.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// Another process writes it.
    #[error("audit log {path} is in use by another process")]
    InUse {
        /// The log's directory.
        path: PathBuf,
    },
    /// A file is not what was written, or of another node.
    #[error("audit log {path}: {reason}; keep the directory as evidence and move it aside to begin a new log")]
    Damaged {
        /// The log's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The chain of entries is broken.
    #[error("audit log {path}: entry {sequence} {reason}; entries were changed, removed or reordered")]
    Broken {
        /// The log's file.
        path: PathBuf,
        /// The first entry that does not fit.
        sequence: u64,
        /// How it does not fit.
        reason: String,
    },
}

impl AuditError {
    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::Refuse,
            Self::Storage { .. } | Self::Damaged { .. } | Self::Broken { .. } => ErrorKind::Halt,
        }
    }

    fn storage(path: &Path, action: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Storage { path: path.to_owned(), reason: format!("{action}: {error}") }
    }

    /// The disk's own errors may pass; what the seal refuses was changed.
    fn sealed(path: &Path, error: &bixi_sealed::SealedError) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.cause() {
            bixi_sealed::SealedError::Io { .. } | bixi_sealed::SealedError::Poisoned => Self::Storage { path, reason },
            _ => Self::Damaged { path, reason },
        }
    }
}

/// Takes every decision. An error stops the answer: what cannot be recorded does not happen.
pub trait Audit: Send + Sync {
    /// Records one decision.
    ///
    /// # Errors
    /// When it is not recorded as durably as asked.
    fn record(&self, event: &Event, durability: Durability) -> Result<(), AuditError>;

    /// Whether the trail takes entries, as far as is known without writing one: for what an entry tells of later.
    ///
    /// # Errors
    /// Why it takes none.
    fn check(&self) -> Result<(), AuditError>;

    /// Where the chain of entries stands, for a trail that keeps one.
    fn head(&self) -> Option<Head> {
        None
    }

    /// Entries up to the one with the last head that the device signed, with it: 0 where that is not known, so that a head is rather
    /// signed too early than too late.
    fn sealed(&self) -> u64 {
        0
    }

    /// Goes on in a file under the current epoch of the data keys, if the present one is of an older epoch.
    ///
    /// # Errors
    /// The disk's; the trail takes no more entries then.
    fn renew(&self) -> Result<(), AuditError> {
        Ok(())
    }

    /// Seals the oldest file anew that is of an older epoch and not written any more.
    ///
    /// # Errors
    /// The disk's, or for a file that does not hold; it is as it was then, and the trail takes entries.
    fn reseal_oldest(&self) -> Result<TrailResealed, AuditError> {
        Ok(TrailResealed::default())
    }

    /// The oldest epoch of the data keys that a file of it needs, with that file.
    ///
    /// # Errors
    /// For a file that does not say.
    fn oldest_epoch(&self) -> Result<Option<(PathBuf, u32)>, AuditError> {
        Ok(None)
    }
}

/// Writes decisions to the process's log only: for tools and tests that keep no trail.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceAudit;

impl Audit for TraceAudit {
    fn record(&self, event: &Event, _: Durability) -> Result<(), AuditError> {
        match &event.outcome {
            Outcome::Refused(reason) => tracing::warn!(request = event.request, subject = event.subject, reason),
            outcome => tracing::debug!(request = event.request, subject = event.subject, ?outcome),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), AuditError> {
        Ok(())
    }
}
