//! Heads of the trail that the device signed: what an inquiry has that does not take this host's word for the trail.
//!
//! The seal of the trail's files keeps away whoever lacks the node's data keys; a signed head binds everything before it to a key that
//! cannot be taken out of the device, so not even somebody with all data keys can write another history up to it.
//!
//! The TLS key signs them, over a statement that begins with a domain of its own: no TLS handshake (64 spaces, RFC 8446 4.4.3) and no
//! certificate request (a DER sequence) begins so. Nobody can ask for such a signature: the service takes the head from its own trail.

use std::collections::VecDeque;

use bixi_accel::sm2::{self, PublicKey, Signature};
use bixi_types::consensus::SignatureBytes;
use bixi_types::{H256, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};

use super::chain::{Entry, Head};

const DOMAIN: &[u8] = b"BIXI-HSM-AUDIT-HEAD-V1";
/// Entries that may come between a head and the entry that holds its signature: the trail goes on while the device signs.
pub const LAG_ENTRIES_MAX: u64 = 65_536;

/// What the device signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HeadStatement {
    /// Genesis hash.
    pub chain: H256,
    /// The consensus key of the node.
    pub node: NodeId,
    /// Where the trail stood.
    pub head: Head,
    /// When, in milliseconds since the Unix epoch by the host's clock.
    pub at_ms: u64,
}

impl HeadStatement {
    /// The bytes under the signature.
    pub fn sign_bytes(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        self.serialize(&mut bytes).expect("borsh into memory cannot fail");
        bytes
    }
}

/// A head that the device signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedHead {
    /// What was signed.
    pub statement: HeadStatement,
    /// X ‖ Y of the key that signed: the node's TLS key of that time.
    pub key: [u8; 64],
    /// r ‖ s over the statement, by GB/T 32918.2 with the default identity.
    pub signature: SignatureBytes,
}

impl SignedHead {
    /// Whether the signature is that key's.
    pub fn verifies(&self) -> bool {
        let Ok(key) = PublicKey::from_bytes(&self.key) else { return false };
        let z = sm2::identity_digest(sm2::DEFAULT_ID, &key);
        let digest = sm2::message_digest(&z, &self.statement.sign_bytes());
        sm2::verify_digest(&key, &digest, &Signature(self.signature.0))
    }
}

/// The last heads of a chain that is being read, for signatures that come some entries later.
pub(super) struct Recent {
    /// Entries before the oldest remembered head.
    oldest: u64,
    hashes: VecDeque<[u8; 32]>,
    /// Where reading began: heads before it stand in files that are not here.
    begins: u64,
}

impl Recent {
    pub(super) fn begin(head: Head) -> Self {
        Self { oldest: head.entries, hashes: VecDeque::from([head.hash]), begins: head.entries }
    }

    /// Takes the next entry of the chain; an error says what is wrong with a signature in it.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<(), &'static str> {
        if let super::Outcome::HeadSigned(signed) = &entry.event.outcome {
            self.check(signed)?;
        }
        self.hashes.push_back(entry.hash());
        if self.hashes.len() as u64 > LAG_ENTRIES_MAX {
            self.hashes.pop_front();
            self.oldest += 1;
        }
        Ok(())
    }

    fn check(&self, signed: &SignedHead) -> Result<(), &'static str> {
        if !signed.verifies() {
            return Err("holds a signature over the trail's head that does not verify");
        }
        let Head { entries, hash } = signed.statement.head;
        if entries < self.begins {
            return Ok(());
        }
        let place = entries.checked_sub(self.oldest).ok_or("holds a signature over a head that lies too far back")?;
        match self.hashes.get(place as usize) {
            Some(known) if *known == hash => Ok(()),
            _ => Err("holds a signature over another history than the entries before it"),
        }
    }
}
