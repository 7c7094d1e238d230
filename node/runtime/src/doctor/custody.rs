//! The key device as the node would have it: opened here, or behind the broker, which is asked.

use std::sync::Arc;

use bixi_config::Hsm;
use bixi_hsm::protocol::KeyRole;
use bixi_hsm::{Attestation, DeviceInfo, KeyDevice, KeyKind};
use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::NodeId;

use crate::chain::KeyRecord;
use crate::keys::{self, NodeSigner};
use crate::lifecycle::is_held_by_broker;
use crate::settings::Settings;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who holds the device.
pub(crate) enum Held {
    Here(Arc<dyn KeyDevice>),
    Broker(NodeSigner),
}

impl Held {
    pub(crate) fn open(settings: &Settings) -> Result<Self, Failure> {
        match settings.broker() {
            Some(socket) => Ok(Self::Broker(keys::ask_broker(settings, socket)?)),
            None => Ok(Self::Here(keys::open_device(settings, settings.pin())?)),
        }
    }

    /// Asks the broker where it runs, and else opens the device: for reports of nodes that need not run.
    pub(crate) fn open_wherever(settings: &Settings) -> Result<Self, Failure> {
        match is_held_by_broker(settings) {
            true => Self::open(settings),
            false => Ok(Self::Here(keys::open_device(settings, settings.pin())?)),
        }
    }

    /// The data keys of the node's vault.
    pub(crate) fn ring(&self, settings: &Settings, storage: &Arc<dyn Storage>) -> Result<KeyRing, Failure> {
        match self {
            Self::Here(device) => {
                let listed = keys::Listed::of(device.as_ref())?;
                Ok(keys::open_vault(settings, storage, device.as_ref(), &listed)?.key_ring())
            }
            Self::Broker(signer) => keys::ring_of_service(settings, storage, signer),
        }
    }

    pub(crate) fn info(&self) -> Result<DeviceInfo, Failure> {
        match self {
            Self::Here(device) => Ok(device.info()),
            Self::Broker(signer) => Ok(signer.health()?),
        }
    }

    /// The configured keys as the device describes them.
    pub(crate) fn keys(&self, settings: &Settings) -> Result<Vec<KeyRecord>, Failure> {
        let attested = |named: Named<'_>| Ok(record(named.role_name, self.attest(&named)?));
        named(&settings.config.hsm).into_iter().map(attested).collect()
    }

    /// What the device states about a key that the node file names.
    pub(crate) fn attest(&self, named: &Named<'_>) -> Result<Attestation, Failure> {
        match self {
            Self::Here(device) => {
                let key = keys::Listed::of(device.as_ref())?.find(named.label, named.kind)?;
                Ok(device.attest(&key)?)
            }
            Self::Broker(signer) => Ok(signer.attest(named.role)?),
        }
    }
}

/// A key that a node file names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    /// Its use in the node, as reports print it.
    pub(crate) role_name: &'static str,
    pub(crate) role: KeyRole,
    pub(crate) label: &'a str,
    pub(crate) kind: KeyKind,
}

/// The keys that a node file names.
pub(crate) fn named(hsm: &Hsm) -> [Named<'_>; 3] {
    let named = |role_name, role, label, kind| Named { role_name, role, label, kind };
    [
        named("consensus", KeyRole::Consensus, hsm.consensus_key.as_str(), KeyKind::Sm2Sign),
        named("tls", KeyRole::Tls, hsm.tls_key.as_str(), KeyKind::Sm2Sign),
        named("kek", KeyRole::Kek, hsm.kek.as_str(), KeyKind::Kek),
    ]
}

fn record(role: &str, attested: Attestation) -> KeyRecord {
    KeyRecord {
        role: role.to_owned(),
        uri: attested.key.uri.to_string(),
        extractable: attested.key.extractable,
        custody: attested.device.custody.to_string(),
        public_key: attested.public_key.map(|key| NodeId(key).to_hex()),
    }
}
