//! Between nodes: certificates, sessions, transport.
//!
//! This release runs one validator a chain, so what is here is what such a node needs: SM2 certificates ([`pki`]) for its CA
//! and its TLS key, and the transport of a node without peers ([`solitary`]).

#![forbid(unsafe_code)]

pub mod pki;
pub mod solitary;
