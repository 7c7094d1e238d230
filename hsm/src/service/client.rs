//! The asking side: encodes requests, decodes responses. In process or over a socket, with the same bytes.
//!
//! A node holds a [`Client`] and never the service or its guard, so that nothing it does is different when the service has a
//! process of its own.

use std::fmt;
use std::sync::Arc;

use bixi_sealed::AtRest;
use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::{SignError, Signer, Statement};
use bixi_types::session::SessionProof;
use zeroize::Zeroizing;

use super::{SigningService, statement};
use crate::device::{Attestation, Cause, DeviceError, DeviceInfo, ErrorKind};
use crate::gate::Priority;
use crate::guard::Position;
use crate::protocol::{
    CounterReport, DataKeyEpochs, Derived, FrameError, KeyRole, Message as _, Refusal, Request, Response, TrailResealed,
};

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
    /// It speaks another version of the protocol: one of the two has to be exchanged, and no further request can do better.
    #[error("signing service at the other end: {0}")]
    Version(FrameError),
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
            Self::Version(_) | Self::Confused { .. } => ErrorKind::Halt,
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
            // No statement can be signed before a person has acted, as after a failed write.
            error @ ClientError::Version(_) => Self::Storage(error.to_string()),
            ClientError::Refused(Refusal::Device(error)) => Self::Device(error.to_string()),
            ClientError::Refused(refusal @ (Refusal::Connection(_) | Refusal::Starting(_))) => {
                Self::Device(refusal.to_string())
            }
            ClientError::Refused(refusal) => Self::Refused(refusal.to_string()),
            error => Self::Device(error.to_string()),
        }
    }
}

/// The device as a caller knows it that is not the service: its own words where it was asked, else why it was not.
impl From<ClientError> for DeviceError {
    fn from(error: ClientError) -> Self {
        let cause = match error {
            ClientError::Refused(Refusal::Device(error)) => return error,
            ClientError::Channel(_) | ClientError::Refused(Refusal::Connection(_) | Refusal::Starting(_)) => {
                Cause::Absent
            }
            ClientError::Refused(Refusal::Storage(_) | Refusal::Audit(_)) => Cause::Setup,
            ClientError::Refused(_) => Cause::Rejected,
            ClientError::Version(_) => Cause::Setup,
            ClientError::Confused { .. } => Cause::BadAnswer,
        };
        let advice = match &error {
            ClientError::Channel(_) | ClientError::Refused(Refusal::Connection(_) | Refusal::Starting(_)) => {
                "look into the log of the signing service"
            }
            ClientError::Refused(Refusal::Storage(_) | Refusal::Audit(_)) => "make its disk writable again",
            ClientError::Version(_) => "run node and signing service from one release",
            _ => cause.advice(),
        };
        Self::new("signing service", cause, error.to_string()).with_advice(advice)
    }
}

/// Carries one request frame there and one response frame back.
pub trait Channel: Send + Sync {
    /// Blocks until the answer is here. Where few can be carried at once, `priority` says who goes first.
    ///
    /// # Errors
    /// When there is no answer; the request may have been done all the same.
    fn exchange(&self, request: &[u8], priority: Priority) -> Result<Zeroizing<Vec<u8>>, ChannelError>;
}

impl<C: Channel + ?Sized> Channel for Arc<C> {
    fn exchange(&self, request: &[u8], priority: Priority) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        (**self).exchange(request, priority)
    }
}

/// A service in this process, spoken to in frames.
#[derive(Debug, Clone)]
pub struct InProcess(pub Arc<SigningService>);

impl Channel for InProcess {
    /// The service's own gate orders the calls to its device.
    fn exchange(&self, request: &[u8], _: Priority) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
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
        let answer = self.channel.exchange(&request.encode(), request.priority())?;
        match Response::decode(&answer).map_err(misunderstood)? {
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

    /// What is known of the device's counter; nothing of a device without one.
    pub fn counter(&self) -> Result<Option<CounterReport>, ClientError> {
        match self.ask(&Request::Counter)? {
            Response::Counter(report) => Ok(report),
            _ => Err(confused(&Request::Counter)),
        }
    }

    /// What the device says of itself, if it is well.
    pub fn health(&self) -> Result<DeviceInfo, ClientError> {
        match self.ask(&Request::Health)? {
            Response::Healthy(info) => Ok(info),
            _ => Err(confused(&Request::Health)),
        }
    }

    /// What the device states about a key.
    pub fn attest(&self, role: KeyRole) -> Result<Attestation, ClientError> {
        let request = Request::Attest(role);
        match self.ask(&request)? {
            Response::Attestation(attestation) => Ok(*attestation),
            _ => Err(confused(&request)),
        }
    }

    /// Derives with the key encryption key.
    pub fn derive(&self, input: &[u8]) -> Result<Derived, ClientError> {
        let request = Request::Prf { input: input.to_vec() };
        match self.ask(&request)? {
            Response::Derived(derived) => Ok(derived),
            _ => Err(confused(&request)),
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

    /// Begins the epoch of the data keys after `after`, unless it was begun; with a cipher of its own where one is named.
    pub fn rotate_data_key(&self, after: u32, suite: Option<AtRest>) -> Result<DataKeyEpochs, ClientError> {
        self.epochs(&match suite {
            Some(suite) => Request::RotateDataKeyTo { after, suite },
            None => Request::RotateDataKey { after },
        })
    }

    /// Drops the epochs of the data keys below `below`, if guard and audit trail need none of them.
    pub fn drop_data_keys(&self, below: u32) -> Result<DataKeyEpochs, ClientError> {
        self.epochs(&Request::DropDataKeys { below })
    }

    /// Has one file of the audit trail sealed anew that is of an older epoch.
    pub fn reseal_trail(&self) -> Result<TrailResealed, ClientError> {
        match self.ask(&Request::ResealTrail)? {
            Response::Resealed(resealed) => Ok(resealed),
            _ => Err(confused(&Request::ResealTrail)),
        }
    }

    fn epochs(&self, request: &Request) -> Result<DataKeyEpochs, ClientError> {
        match self.ask(request)? {
            Response::DataKeys(epochs) => Ok(epochs),
            _ => Err(confused(request)),
        }
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

/// What cannot be read may have been cut on its way, but for its version.
fn misunderstood(error: FrameError) -> ClientError {
    match error {
        FrameError::Version(_) => ClientError::Version(error),
        error => ChannelError(error.to_string()).into(),
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
