//! Keys that never leave their device: the device trait, key references, the typed signing protocol, the sign-once guard and
//! the service that joins them.
//!
//! ```text
//! Statement ─ protocol ─▶ SigningService ─▶ guard (fsync) ─▶ KeyDevice ─▶ verified in software ─▶ guard (stored) ─▶ caller
//! ```
//!
//! Whoever holds a [`KeyDevice`] can have any digest signed; so only the signing service holds the one with the consensus
//! key, and it takes typed statements and computes the digest itself.

#![forbid(unsafe_code)]

pub mod audit;
pub mod conformance;
pub mod device;
pub mod elf;
pub mod exchange;
pub mod gate;
pub mod guard;
pub mod officer;
pub mod phase;
pub mod pin;
pub mod pool;
pub mod profile;
pub mod protocol;
pub mod random;
pub mod self_test;
pub mod service;
pub mod soft;
pub mod transcript;
pub mod uri;
pub mod verify;
pub mod whole_file;

pub use device::{
    Attestation, Cause, Custody, DeviceError, DeviceInfo, ErrorKind, KeyDevice, KeyInfo, KeyKind, KeySpec, Trust,
};
pub use guard::{Guard, GuardError};
pub use service::{CustodyPolicy, Keys, Params, RetryPolicy, ServiceError, SigningService};
pub use uri::{KeyRef, KeyUri, ObjectType, Scheme, UriError};
