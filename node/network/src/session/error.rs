//! How a session fails, in words for the log: what happened, and what to do.

use std::io;

use bixi_types::NodeId;
use rustls::{AlertDescription, CertificateError, Error};

use crate::frame::FrameError;
use crate::session::refusal::{Reason, Refusal};

/// Who ended a session, or kept it from opening, and why: names for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusalKind {
    /// "this" node, the "other" one, or neither: the "line" between them.
    pub by: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Why a session did not open, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nobody answers there.
    #[error("cannot connect: {0}; check that the node runs and that its p2p port can be reached")]
    Connect(String),
    /// The TLS handshake failed, or a record was changed on the way.
    #[error("TLS: {detail}; {advice}")]
    Tls {
        /// What rustls or the peer's alert says.
        detail: String,
        /// What to do.
        advice: &'static str,
    },
    /// We refused; the peer was told.
    #[error("refused by this node: {refusal}")]
    Refused {
        /// Who, as far as it said.
        node: Option<NodeId>,
        /// Why.
        refusal: Refusal,
    },
    /// The peer refused and said why.
    #[error("refused by the other node: {refusal}")]
    RefusedByPeer {
        /// Who, as far as it said.
        node: Option<NodeId>,
        /// Why.
        refusal: Refusal,
    },
    /// The connection ended without a word.
    #[error(
        "the other side closed the connection {0}; if it goes on, see its log: it limits connections, or no node listens there"
    )]
    Closed(&'static str),
    /// The peer was too slow.
    #[error("no {what} within {limit_ms} ms; check the network between the nodes and the load of both")]
    Slow {
        /// What was missing.
        what: &'static str,
        /// The limit.
        limit_ms: u64,
    },
    /// Bytes that are no frames.
    #[error("{0}; check that the address is a node's p2p port and that both run released software")]
    Malformed(#[from] FrameError),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl SessionError {
    /// What ends a connection below the frames.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(tls) => Self::Tls { detail: tls.to_string(), advice: advice(tls) },
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Closed("during the TLS handshake or in the middle of a record")
            }
            None => Self::Broken(error.to_string()),
        }
    }

    /// The refusal the other side is told for it, if it can be told anything.
    pub(crate) fn to_tell(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.clone()),
            Self::Malformed(error) => Some(Refusal::new(Reason::Malformed, error.to_string())),
            Self::Slow { what, limit_ms } => {
                Some(Refusal::new(Reason::Silent, format!("no {what} within {limit_ms} ms")))
            }
            _ => None,
        }
    }

    /// Why, if one of the two sides said it in a refusal.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { refusal, .. } | Self::RefusedByPeer { refusal, .. } => Some(refusal.reason),
            _ => None,
        }
    }

    /// Who ended it and why, as metrics count it.
    pub fn kind(&self) -> RefusalKind {
        let (by, reason) = match self {
            Self::Refused { refusal, .. } => ("this", refusal.reason.label()),
            Self::RefusedByPeer { refusal, .. } => ("other", refusal.reason.label()),
            Self::Tls { .. } => ("line", "tls"),
            Self::Connect(_) => ("line", "connect"),
            Self::Closed(_) => ("line", "closed"),
            Self::Slow { .. } => ("this", "slow"),
            Self::Malformed(_) => ("this", Reason::Malformed.label()),
            Self::Broken(_) => ("line", "broken"),
        };
        RefusalKind { by, reason }
    }

    /// Who is at the other end, as far as it said.
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Self::Refused { node, .. } | Self::RefusedByPeer { node, .. } => *node,
            _ => None,
        }
    }

    /// Whether it needs nobody's attention: both sides called at once, a node called itself, or a node stops in order.
    pub fn is_ordinary(&self) -> bool {
        matches!(self.reason(), Some(Reason::Duplicate | Reason::OwnNode | Reason::Stopping))
    }
}

/// Two suites share no algorithm of TLS.
const OTHER_SUITE: &str = "both sides share no algorithm: compare the suite in both nodes' genesis files";

fn advice(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => {
                "add the authority of the other node's certificate to p2p.ca, or have it certified by one of these"
            }
            CertificateError::Expired | CertificateError::NotValidYet => {
                "the other node needs a certificate of this time; compare both clocks"
            }
            CertificateError::Revoked => "the other node's certificate was revoked; it needs another one",
            CertificateError::ApplicationVerificationFailure => {
                "this node's lists of keys keep it out; change them if it may come in"
            }
            _ => "issue the other node's certificate anew",
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => {
                "the other node does not know the authority of this node's certificate; add it to the p2p.ca there"
            }
            AlertDescription::CertificateExpired => {
                "this node's certificate is out of its time; renew it, and compare both clocks"
            }
            AlertDescription::CertificateRevoked => "this node's certificate was revoked; it needs another one",
            AlertDescription::AccessDenied => "the other node's lists of keys keep this node out",
            AlertDescription::NoApplicationProtocol => "no node of this kind listens there",
            AlertDescription::HandshakeFailure => OTHER_SUITE,
            _ => "see the other node's log",
        },
        Error::PeerIncompatible(_) => OTHER_SUITE,
        Error::General(_) => "check this node's signing device",
        Error::NoApplicationProtocol | Error::InvalidMessage(_) => "check that the address is a node's p2p port",
        _ => "check that both nodes run released software and nothing between them changes bytes",
    }
}
