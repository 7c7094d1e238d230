//! Between nodes: certificates, sessions, transport.
//!
//! - [`pki`] certificates and [`tls`] TLS 1.3, both in the chain's suite: with SM2, SM3 and SM4, or plain
//! - [`frame`] what goes over a session, [`session`] how one begins, is bound to both consensus keys and ends
//! - [`peers`] the node's listener, its calls, two sessions for each peer: [`Network`], the transport between validators
//! - [`solitary`] the transport of a chain of one

#![forbid(unsafe_code)]

pub mod frame;
pub mod peers;
pub mod pki;
mod random;
pub mod session;
pub mod solitary;
mod suite;
pub mod tls;

pub use peers::{
    Admission, Inbox, Limits, Network, NetworkError, Params, Parts, PeerStatus, RefusalRecord, SessionStatus,
};
pub use session::{Channel, Direction, RefusalKind, SessionKey, TlsSettings, VERSIONS, Versions};
