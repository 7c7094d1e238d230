//! The content of a TLS 1.3 CertificateVerify, built here from the transcript hash.

use borsh::{BorshDeserialize, BorshSerialize};

/// Sixty-four spaces stand before everything a TLS 1.3 key signs (RFC 8446 4.4.3).
const PADDING: [u8; 64] = [0x20; 64];

/// Which end of the connection signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum TlsRole {
    /// The server.
    Server,
    /// The client.
    Client,
}

impl TlsRole {
    const fn context(self) -> &'static [u8] {
        match self {
            Self::Server => b"TLS 1.3, server CertificateVerify",
            Self::Client => b"TLS 1.3, client CertificateVerify",
        }
    }
}

/// What a TLS key signs: the role and the hash of the handshake up to the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct TlsTranscript {
    /// Which end signs.
    pub role: TlsRole,
    /// SM3 of the handshake messages.
    pub hash: [u8; 32],
}

impl TlsTranscript {
    /// The signed content: 64 spaces ‖ context string ‖ 0 ‖ transcript hash.
    pub fn content(&self) -> Vec<u8> {
        [&PADDING, self.role.context(), &[0], &self.hash].concat()
    }

    /// Reads a content as a TLS library hands it to its signing key; `None` for anything else.
    pub fn from_content(content: &[u8]) -> Option<Self> {
        [TlsRole::Server, TlsRole::Client].into_iter().find_map(|role| {
            let hash = content.strip_prefix(&PADDING)?.strip_prefix(role.context())?.strip_prefix(&[0])?;
            Some(Self { role, hash: hash.try_into().ok()? })
        })
    }
}
