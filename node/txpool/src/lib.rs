//! The transaction pool: admission, batched signature checks, order, packing, limits per account and connection.
//!
//! ```text
//! submit ─ size, quota ─▶ queue ─▶ verifier threads ─ decode, shape, batch SM2 ─▶ pool ─▶ pack ─▶ batch
//!                                                                                  ▲        │
//!                                                    committed / dropped / expired ┴────────┘
//! ```
//!
//! Nothing is recorded under a transaction's hash, nonce or account before its signature was verified: the hash does not
//! cover the signature, so a copy with a junk signature would otherwise shut out the original. Until then only the
//! connection is charged.

#![forbid(unsafe_code)]

mod admission;
mod pool;
mod signers;

pub use admission::{Admission, AdmissionParams, Connection, Metrics};
pub use pool::{Completion, Outcome, PoolParams, Refusal, TxPool};
