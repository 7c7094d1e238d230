//! The trail of every decision about a key: who asked for what, and what became of it. No secrets.

mod log;

use borsh::{BorshDeserialize, BorshSerialize};

pub use log::{AuditLog, Entry, verify_chain};

/// What became of a request.
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
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Event {
    /// Name of the request.
    pub request: String,
    /// What it was about.
    pub subject: String,
    /// The digest that was signed.
    pub digest: Option<[u8; 32]>,
    /// What became of it.
    pub outcome: Outcome,
}

/// The trail could not be written, or does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Writing failed; nothing may leave until it works again.
    #[error("audit log {path}: {reason}")]
    Storage {
        /// The log's file.
        path: std::path::PathBuf,
        /// What failed.
        reason: String,
    },
    /// The chain of entries is broken.
    #[error("audit log {path}: entry {sequence} {reason}; entries were changed, removed or reordered")]
    Broken {
        /// The log's file.
        path: std::path::PathBuf,
        /// The first entry that does not fit.
        sequence: u64,
        /// How it does not fit.
        reason: String,
    },
}

/// Takes every decision. An error stops the answer: what cannot be recorded does not happen.
pub trait Audit: Send + Sync {
    /// Records one decision.
    fn record(&self, event: &Event) -> Result<(), AuditError>;
}

/// Writes decisions to the process's log only: for tools and tests that keep no trail.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceAudit;

impl Audit for TraceAudit {
    fn record(&self, event: &Event) -> Result<(), AuditError> {
        match &event.outcome {
            Outcome::Refused(reason) => tracing::warn!(request = event.request, subject = event.subject, reason),
            outcome => tracing::debug!(request = event.request, subject = event.subject, ?outcome),
        }
        Ok(())
    }
}
