//! A session: one TCP connection, one TLS handshake, one exchange that binds both consensus keys to it, then frames.
//!
//! ```text
//!  client                                    server
//!    │── TCP, TLS 1.3 with both certificates ──│   the server has paid a signature: limits of the door come before
//!    │◀──────────────── Hello ─────────────────│   version, chain, node are judged before anything is signed
//!    │─────────── Hello, Proof ───────────────▶│   judged likewise, then the proof is checked
//!    │◀──────────────── Proof ─────────────────│   checked
//!    │───────────────── Ready ────────────────▶│   open
//! ```
//!
//! Instead of any of them a side may send a `Refusal`, and does before it closes. The server speaks first, so that a client whose
//! certificate was refused reads the alert instead of writing into a closed connection.
//!
//! A proof is the consensus key's signature over the connection's exporter (RFC 8446 7.5): certificates say that an authority
//! knows a TLS key, the proof says that this connection ends at the holder of that consensus key. Whoever relays between two
//! connections of his own has two exporters, and fails.

pub(crate) mod connection;
mod error;
mod handshake;
mod hello;
pub(crate) mod link;
pub(crate) mod queue;
mod refusal;
mod signing;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::Verifier;
use bixi_types::session::SessionProof;
use bixi_types::{H256, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

use crate::session::signing::Queued;
use crate::tls::{self, Identity, TrustStore};

pub use error::{RefusalKind, SessionError};
pub(crate) use handshake::{Opened, answer, call, connect};
pub(crate) use hello::unix_time_ms;
pub use hello::{VERSIONS, Versions};
pub use refusal::{Reason, Refusal};
pub(crate) use signing::SigningSlots;

/// Name of these sessions in TLS (ALPN, RFC 7301). Their versions are negotiated by the hello, which can say why not.
pub(crate) const PROTOCOL: &[u8] = b"bixi-p2p";

/// The two connections of a peer. Consensus is never behind bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Channel {
    /// Proposals, votes, checkpoints: small and urgent. When a peer is too slow the oldest wait no longer.
    Consensus,
    /// Batches, blocks, transactions. When a peer is too slow the sender is told.
    Bulk,
}

impl Channel {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Consensus, Self::Bulk];
}

/// Who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}

/// Whoever holds the consensus key.
pub trait SessionKey: Send + Sync {
    /// Signs the opening of a session. Called by a thread that may be blocked until the device's deadline.
    fn sign_session(&self, proof: &SessionProof) -> Result<SignatureBytes, String>;
}

/// Who this node is in TLS, and whom it believes.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Certificate chain and TLS key.
    pub identity: Identity,
    /// Authorities, revocation lists and lists of TLS keys; exchanged while the network runs, then
    /// [`crate::Network::recheck`] is called.
    pub trust: Arc<TrustStore>,
}

/// What every session of this node begins with.
pub(crate) struct Local {
    pub(crate) node: NodeId,
    pub(crate) chain: H256,
    pub(crate) versions: Versions,
    pub(crate) listen_port: u16,
    pub(crate) instance: u64,
    pub(crate) deadline: Duration,
    /// Milliseconds since 1970.
    pub(crate) clock: fn() -> u64,
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) key: Arc<dyn SessionKey>,
    /// Checks the peers' proofs.
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) slots: SigningSlots,
}

impl Local {
    /// The configurations of both roles; TLS keys sign in `slots`.
    pub(crate) fn tls(
        settings: &TlsSettings,
        slots: &SigningSlots,
    ) -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), rustls::Error> {
        let identity = settings.identity.with_key(|key| Arc::new(Queued { key, slots: slots.clone() }));
        let client = tls::client_config(&identity, Arc::clone(&settings.trust), &[PROTOCOL])?;
        let server = tls::server_config(&identity, Arc::clone(&settings.trust), &[PROTOCOL])?;
        Ok((client, server))
    }
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) direction: Direction,
    pub(crate) channel: Channel,
    pub(crate) instance: u64,
    /// Where it says it listens.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) protocol_version: u32,
    /// How far its clock is ahead of ours.
    pub(crate) skew_ms: i64,
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
    /// The last second of its own certificate, since 1970.
    pub(crate) certificate_not_after_s: u64,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.16} at {} ({:?}, {:?})", self.node.to_hex(), self.address, self.channel, self.direction)
    }
}

/// Decides after the hello, before anything is signed, whether there may be such a session.
pub(crate) trait Door: Sync {
    fn judge(&self, remote: &Remote) -> Result<(), Refusal>;
}
