//! The typed language between the node and the one who holds the keys.
//!
//! Nobody can ask for a signature over a digest of his choice: every request carries the whole statement, and the answering
//! side computes the digest. The same bytes serve a call in process and a broker behind a Unix socket.
//!
//! ```text
//! frame = version (1 byte) ‖ borsh(Request | Response)        at most FRAME_BYTES_MAX, no trailing bytes
//! ```

pub(crate) mod cipher;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;

use bixi_accel::ct;
use bixi_sealed::AtRest;
use bixi_types::consensus::{Proposal, SignatureBytes, Vote};
use bixi_types::session::SessionProof;
use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::{Zeroize, Zeroizing};

use crate::device::{Attestation, DeviceError, DeviceInfo, ErrorKind, PRF_BYTES};
use crate::gate::Priority;
use crate::guard::Position;

pub use tls::{TlsRole, TlsTranscript};

/// Version this code speaks.
pub const VERSION: u8 = 1;
/// Longest frame in either direction.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Most random bytes of one request.
pub const RANDOM_BYTES_MAX: u32 = 4096;
/// First bytes of every PRF input: the key encryption key derives vault keys and nothing else.
pub const PRF_DOMAIN: &[u8] = b"BIXI-VAULT-KEK-V1";

/// Which of the service's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum KeyRole {
    /// Signs proposals, votes and checkpoints.
    Consensus,
    /// Signs TLS handshakes and its own certificate request.
    Tls,
    /// Key encryption key: vault keys are derived with it.
    Kek,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// Sign a proposal; guard lane "ordering".
    SignProposal(Proposal),
    /// Sign a vote; guard lane "ordering".
    SignVote(Vote),
    /// Sign an executed header, given in its canonical encoding; guard lane "checkpoint".
    SignCheckpoint {
        /// The header's encoding; the signing side decodes it and computes the hash itself.
        header: Vec<u8>,
    },
    /// Sign a TLS 1.3 CertificateVerify (RFC 8446 4.4.3, RFC 8998 3.2.1) with the TLS key.
    SignTls(TlsTranscript),
    /// Sign the TBS part of a certificate request for the TLS key, with the TLS key.
    SignCertificateRequest {
        /// DER of CertificationRequestInfo (RFC 2986); must hold the TLS key itself.
        info: Vec<u8>,
    },
    /// Derive with the key encryption key; the input begins with [`PRF_DOMAIN`].
    Prf {
        /// The input.
        input: Vec<u8>,
    },
    /// Random bytes of the device.
    Random {
        /// How many, at most [`RANDOM_BYTES_MAX`].
        len: u32,
    },
    /// What the device states about a key.
    Attest(KeyRole),
    /// A public key.
    PublicKey(KeyRole),
    /// Is the device there?
    Health,
    /// The highest position of each guard lane of the consensus key.
    Marks,
    /// Sign the opening of a session with a peer, with the consensus key. It commits to one TLS connection and can contradict
    /// nothing, so no guard lane watches it.
    SignSession(SessionProof),
    /// Tell the audit trail, durably, of what was counted and has no entry yet. The last request of a node that stops in order.
    Settle,
    /// Tell the audit trail of what was counted, when the last entry about it is a minute old; nothing is written otherwise. Asked again
    /// and again, so that a count is told of although nothing is counted any more.
    TellDue,
    /// Begin the epoch of the data keys that follows `after`, unless it was begun: whoever lost the answer asks again.
    RotateDataKey {
        /// The epoch that is to be current no more.
        after: u32,
    },
    /// Seal the oldest file of the audit trail anew that is of an older epoch and not written any more.
    ResealTrail,
    /// Drop the epochs below one, which no file of the node's needs; guard and trail are looked at here.
    DropDataKeys {
        /// The oldest epoch that is kept.
        below: u32,
    },
    /// [`Self::RotateDataKey`], with the cipher of files made from then on. Whoever asks for no other one asks for the former, which
    /// services of earlier releases know.
    RotateDataKeyTo {
        /// The epoch that is to be current no more.
        after: u32,
        /// The cipher that begins with the next one.
        #[borsh(serialize_with = "cipher::write", deserialize_with = "cipher::read")]
        suite: AtRest,
    },
    /// What is known of the counter by which an old copy of the disk is told; the device is not asked.
    Counter,
}

