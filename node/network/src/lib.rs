//! Between nodes: certificates, sessions, transport.
//!
//! This release runs one validator a chain, so what is here is what such a node needs: SM2 certificates ([`pki`]) for its CA
//! and its TLS key, and the transport of a node without peers ([`solitary`]). TLS with SM2, SM3 and SM4 ([`tls`]) is ready for the
//! sessions to come.

#![forbid(unsafe_code)]

pub mod pki;
pub mod solitary;
pub mod tls;
