//! The asking side: encodes requests, decodes responses. In process today; over a socket with the same bytes later.
//!
//! A node holds a [`Client`] and never the service or its guard, so that nothing it does changes when the service moves to a
//! process of its own.

use std::fmt;
use std::sync::Arc;

use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::{SignError, Signer, Statement};
use bixi_types::session::SessionProof;
use zeroize::Zeroizing;

use super::{SigningService, statement};
use crate::device::ErrorKind;
use crate::guard::Position;
use crate::protocol::{KeyRole, Message as _, Refusal, Request, Response};

/// No answer came, or none that can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signing service: {0}")]
pub struct ChannelError(pub String);

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The service did not answer; whether it did what was asked is not known. Asking again is safe.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// It answered no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It answered another question: the two sides do not speak the same language.
    #[error("signing service: an answer to another question than {asked}")]
    Confused {
        /// Name of the request.
        asked: &'static str,
    },
}

impl ClientError {
    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Channel(_) => ErrorKind::Retry,
            Self::Refused(refusal) => refusal.kind(),
            Self::Confused { .. } => ErrorKind::Halt,
        }
    }
}

/// What the node can do about it: nothing (conflict, refused), stop signing (storage), or try again (device).
impl From<ClientError> for SignError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(Refusal::Conflict(reason)) => Self::Conflict(reason),
            ClientError::Refused(refusal @ (Refusal::Storage(_) | Refusal::Audit(_))) => {
                Self::Storage(refusal.to_string())
            }
            ClientError::Refused(Refusal::Device(error)) => Self::Device(error.to_string()),
            ClientError::Refused(refusal) => Self::Refused(refusal.to_string()),
            error => Self::Device(error.to_string()),
        }
    }
}

/// Carries one request frame there and one response frame back.
pub trait Channel: Send + Sync {
    /// Blocks until the answer is here.
    fn exchange(&self, request: &[u8]) -> Result<Zeroizing<Vec<u8>>, ChannelError>;
}

/// A service in this process, spoken to in frames.
#[derive(Debug, Clone)]
pub struct InProcess(pub Arc<SigningService>);

impl Channel for InProcess {
    fn exchange(&self, request: &[u8]) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        Ok(self.0.handle_frame(request))
    }
}

/// A [`Signer`] at the other end of a channel.
pub struct Client<C> {
    channel: C,
    node: NodeId,
}

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.node)
    }
}

impl<C: Channel> Client<C> {
    /// Asks the service for its consensus key.
    pub fn connect(channel: C) -> Result<Self, ClientError> {
        let mut client = Self { channel, node: NodeId::ZERO };
        let request = Request::PublicKey(KeyRole::Consensus);
        match client.ask(&request)? {
            Response::PublicKey(key) => client.node = NodeId(key),
            _ => return Err(confused(&request)),
        }
        Ok(client)
    }

    /// One request, one response; a refusal is an error.
    pub fn ask(&self, request: &Request) -> Result<Response, ClientError> {
        let answer = self.channel.exchange(&request.encode())?;
        match Response::decode(&answer).map_err(|error| ChannelError(error.to_string()))? {
            Response::Refused(refusal) => Err(refusal.into()),
            response => Ok(response),
        }
    }

    /// The highest position of each guard lane of the consensus key: what a disk must have reached that this key signed for.
    pub fn marks(&self) -> Result<Vec<Position>, ClientError> {
        match self.ask(&Request::Marks)? {
            Response::Marks(marks) => Ok(marks),
            _ => Err(confused(&Request::Marks)),
        }
    }

    /// Has the audit trail told, durably, of all that was asked before: the last request of a node that stops in order.
    pub fn settle(&self) -> Result<(), ClientError> {
        self.tell(&Request::Settle)
    }

    /// Has the audit trail told of TLS handshakes counted for a minute: to be asked about once a second.
    pub fn tell_due(&self) -> Result<(), ClientError> {
        self.tell(&Request::TellDue)
    }

    fn tell(&self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Response::Settled => Ok(()),
            _ => Err(confused(request)),
        }
    }

    /// Has the opening of a session signed by the consensus key.
    pub fn sign_session(&self, proof: &SessionProof) -> Result<SignatureBytes, SignError> {
        self.signature(&Request::SignSession(proof.clone()))
    }

    fn signature(&self, request: &Request) -> Result<SignatureBytes, SignError> {
        match self.ask(request)? {
            Response::Signature(signature) => Ok(signature),
            _ => Err(confused(request).into()),
        }
    }
}

fn confused(request: &Request) -> ClientError {
    ClientError::Confused { asked: request.name() }
}

impl<C: Channel> Signer for Client<C> {
    fn node_id(&self) -> NodeId {
        self.node
    }

    fn sign(&self, statement: &Statement) -> Result<SignatureBytes, SignError> {
        self.signature(&statement::request(statement))
    }
}
