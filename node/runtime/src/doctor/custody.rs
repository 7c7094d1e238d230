//! The key device as the node would have it: opened here, or behind the broker, which is asked.

use std::sync::Arc;

use bixi_hsm::protocol::KeyRole;
use bixi_hsm::{Attestation, DeviceInfo, KeyDevice, KeyKind};
use bixi_types::NodeId;

use crate::chain::KeyRecord;
use crate::keys::{self, NodeSigner};
use crate::settings::Settings;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who holds the device.
pub(super) enum Held {
    Here(Arc<dyn KeyDevice>),
    Broker(NodeSigner),
}

impl Held {
    pub(super) fn open(settings: &Settings) -> Result<Self, Failure> {
        match settings.broker() {
            Some(socket) => Ok(Self::Broker(keys::ask_broker(settings, socket)?)),
            None => Ok(Self::Here(keys::open_device(settings, settings.pin())?)),
        }
    }

    pub(super) fn info(&self) -> Result<DeviceInfo, Failure> {
        match self {
            Self::Here(device) => Ok(device.info()),
            Self::Broker(signer) => Ok(signer.health()?),
        }
    }

    /// The configured keys as the device describes them.
    pub(super) fn keys(&self, settings: &Settings) -> Result<Vec<KeyRecord>, Failure> {
        let hsm = &settings.config.hsm;
        let wanted = [
            ("consensus", KeyRole::Consensus, hsm.consensus_key.as_str(), KeyKind::Sm2Sign),
            ("tls", KeyRole::Tls, hsm.tls_key.as_str(), KeyKind::Sm2Sign),
            ("kek", KeyRole::Kek, hsm.kek.as_str(), KeyKind::Kek),
        ];
        let attested: Vec<Attestation> = match self {
            Self::Here(device) => {
                let listed = keys::Listed::of(device.as_ref())?;
                let attest = |(_, _, label, kind): (_, _, &str, _)| Ok(device.attest(&listed.find(label, kind)?)?);
                wanted.into_iter().map(attest).collect::<Result<_, Failure>>()?
            }
            Self::Broker(signer) => {
                wanted.into_iter().map(|(_, role, ..)| signer.attest(role)).collect::<Result<_, _>>()?
            }
        };
        Ok(wanted.into_iter().zip(attested).map(|((name, ..), attested)| record(name, attested)).collect())
    }
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
