//! What a node signs to open a session with a peer: that this very TLS connection ends at the holder of its consensus key.
//!
//! The statement commits to a secret that only the two ends of one TLS connection can compute (RFC 8446 7.5). It is worth nothing
//! on another connection, so whoever relays it between two connections of his own is found out, and it can contradict nothing: no
//! guard lane watches it.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::consensus::tagged;
use crate::{H256, NodeId};

/// Label of the exporter (RFC 8446 7.5); unregistered labels begin like this (RFC 5705 4).
pub const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL-bixi-session";
/// Bytes of the exporter's value.
pub const EXPORTER_BYTES: usize = 32;

/// Which end of the TLS connection signs. It keeps a proof from being returned to whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum SessionRole {
    /// The one that called.
    Client,
    /// The one that was called.
    Server,
}

/// The statement.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SessionProof {
    /// Genesis hash.
    pub chain: H256,
    /// Who signs.
    pub node: NodeId,
    /// Which end it is.
    pub role: SessionRole,
    /// Version of the protocol both sides will speak: nobody between them can have talked them into an older one.
    pub protocol_version: u32,
    /// The connection's exporter value under [`EXPORTER_LABEL`], without a context.
    pub exporter: [u8; EXPORTER_BYTES],
}

impl SessionProof {
    /// Domain string of the signed bytes.
    pub const DOMAIN: &'static [u8] = b"BIXI-NETWORK-SESSION-V1";

    /// The bytes a node signs.
    pub fn sign_bytes(&self) -> Vec<u8> {
        tagged(Self::DOMAIN, self)
    }
}

/// Without the exporter's value, which is a secret of the connection.
impl std::fmt::Debug for SessionProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionProof")
            .field("chain", &self.chain)
            .field("node", &self.node)
            .field("role", &self.role)
            .field("protocol_version", &self.protocol_version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> SessionProof {
        SessionProof {
            chain: H256([1; 32]),
            node: NodeId([2; 64]),
            role: SessionRole::Client,
            protocol_version: 3,
            exporter: [4; 32],
        }
    }

    #[test]
    fn signed_bytes_are_the_domain_and_every_field() {
        let bytes = proof().sign_bytes();
        let fields = [&[1; 32][..], &[2; 64], &[0], &[3, 0, 0, 0], &[4; 32]].concat();
        assert_eq!(bytes, [SessionProof::DOMAIN, &fields].concat());
        let changed = [
            SessionProof { chain: H256([9; 32]), ..proof() },
            SessionProof { node: NodeId([9; 64]), ..proof() },
            SessionProof { role: SessionRole::Server, ..proof() },
            SessionProof { protocol_version: 9, ..proof() },
            SessionProof { exporter: [9; 32], ..proof() },
        ];
        assert!(changed.iter().all(|other| other.sign_bytes() != bytes));
    }

    #[test]
    fn the_exporter_is_not_printed() {
        let printed = format!("{:?}", SessionProof { exporter: [0xAB; 32], ..proof() });
        assert!(!printed.contains("171") && !printed.to_lowercase().contains("abab"), "{printed}");
    }
}
