//! The SDF backend: any vendor's GM/T 0018 library, loaded by path, behind [`bixi_hsm::KeyDevice`].
//!
//! ```text
//!  KeyDevice ─▶ device ─▶ bixi_hsm::pool ─▶ session (access rights, imported keys) ─▶ ffi (one library, one open device)
//!                 ├▶ catalogue (names of indices)  └▶ bixi_hsm::pin (a wrong password is never tried twice)
//!                 ├▶ kek, prf (a session key as key encryption key, a PRF made of SM4)
//!                 └▶ profile (which numbers, which lengths)
//! ```
//!
//! Invariants:
//! - `unsafe` exists only in `ffi`, which turns pointers and lengths into values and hands over to safe code;
//! - no signature leaves this crate that has not been verified in software, but as [`bixi_hsm::device::Unverified`];
//! - one wrong password stops the device for this process and, by its stored fingerprint, for every later one until it changes;
//! - a library is loaded once per process and never unloaded, and its device is open at most once;
//! - a session in which a call failed is closed, never reused; rights and imported keys end with their session;
//! - a key encryption key that the device imports is used only after it answered as the key that was made.
#![deny(unsafe_code)]

pub mod abi;
mod catalogue;
mod device;
mod error;
mod ffi;
mod kek;
mod prf;
pub mod profile;
mod session;

pub use device::{Params, SdfDevice};
pub use profile::Profile;
