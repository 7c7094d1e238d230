//! An escrow: a key encryption key that exists only as shares among officers, any `threshold` of whom recover it.
//!
//! ```text
//! EscrowKey ─ Shamir, GF(2^8) ─▶ share 1 … share n ─▶ one printed document for each officer
//!     │                              └─ SM3 commitments ─▶ Record, in the vault's slot
//!     └─ HMAC-SM3 ─▶ PRF that the vault's slot is sealed under
//! ```
//!
//! Invariants:
//! - fewer shares than the threshold say nothing about the key (Shamir 1979: the coefficients are uniform and independent);
//! - a share that is wrong, forged, given twice or of another escrow is named, with its officer, before anything is combined:
//!   the record commits to each, and a share has 256 bits of entropy, so that its commitment gives nothing away;
//! - arithmetic on secrets is constant time, without tables; keys and shares live in locked memory, without `Clone` or `Debug` of
//!   bytes; no type here writes to a disk;
//! - a document is checked line by line: a slip of the pen is told with its line, and lines of two documents never make one.

#![forbid(unsafe_code)]

mod document;
mod error;
mod field;
mod key;
mod lines;
mod record;
mod shamir;
mod share;

#[cfg(test)]
mod tests;

pub use document::{DOCUMENT_BYTES_MAX, Document, PageReader};
pub use error::EscrowError;
pub use key::{Escrow, EscrowKey, recover};
pub use record::{Holder, NAME_BYTES_MAX, OFFICERS_MAX, Record};
pub use share::{SealedShare, Share, ShareId};
