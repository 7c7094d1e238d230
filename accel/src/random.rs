//! The source of randomness, owned by the caller.

/// A cryptographically secure random generator handed in by the caller.
///
/// Implementations must fill the whole buffer with unpredictable bytes or fail; a partial fill is an error.
pub trait Random {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError>;
}

/// The random source could not deliver; nothing was computed from what it may have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the random source failed: {reason}")]
pub struct RandomError {
    reason: String,
}

impl RandomError {
    /// An error with the cause as the source reports it.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}
