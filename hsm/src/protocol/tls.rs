//! The content of a TLS 1.3 CertificateVerify, built here from the transcript hash.

use bixi_types::tls::{certificate_verify, read_certificate_verify};
use borsh::{BorshDeserialize, BorshSerialize};

pub use bixi_types::tls::TlsRole;

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
        certificate_verify(self.role, &self.hash)
    }

    /// Reads a content as a TLS library hands it to its signing key; `None` for anything else.
    pub fn from_content(content: &[u8]) -> Option<Self> {
        let (role, hash) = read_certificate_verify(content)?;
        Some(Self { role, hash: hash.try_into().ok()? })
    }
}