impl Request {
    /// Its name, for logs and the audit trail.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SignProposal(_) => "sign-proposal",
            Self::SignVote(_) => "sign-vote",
            Self::SignCheckpoint { .. } => "sign-checkpoint",
            Self::SignTls(_) => "sign-tls",
            Self::SignCertificateRequest { .. } => "sign-certificate-request",
            Self::Prf { .. } => "prf",
            Self::Random { .. } => "random",
            Self::Attest(_) => "attest",
            Self::PublicKey(_) => "public-key",
            Self::Health => "health",
            Self::Marks => "marks",
            Self::SignSession(_) => "sign-session",
            Self::Settle => "settle",
            Self::TellDue => "tell-due",
            Self::RotateDataKey { .. } | Self::RotateDataKeyTo { .. } => "rotate-data-key",
            Self::ResealTrail => "reseal-trail",
            Self::DropDataKeys { .. } => "drop-data-key",
            Self::Counter => "counter",
        }
    }

    /// Whether the audit trail must hold it durably before it is answered: what is done with a key besides the key's daily work, and
    /// the settlement of the trail itself. Both are rare.
    pub const fn is_durable_at_once(&self) -> bool {
        matches!(self, Self::SignCertificateRequest { .. } | Self::Prf { .. } | Self::Attest(_) | Self::Settle)
            || matches!(self, Self::RotateDataKey { .. } | Self::RotateDataKeyTo { .. } | Self::DropDataKeys { .. })
    }

    /// Who goes first when not all can.
    pub const fn priority(&self) -> Priority {
        match self {
            Self::SignProposal(_) | Self::SignVote(_) | Self::SignCheckpoint { .. } => Priority::Statement,
            Self::SignTls(_) | Self::SignSession(_) => Priority::Handshake,
            _ => Priority::Keeping,
        }
    }

    /// Whether strangers can cause it as often as they like.
    pub const fn is_caused_by_strangers(&self) -> bool {
        matches!(self, Self::SignTls(TlsTranscript { role: TlsRole::Server, .. }))
    }
}

/// Declares bytes that are secret: wiped when dropped, never printed or copied, compared in constant time.
macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident($bytes:ty)) => {
        $(#[$doc])*
        #[derive(BorshSerialize, BorshDeserialize)]
        pub struct $name(pub $bytes);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                ct::eq(&self.0, &other.0)
            }
        }

        impl Eq for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }
    };
}

secret_bytes! {
    /// PRF output.
    Derived([u8; PRF_BYTES])
}
secret_bytes! {
    /// Random bytes of the device: what they are drawn for may be a key.
    Drawn(Vec<u8>)
}

/// What comes back.
#[derive(Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Response {
    /// r ‖ s, verified before it left.
    Signature(SignatureBytes),
    /// X ‖ Y.
    PublicKey([u8; 64]),
    /// A derived secret.
    Derived(Derived),
    /// Random bytes.
    Random(Drawn),
    /// What the device states.
    Attestation(Box<Attestation>),
    /// The device is there and logged in.
    Healthy(DeviceInfo),
    /// Nothing was done, or nothing may leave.
    Refused(Refusal),
    /// The highest position of each guard lane; none before the first signature.
    Marks(Vec<Position>),
    /// The audit trail holds everything that it was to tell.
    Settled,
    /// The epochs of the data keys as they are now.
    DataKeys(DataKeyEpochs),
    /// A file of the audit trail was sealed anew, or none was left.
    Resealed(TrailResealed),
    /// What is known of the device's counter; none where it has none.
    Counter(Option<CounterReport>),
}

