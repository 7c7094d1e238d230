//! Shared vocabulary of the node: ids, hashes, transactions, blocks, receipts, crypto suites and their canonical encodings.
//!
//! Pure data and pure functions: no I/O, no clock, no threads. The traits that join rooms which must not know each other
//! ([`ports`]) live here too and are wired by the runtime.

#![forbid(unsafe_code)]

pub mod abi;
pub mod batch;
pub mod block;
pub mod consensus;
pub mod execution;
pub mod genesis;
pub mod header;
pub mod id;
pub mod limits;
pub mod merkle;
pub mod ports;
pub mod receipt;
pub mod session;
pub mod state;
pub mod status;
pub mod suite;
pub mod tars;
pub mod tls;
pub mod transaction;

pub use id::{Address, H256, NodeId};
pub use suite::{CryptoSuite, EvmHash};
