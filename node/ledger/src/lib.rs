//! The ledger: blocks, receipts and world state, durable and sealed.
//!
//! A block goes through two steps. [`Ledger::prepare`] computes the state commitment of its writes and lays them over the
//! committed state in memory, so that the next block can be executed. [`Ledger::commit`] makes the certified block durable in
//! one atomic, synced batch. Nothing is on disk between the two: after a crash the block is executed again.
//!
//! ```text
//! execution ─ WriteSet ─► prepare ─► layer over the head ─► PreparedState{state_root} ─► header ─► checkpoint votes
//!                            │                                                                          │
//!             StateView ◄────┴── row cache ◄── engine ◄─────── one synced batch ◄─────────────── commit ┘
//!                                             (rocksdb on cipherfs | memory)
//! ```
//!
//! Opening checks that the schema, the chain, the last headers and the state commitment agree with each other.

#![forbid(unsafe_code)]

mod cache;
pub mod commitment;
#[cfg(test)]
mod driver;
pub mod engine;
mod error;
mod history;
pub mod keys;
mod layers;
mod ledger;
mod open;
mod reads;
pub mod records;
mod reseal;
pub mod snapshot;
pub mod verification;
mod view;

pub use error::{ErrorKind, LedgerError};
pub use history::HistoryAfter;
pub use ledger::{Ledger, PreparedState};
pub use open::Params;
pub use records::{CommitBlock, Counts, Heights, History, Outline, Past, StoredBlock, StoredTransaction};
