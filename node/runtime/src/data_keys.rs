//! The keys of everything on disk, exchanged: a new epoch of the vault, and files of older epochs sealed anew under it. Of a stopped node
//! [`crate::lifecycle::data_keys`] does it, of a running one its own thread, asked through its control socket.
//!
//! ```text
//! bixi db rotate-key ─ control socket ─▶ Exchange ─▶ data-keys thread ─┬─▶ signing service: vault, guard, audit trail
//!                                          ▲ a start with older files  ├─▶ ledger, beside commits
//!                                                                      └─▶ ordering log, other files, paced
//! ```
//!
//! Invariants:
//! - nothing is dropped unasked: files that an officer has moved elsewhere, such as older ones of the audit trail, are read with the vault's
//!   older epochs;
//! - what is dropped lies below every epoch that a header names, for a header names the oldest of its file, and every name that a node
//!   seals was read; the directories are durable before;
//! - whatever ends it leaves each file under its old epoch or the new one, and the vault with both: headers say what is left.

pub mod control;
mod exchange;
pub(crate) mod files;
pub(crate) mod pace;
mod work;

pub use bixi_hsm::exchange::{End, Left, Moved, Progress, Wish};
pub use bixi_sealed::AtRest;
pub(crate) use exchange::Exchange;
pub(crate) use work::{Parts, run};
