//! A PKCS#11 2.40 module whose token lives in a sealed directory: the embedded default when no device is attached.
//!
//! The module is loaded like any vendor's: by path, through `C_GetFunctionList`. It speaks SM2, SM3 and SM4 under a
//! selectable profile of vendor numbers, because PKCS#11 has assigned none ([`profile`]).
//!
//! ```text
//!  C caller ─▶ abi (pointers, catch_unwind) ─▶ module (slots, sessions, logins) ─▶ operation (SM2, SM3, SM4)
//!                                                   │                                   ▲
//!                                                   ▼                                   │
//!                                                 token ──▶ store (PIN, counters, sealed objects)
//! ```
//!
//! Invariants:
//! - `unsafe` exists only in [`abi`]; it turns pointers into slices and hands over to safe functions.
//! - No panic crosses the C boundary: it becomes `CKR_GENERAL_ERROR`.
//! - A key value rests in locked, wiped memory (`bixi_platform::secret::Secret`). Outside of it are: the store's plaintext
//!   while it is read or sealed (heap, wiped or overwritten), the expanded key of an active operation until that ends (heap,
//!   wiped), and the intermediate values of arithmetic (stack, not all wiped).
//! - A PIN attempt is counted on disk, and synced, before it is evaluated.
//! - `CKA_SENSITIVE` is never taken back and `CKA_EXTRACTABLE` never given back.
#![deny(unsafe_code)]

pub mod abi;
pub mod config;
mod curve;
mod error;
mod log;
mod module;
mod object;
mod operation;
pub mod profile;
mod random;
mod session;
mod store;
mod token;
