//! Nodes of a live chain of real processes that come and go: by the transactions that FISCO BCOS's console sends, by an operator's
//! lists, and by being started again.

mod joining;
mod reload;
mod rolling;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Each of these tests runs four processes or five: one after the other they share a small machine.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
