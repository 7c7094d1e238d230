//! The asking side: encodes requests, decodes responses. In process today; over a socket with the same bytes later.

use std::fmt;
use std::sync::Arc;

use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::{SignError, Signer, Statement};
use zeroize::Zeroizing;

use super::{SigningService, statement};
use crate::protocol::{KeyRole, Message as _, Refusal, Request, Response};

/// No answer came, or none that can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signing service: {0}")]
pub struct ChannelError(pub String);

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
    pub fn connect(channel: C) -> Result<Self, ChannelError> {
        let mut client = Self { channel, node: NodeId::ZERO };
        match client.ask(&Request::PublicKey(KeyRole::Consensus))? {
            Response::PublicKey(key) => client.node = NodeId(key),
            Response::Refused(refusal) => return Err(ChannelError(refusal.to_string())),
            _ => return Err(ChannelError("an answer to another question".to_owned())),
        }
        Ok(client)
    }

    /// One request, one response.
    pub fn ask(&self, request: &Request) -> Result<Response, ChannelError> {
        let answer = self.channel.exchange(&request.encode())?;
        Response::decode(&answer).map_err(|error| ChannelError(error.to_string()))
    }
}

impl<C: Channel> Signer for Client<C> {
    fn node_id(&self) -> NodeId {
        self.node
    }

    fn sign(&self, statement: &Statement) -> Result<SignatureBytes, SignError> {
        let response = self.ask(&statement::request(statement));
        signature_of(response.map_err(|error| SignError::Device(error.to_string()))?)
    }
}

/// A refusal that no retry can change is final for the statement, like a conflict.
pub(super) fn signature_of(response: Response) -> Result<SignatureBytes, SignError> {
    match response {
        Response::Signature(signature) => Ok(signature),
        Response::Refused(Refusal::Conflict(reason)) => Err(SignError::Conflict(reason)),
        Response::Refused(refusal @ (Refusal::Storage(_) | Refusal::Audit(_))) => {
            Err(SignError::Storage(refusal.to_string()))
        }
        Response::Refused(Refusal::Device(error)) => Err(SignError::Device(error.to_string())),
        Response::Refused(refusal) => Err(SignError::Conflict(refusal.to_string())),
        _ => Err(SignError::Device("the signing service answered another question".to_owned())),
    }
}
