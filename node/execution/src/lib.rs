//! Execution: (ordered block, state before it) → (receipts, write set). Pure: no clock, thread, random source or network; the
//! state comes in as [`StateView`](bixi_types::state::StateView) and goes out as a sorted
//! [`WriteSet`](bixi_types::state::WriteSet).
//!
//! ```text
//! batches ──order::flatten──▶ OrderedBlock ──Executor::execute──▶ ExecutedBlock { receipts, writes, gas_used }
//!                                               │ Scheduler (sequential)
//!                                               ▼
//!                              Machine: revm + FISCO BCOS's addresses, chain hash, system contracts
//! ```
//!
//! revm is hidden: no type of it is in the public interface, so that its breaking releases stay this room's matter.

#![forbid(unsafe_code)]

mod abi;
mod error;
mod executor;
mod genesis;
mod machine;
pub mod order;
mod scheduler;
pub mod state;
pub mod system;

pub use error::ExecutionError;
pub use executor::{CallRequest, CallResult, ExecutionParams, Executor, PROTOCOL_VERSION};
pub use genesis::genesis_writes;