/// What is known of the counter by which an old copy of the disk is told.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CounterReport {
    /// How far it has counted at most, by the guard; none where that notes nothing.
    pub value: Option<u64>,
    /// When it was last to count, milliseconds since 1970 by the host's clock; 0 for never.
    pub at_ms: u64,
    /// For how long something has been signed or changed that it has not counted.
    pub uncounted_ms: Option<u64>,
    /// Why it did not count when it was last asked.
    pub failed: Option<String>,
    /// Nothing is signed: the guard may be an old copy.
    pub doubted: bool,
}

/// The epochs of a vault.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DataKeyEpochs {
    /// Everything that is written is sealed under it.
    pub current: u32,
    /// All that can be read, ascending.
    pub known: Vec<u32>,
}

/// How far the audit trail is under the current epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TrailResealed {
    /// Bytes that were sealed anew now.
    pub bytes: u64,
    /// Files that are to be looked at still.
    pub files_left: u32,
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It would contradict an earlier signature. Final for this statement.
    #[error("refused by the sign-once guard: {0}")]
    Conflict(String),
    /// The guard's record could not be made durable.
    #[error("{0}")]
    Storage(String),
    /// The device failed.
    #[error("{0}")]
    Device(DeviceError),
    /// The audit trail could not be written; nothing leaves without it.
    #[error("audit trail: {0}")]
    Audit(String),
    /// The statement is of another chain, names another validator, or is no statement at all.
    #[error("not a statement of ours: {0}")]
    Foreign(String),
    /// The bytes are not a request of this version.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The service has no such key.
    #[error("no {0:?} key is configured here")]
    NoKey(KeyRole),
    /// This connection is not served: of another user, or too slow. What was asked was not looked at, and another one may do better.
    #[error("connection ended: {0}")]
    Connection(String),
    /// The service is being started, and what it is at. Nothing was done; whoever asks again later is answered.
    #[error("the signing service is being started: {0}")]
    Starting(String),
    /// The data keys are as they were, or a file that they seal is not as it should be.
    #[error("data keys: {0}")]
    DataKeys(String),
}

impl Refusal {
    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Device(error) => error.kind(),
            Self::Connection(_) | Self::Starting(_) => ErrorKind::Retry,
            Self::Storage(_) | Self::Audit(_) => ErrorKind::Halt,
            Self::Conflict(_) | Self::Foreign(_) | Self::Malformed(_) | Self::NoKey(_) | Self::DataKeys(_) => {
                ErrorKind::Refuse
            }
        }
    }
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

/// Why a frame was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Empty.
    #[error("empty frame")]
    Empty,
    /// Not our version.
    #[error("protocol version {0}; this side speaks version {VERSION}: {side}", side = upgrade(*.0))]
    Version(u8),
    /// Not a message of this version.
    #[error(
        "not a message of this version: {0}; is the other side of another release? restart what was started before an upgrade"
    )]
    Malformed(String),
}

/// What to do about a side that speaks version `theirs`.
const fn upgrade(theirs: u8) -> &'static str {
    if theirs > VERSION { "upgrade this side" } else { "upgrade the other side" }
}

/// A message of this protocol.
pub trait Message: BorshSerialize + BorshDeserialize {
    /// Encodes into one frame. The frame may hold secrets and is wiped when dropped.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Filled in one piece: a growing vector would leave unwiped copies behind.
        let body_bytes = borsh::object_length(self).expect("the length of a message in memory");
        let mut frame = Zeroizing::new(Vec::with_capacity(1 + body_bytes));
        frame.push(VERSION);
        self.serialize(&mut *frame).expect("borsh into memory cannot fail");
        frame
    }

    /// Decodes exactly one frame.
    fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(frame.len()));
        }
        let (&version, body) = frame.split_first().ok_or(FrameError::Empty)?;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        Self::try_from_slice(body).map_err(|error| FrameError::Malformed(error.to_string()))
    }
}

impl Message for Request {}
impl Message for Response {}
