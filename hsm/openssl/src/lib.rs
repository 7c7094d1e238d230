//! Accelerators behind OpenSSL's ENGINEs and providers (Kunpeng KAE, uadk, Hygon HCT), for bulk SM3 and SM4.
//!
//! ```text
//!  configuration ─▶ library (one plugin per libcrypto ABI) ─▶ accelerator (typed calls)
//!                                                                 │ selftest: against accel, before anything else
//!                                                                 │ measure:  ours against theirs, by size
//!                                                                 ▼
//!                                        caller ─▶ bulk: theirs where it was faster, ours everywhere else
//! ```
//!
//! Invariants:
//! * This crate links no OpenSSL: libcrypto comes with the plugin, which is loaded when a configuration names it, and not before.
//! * An operation is used only if its answers equalled accel's, for lengths around every boundary, and if it was faster by
//!   [`measure::MARGIN_PERCENT`]; what was measured and chosen is told.
//! * A call that fails is computed by accel, and counted. After [`bulk::FAILURES_MAX`] in a row an operation is given up.
//! * SM2 verification is tested and measured, and never dispatched: a wrong "valid" is a forged transaction, and nothing cheaper than
//!   verifying again could find it out.

#![deny(unsafe_code)]

pub mod accelerator;
pub mod bulk;
#[allow(unsafe_code)]
mod library;
pub mod measure;
mod ours;
pub mod selftest;

pub use accelerator::{Accelerator, Params, Source};
pub use bixi_hsm_openssl_abi::Operation;
pub use bulk::Bulk;
