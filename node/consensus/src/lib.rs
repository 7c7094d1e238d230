//! Consensus: order by BFT, certify results by checkpoint votes. Pure code: inputs in, effects out.
//!
//! ```text
//!             verified messages, durability, signatures, results            effects, performed by the host
//!   host ────────────────────── Input ─────────────────────▶ Core ───────────────────── Effect ─────────▶ host
//!                                                             │ ▲
//!                                                  EngineInput│ │EngineOutput
//!                                                             ▼ │
//!                                              OrderingEngine (Tendermint by malachite)
//! ```
//!
//! [`Core`] holds every duty between the ordering algorithm and the world: what is logged before it is said, what is signed
//! and when, which values are acceptable, when a height may start, how results are certified, how a node that was away
//! catches up, and when a node must not vote at all. The host only performs effects; a simulator performs the same ones.
//!
//! No clock, thread, random source or hash-ordered map: time comes in with every input, and equal inputs give equal effects.

#![forbid(unsafe_code)]

pub mod certificate;
mod context;
pub mod core;
mod effect;
mod engine;
mod error;
mod input;
pub mod log;
pub mod message;
mod params;
#[cfg(test)]
mod simulator;

pub use crate::core::Core;
pub use crate::effect::{Effect, Evidence, HaltReason};
pub use crate::engine::{EngineInput, EngineOutput, HeightStart, OrderingEngine, Tendermint, TimeoutKind, Verdict};
pub use crate::error::DecodeError;
pub use crate::input::{Head, HeightRules, Input, Now, Start};
pub use crate::log::LogEntry;
pub use crate::message::{
    CheckpointCertificate, Held, Mark, Message, PolkaCertificate, RoundCertificate, SignatureCheck, Step, Unchecked,
};
pub use crate::params::{Mode, Params, Reason, Status, Timeouts};
