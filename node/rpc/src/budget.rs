//! Bytes held for clients: request bodies and answers draw on one budget, so that many of them together cannot fill the memory.
//!
//! The first [`FREE_BYTES`] of every account are not counted: ordinary calls go on while bulk traffic has used up the budget. The
//! number of connections bounds those.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of an account that are not counted.
pub(crate) const FREE_BYTES: usize = 64 * 1024;

/// Bytes that one permit stands for.
const UNIT_BYTES: usize = 1024;

/// What all accounts draw on.
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT_BYTES)))
    }

    /// An account that holds nothing yet.
    pub(crate) fn account(&self) -> Account {
        Account { budget: Arc::clone(&self.0), held_bytes: 0, permits: None }
    }
}

/// Bytes of one request; dropping it returns them to the budget.
pub(crate) struct Account {
    budget: Arc<Semaphore>,
    held_bytes: usize,
    permits: Option<OwnedSemaphorePermit>,
}

impl Account {
    /// Bytes held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Holds `bytes` more; false, and nothing changes, when the budget has no room.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let held_bytes = self.held_bytes.saturating_add(bytes);
        let owed = held_bytes.saturating_sub(FREE_BYTES).div_ceil(UNIT_BYTES);
        let paid = self.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if owed > paid {
            let Ok(missing) = u32::try_from(owed - paid) else { return false };
            let Ok(more) = Arc::clone(&self.budget).try_acquire_many_owned(missing) else { return false };
            match &mut self.permits {
                Some(permits) => permits.merge(more),
                none => *none = Some(more),
            }
        }
        self.held_bytes = held_bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_share_what_exceeds_their_free_part() {
        let budget = Budget::new(100 * UNIT_BYTES);
        let (mut first, mut second) = (budget.account(), budget.account());
        assert!(first.hold(FREE_BYTES + 60 * UNIT_BYTES));
        assert!(second.hold(FREE_BYTES + 40 * UNIT_BYTES));
        assert!(!second.hold(1), "the budget is used up");
        assert_eq!(second.held_bytes(), FREE_BYTES + 40 * UNIT_BYTES);
        assert!(budget.account().hold(FREE_BYTES), "small requests still pass");
        drop(first);
        assert!(second.hold(60 * UNIT_BYTES));
        assert!(!second.hold(usize::MAX));
    }
}
