//! A GM/T 0018 library for the tests of the SDF backend: the standard's calls over `bixi-accel`, with keys in plain files.
//!
//! It protects nothing, says so in its `DEVICEINFO`, and no package holds it. It is loaded by path like a vendor's library;
//! beside the library lies `sdf-test.conf` ([`config`]), so each copy of the file is a device of its own. What a device may do
//! wrong is switched on while it runs, by the file `fault` in its directory ([`faults`]).
//!
//! ```text
//!  C caller ─▶ abi (pointers) ─▶ device (device, sessions, rights, keys) ─▶ store (pairs in files, wrong passwords)
//!                  └▶ faults (busy, lost, hung, …)
//! ```
//!
//! Invariant: `unsafe` exists only in [`abi`], which turns pointers into references and hands over to safe functions.
#![deny(unsafe_code)]

pub mod abi;
pub mod config;
mod device;
pub mod faults;
mod store;

/// What a call answers when it fails: `SDR_`, or a code of this library's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub u32);

/// The codes it answers with (GM/T 0018 annex A).
pub mod answers {
    use super::Refusal;
    use bixi_hsm_sdf::abi::SDR_BASE;

    /// `SDR_UNKNOWERR`
    pub const UNKNOWN: Refusal = Refusal(SDR_BASE + 0x01);
    /// `SDR_NOTSUPPORT`
    pub const NOT_SUPPORTED: Refusal = Refusal(SDR_BASE + 0x02);
    /// `SDR_COMMFAIL`
    pub const LOST: Refusal = Refusal(SDR_BASE + 0x03);
    /// `SDR_OPENDEVICE`
    pub const OPEN_DEVICE: Refusal = Refusal(SDR_BASE + 0x05);
    /// `SDR_OPENSESSION`
    pub const OPEN_SESSION: Refusal = Refusal(SDR_BASE + 0x06);
    /// `SDR_PARDENY`
    pub const DENIED: Refusal = Refusal(SDR_BASE + 0x07);
    /// `SDR_KEYNOTEXIST`
    pub const NO_KEY: Refusal = Refusal(SDR_BASE + 0x08);
    /// `SDR_ALGNOTSUPPORT`
    pub const ALGORITHM: Refusal = Refusal(SDR_BASE + 0x09);
    /// `SDR_KEYERR`
    pub const KEY: Refusal = Refusal(SDR_BASE + 0x15);
    /// `SDR_ENCDATAERR`
    pub const ENVELOPE: Refusal = Refusal(SDR_BASE + 0x16);
    /// `SDR_RANDERR`
    pub const RANDOM: Refusal = Refusal(SDR_BASE + 0x17);
    /// `SDR_FILEWERR`
    pub const FILE: Refusal = Refusal(SDR_BASE + 0x1B);
    /// `SDR_INARGERR`
    pub const ARGUMENT: Refusal = Refusal(SDR_BASE + 0x1D);
    /// A wrong password, by a code of this library's own, as real ones have.
    pub const WRONG_PASSWORD: Refusal = Refusal(SDR_BASE + 0x100);
    /// Too many wrong passwords.
    pub const LOCKED: Refusal = Refusal(SDR_BASE + 0x101);
}
