//! The ledger under newer data keys.

use crate::engine::Watch;
use crate::{Ledger, LedgerError};

impl Ledger {
    /// Seals what is on disk anew under the current epoch of the data keys, beside reads and commits; true when nothing is left, false
    /// where `watch` ended it. What is left by an end or a failure is done by another call.
    ///
    /// # Errors
    /// The engine's; nothing is lost.
    pub fn reseal(&self, watch: Watch<'_>) -> Result<bool, LedgerError> {
        Ok(self.core.engine.reseal(watch)?)
    }
}
