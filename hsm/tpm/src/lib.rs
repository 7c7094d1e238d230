//! The TPM backend: SM2 keys and a key encryption key inside a TPM 2.0, behind [`bixi_hsm::KeyDevice`].
//!
//! ```text
//!  KeyDevice ─▶ device ─▶ bixi_hsm::pool ─▶ connection (one line, one HMAC session, at most three loaded objects)
//!                 │                           ├▶ line     device file, or swtpm's socket: one command, one response
//!                 ├▶ store  wrapped keys      ├▶ session  HMAC, nonces, encrypted first parameters
//!                 └▶ attestation, counter     └▶ code     what a TPM_RC means and what to do about it
//! ```
//!
//! The commands are marshalled here (TPM 2.0 Library specification, parts 1 to 3, revision 1.59): no TPM library is linked, so
//! `bixi` installs on machines that have none.
//!
//! Invariants:
//! - a private key exists outside the TPM only as the TPM wrapped it, for itself, under its storage hierarchy;
//! - the PIN is never on the line, nor is the answer of a PRF: sessions prove the one and hide the other;
//! - an answer to a command under a session is used only after the TPM's own HMAC over it was right, and a signature only after
//!   it was verified in software;
//! - one wrong PIN stops the device for this process and, by its stored fingerprint, for every later one until it changes;
//! - whatever fails, what was loaded is flushed, or belongs to a connection that the kernel's resource manager cleans up;
//! - every byte the other side sends is read within bounds.
#![forbid(unsafe_code)]

pub mod attestation;
mod ceremony;
mod code;
mod command;
mod connection;
mod counter;
mod device;
mod facts;
mod kdf;
mod key;
mod line;
mod login;
mod public;
mod session;
mod store;
mod wire;

pub use ceremony::{Ceremony, Initialisation, initialise_store};
pub use device::{Params, TpmDevice};
pub use facts::{Facts, Lockout, facts};
pub use line::{Address, AddressError};
