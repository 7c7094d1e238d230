//! Traits that join rooms which must not know each other. The runtime wires them.

use crate::consensus::{Proposal, SignatureBytes, Vote};
use crate::header::BlockHeader;
use crate::{H256, NodeId};

/// What a consensus key may be asked to sign. The signing side computes the digest itself from the whole statement, so nobody
/// can have an arbitrary digest signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// A proposal; guard lane "ordering".
    Proposal(Proposal),
    /// A vote; guard lane "ordering".
    Vote(Vote),
    /// An executed header; guard lane "checkpoint".
    Checkpoint(Box<BlockHeader>),
}

/// Why no signature came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Signing it would contradict an earlier signature. Final for this statement.
    #[error("refused by the sign-once guard: {0}")]
    Conflict(String),
    /// It is no statement that this key signs: of another chain, of another validator, or malformed. Final for this
    /// statement, and a fault of the asker or of the configuration; nothing was signed in its place.
    #[error("not signed: {0}")]
    Refused(String),
    /// The device did not answer in time or failed; the same statement may be tried again.
    #[error("signing device: {0}")]
    Device(String),
    /// The guard's record could not be made durable. The node must stop signing.
    #[error("sign-once guard storage: {0}")]
    Storage(String),
}

/// Signs consensus statements with one key that never leaves its device. Blocking: call it from a signing thread.
pub trait Signer: Send + Sync {
    /// The public key.
    fn node_id(&self) -> NodeId;

    /// Signs after the sign-once guard agreed and is durable. The same statement gets its stored signature again.
    fn sign(&self, statement: &Statement) -> Result<SignatureBytes, SignError>;
}

/// One signature to check.
#[derive(Debug, Clone, Copy)]
pub struct Check<'a> {
    /// The signer.
    pub node: &'a NodeId,
    /// The message as signed (not its digest).
    pub message: &'a [u8],
    /// r ‖ s.
    pub signature: &'a SignatureBytes,
}

/// Checks validators' signatures in the chain's suite.
pub trait Verifier: Send + Sync {
    /// One verdict per check, in order.
    fn verify(&self, checks: &[Check<'_>]) -> Vec<bool>;
}

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Every connected validator but ourselves.
    Broadcast,
    /// One node.
    Node(NodeId),
}

/// Carries consensus messages between validators. Delivery is not promised; order per sender is not either.
pub trait Transport: Send + Sync {
    /// Queues `message` (already encoded, at most [`crate::limits::MESSAGE_BYTES_MAX`]).
    fn send(&self, to: Destination, message: Vec<u8>);
}

/// Identifies a batch by its digest.
pub type BatchDigest = H256;
