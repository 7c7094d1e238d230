//! What a service is made of, and why it may not start.

use std::sync::Arc;

use bixi_types::{CryptoSuite, H256};

use super::RetryPolicy;
use crate::audit::Audit;
use crate::device::{Custody, DeviceError, KeyDevice};
use crate::guard::Guard;
use crate::uri::KeyRef;

/// Which custody the node accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustodyPolicy {
    /// Any device: demo, tests, development.
    Any,
    /// Hardware; a software token only when the operator allowed it; the in-memory test device never.
    Production {
        /// The node file allows a software token.
        software_token_allowed: bool,
    },
}

impl CustodyPolicy {
    pub(super) fn check(self, device: &dyn KeyDevice) -> Result<(), ServiceError> {
        let Self::Production { software_token_allowed } = self else { return Ok(()) };
        let info = device.info();
        let soft = info.backend == crate::soft::BACKEND;
        if !soft && (info.custody == Custody::Hardware || software_token_allowed) {
            return Ok(());
        }
        Err(ServiceError::Custody { backend: info.backend, custody: info.custody })
    }
}

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// A production node must not keep keys like that.
    #[error(
        "a production node refuses keys in a {backend} device: {custody}; configure a hardware device, or allow the software token with hsm.software_token_allowed"
    )]
    Custody {
        /// The device's backend.
        backend: String,
        /// Where it keeps keys.
        custody: Custody,
    },
    /// The suite needs keys that devices here cannot hold yet.
    #[error("suite {0:?} has no device-held consensus keys yet; use suite sm")]
    Suite(CryptoSuite),
    /// One key for consensus and TLS.
    #[error(
        "consensus and TLS name one and the same key, {0}; each needs a key of its own, for the guard watches over one only"
    )]
    SharedKey(Box<KeyRef>),
    /// A device call failed.
    #[error("{0}")]
    Device(#[from] DeviceError),
}

/// The service's keys, by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Signs proposals, votes, checkpoints and openings of sessions.
    pub consensus: KeyRef,
    /// Signs TLS handshakes.
    pub tls: Option<KeyRef>,
    /// Derives vault keys.
    pub kek: Option<KeyRef>,
}

/// What a service is made of.
pub struct Params {
    /// The device.
    pub device: Arc<dyn KeyDevice>,
    /// Calls that go to it at once, at least 1: the sessions it has for this service.
    pub device_calls_max: usize,
    /// Its keys.
    pub keys: Keys,
    /// The sign-once guard of this chain.
    pub guard: Guard,
    /// Genesis hash.
    pub chain: H256,
    /// The chain's suite.
    pub suite: CryptoSuite,
    /// How often and how long a device call is tried.
    pub retry: RetryPolicy,
    /// Which custody is acceptable.
    pub custody: CustodyPolicy,
    /// Where decisions are recorded.
    pub audit: Arc<dyn Audit>,
}
