//! The PKCS#11 backend: any vendor's module, loaded by path, behind [`bixi_hsm::KeyDevice`].
//!
//! ```text
//!  KeyDevice ─▶ device ─▶ pool (bounded sessions, one login, epochs) ─▶ module (one per process and path, never unloaded)
//!                 │          └▶ bixi_hsm::{pool, pin} (what every backend's sessions and PINs share)
//!                 ├▶ raw (mechanisms by a vendor's number: the only unsafe code)
//!                 └▶ profile (which numbers, raw or DER)   └▶ diagnosis (what a wrong signature is instead)
//! ```
//!
//! Invariants:
//! - no signature leaves this crate that has not been verified in software, but as [`bixi_hsm::device::Unverified`];
//! - one wrong PIN stops the device for this process and, by its stored fingerprint, for every later one until it changes;
//! - a module is loaded and initialised once per process and never unloaded;
//! - a session in which a call failed is closed, never reused; handles live as long as one login;
//! - a generated key is read back, and destroyed again when the device made it extractable or readable.
#![deny(unsafe_code)]

/// Tests inside and outside share the processes of their cases.
#[cfg(test)]
extern crate self as bixi_hsm_pkcs11;

mod ceremony;
mod device;
mod diagnosis;
mod error;
mod keys;
mod module;
mod pool;
mod prf;
mod probe;
pub mod profile;
mod raw;
mod transient;

pub use bixi_hsm::profile::{ProfileChoice, ProfileError, VendorProfile};
pub use ceremony::{Initialisation, initialise_token};
pub use device::{Params, Pkcs11Device, TokenSelector};
pub use probe::{Fit, Mechanism, Probe, ProbedToken, SilentToken, probe};
pub use profile::Profile;
