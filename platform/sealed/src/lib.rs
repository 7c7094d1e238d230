//! The codec of everything on disk: every byte encrypted *and* authenticated.
//!
//! A file is a header and a chain of *segments*, each under a key of its own, derived from an epoch of the [`KeyRing`]
//! and a fresh random salt. `FORMAT.md` has the byte tables and the argument why no nonce can repeat.
//!
//! ```text
//! frames  header ─ segment ─ frame ─ frame ─ segment ─ frame …     logs: append, flush, sync, reopen
//! pages   header ─ segment ─ (pad) ─ page ─ page ─ final page       tables: append, seal once, read at random
//! small   header ─ segment ─ one sealed body                        written whole, replaced atomically
//! ```
//!
//! Invariants
//! - A file is never continued under a key that has sealed before it was opened: each open for appending starts a segment.
//! - A counter is burnt when its bytes are handed to `write`; an error poisons the writer.
//! - What a reader returns is a prefix of what was written (frames) or exactly what was sealed (pages, small).
//! - A bad frame below a later sync mark is tampering; above it, it is the torn tail of a crash.
//! - A file has one cipher. It is that of the epoch in which the file was made, and header and ring name both together.
//!
//! [`reseal`] moves a file to the ring's current epoch and its cipher; [`scrub`] reads all of one for what is damaged. [`passphrase`] seals a single key under what a person types.
//!
//! The AEADs are SM4-GCM (GB/T 32907, GB/T 36624; RFC 8998's parameters) and AES-256-GCM (NIST SP 800-38D), keys come
//! from HKDF (RFC 5869) over HMAC-SM3.

#![forbid(unsafe_code)]

mod aead;
mod error;
pub mod frames;
mod header;
mod inspect;
mod keyring;
pub mod pages;
pub mod passphrase;
pub mod reseal;
pub mod scrub;
mod segment;
pub mod small;

pub use crate::{
    aead::AtRest,
    error::{ErrorKind, SealedError},
    header::{FileId, Layout, Purpose},
    inspect::{Inspection, inspect, inspect_path},
    keyring::{Current, EPOCH_KEY_BYTES, KeyRing, KeyRingError},
};

/// Result of this room.
pub type Result<T> = std::result::Result<T, SealedError>;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod model_tests;
