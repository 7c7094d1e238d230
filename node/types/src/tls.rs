//! What a TLS key signs to prove itself in a handshake: the content of a TLS 1.3 CertificateVerify (RFC 8446 4.4.3).
//!
//! ```text
//! 64 spaces ‖ context string ‖ 0 ‖ transcript hash
//! ```
//!
//! Whoever holds such a key, in a device or in memory, signs nothing else with it in a handshake's name: the holder reads the content
//! before it signs. The hash is the cipher suite's, so its length is for the caller to judge.

use borsh::{BorshDeserialize, BorshSerialize};

/// Sixty-four spaces stand before everything a TLS 1.3 key signs.
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

/// The content over a transcript hash.
pub fn certificate_verify(role: TlsRole, hash: &[u8]) -> Vec<u8> {
    [&PADDING, role.context(), &[0], hash].concat()
}

/// Role and transcript hash of a content as a TLS library hands it to its signing key; `None` for anything else.
pub fn read_certificate_verify(content: &[u8]) -> Option<(TlsRole, &[u8])> {
    [TlsRole::Server, TlsRole::Client].into_iter().find_map(|role| {
        let hash = content.strip_prefix(&PADDING)?.strip_prefix(role.context())?.strip_prefix(&[0])?;
        Some((role, hash))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_read_as_it_is_written_and_nothing_else_is_one() {
        for (role, hash) in [(TlsRole::Server, vec![7; 32]), (TlsRole::Client, vec![8; 48]), (TlsRole::Client, vec![])]
        {
            let content = certificate_verify(role, &hash);
            assert_eq!(read_certificate_verify(&content), Some((role, &hash[..])));
            for at in 0..content.len() - hash.len() {
                let mut changed = content.clone();
                changed[at] ^= 1;
                assert_eq!(read_certificate_verify(&changed), None, "{role:?}, byte {at}");
            }
            assert_eq!(read_certificate_verify(&content[1..]), None);
        }
    }
}
