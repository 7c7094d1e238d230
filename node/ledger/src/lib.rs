//! bixi-ledger.
