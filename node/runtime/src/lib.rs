//! The runtime: the only room that knows all others. Starts them as a chain of named steps, performs consensus' effects, joins
//! execution to the ledger, answers RPC, stops in order.
//!
//! ```text
//!            rpc (tokio) ── admission ── verifiers ── pool
//!                                                      │ Work
//!  ordering-log ◀─ Append, Flush ─┐                    ▼
//!       sign ◀──────── Sign ──────┼──────────── consensus thread (Core)
//!    execute ◀────── Decide ──────┤                    ▲
//!     commit ◀──── Certified ─────┘                    │ Signed, LogFlushed, Executed, LedgerCommitted
//!        └──── receipts to clients ────────────────────┘
//! ```
//!
//! Peers reach consensus through `exchange`, and it reaches them through `links`; a chain of one has neither.
//!
//! One thread owns one thing: the core, the ordering log, the device's consensus lane, execution, the ledger's writes. They
//! share nothing but channels, the pool, the batch store and a snapshot of consensus for readers.

#![forbid(unsafe_code)]

pub mod accelerator;
mod api;
mod batches;
pub mod broker;
pub mod chain;
mod clock;
pub mod data_keys;
pub mod doctor;
mod driver;
pub mod escrow;
mod event;
mod evidence;
mod exchange;
mod fingerprint;
mod health;
mod keys;
mod launch;
pub mod lifecycle;
mod links;
mod log_thread;
mod metrics;
mod ordering_log;
mod pipeline;
mod placement;
pub mod probe;
pub mod process;
mod reload;
mod scrub;
mod settings;
mod snapshot;
mod view;

pub use bixi_hsm::transcript;
pub use event::Fault;
pub use launch::{Accepted, Ground, LaunchError, Node, Replay, Replayed, Verdict, launch, launch_on, replay};
pub use reload::Reloaded;
pub use settings::{Settings, SettingsError, Sources};
