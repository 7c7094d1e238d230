//! Shared vocabulary of the node: ids, hashes, transactions, blocks, receipts, crypto suites and their canonical encodings.
//!
//! Pure data and pure functions: no I/O, no clock, no threads. The traits that join rooms which must not know each other
//! ([`ports`]) live here too and are wired by the runtime.

#![forbid(unsafe_code)]

pub mod consensus;
pub mod genesis;
pub mod header;
pub mod id;
pub mod limits;
pub mod ports;
pub mod state;
pub mod suite;

pub use id::{Address, H256, NodeId};
pub use suite::{CryptoSuite, EvmHash};
