//! What a device states about a key, as a file that others can judge.
//!
//! The file is one JSON object in one spelling: keys in order, two spaces, a line end; `sm3` is the digest of the object without it.
//! A file in any other spelling is refused, so no byte of it can be changed without notice. That shows accidents; who changes a file on
//! purpose computes the digest anew. What proves anything is the evidence of a device that signs, and so far one kind is checked:
//! `tpm2-certify`, against the name of the attestation key that the node's ceremony wrote down.
//!
//! No evidence covers the fingerprint of a key encryption key: the host computed it from an answer of the device. A statement that went
//! through the broker has none, because the broker answers nothing with that key but what opens the vault.
//!
//! A statement's time is that of the host that asked. Its evidence answers no challenge of the reader's: it may be older than the file.

#[cfg(test)]
mod tests;

use std::path::Path;

use bixi_accel::sm3;
use bixi_hsm::device::{Attestation, Custody, DeviceInfo, Trust};
use bixi_hsm::{KeyInfo, KeyKind, KeyRef};
use bixi_hsm_tpm::attestation::{self, challenge_of};
use bixi_types::{H256, NodeId};
use serde_json::{Map, Value, json};

use super::inventory::{custody_word, device_json, kind_word};
use super::{fingerprint_of, key_fingerprint, now_ms, read_bounded, write_new};
use crate::chain::{NodeDirectory, NodeKeys};
use crate::doctor::custody::{Held, named};
use crate::launch::{Failure, LaunchError, step};
use crate::settings::Settings;

/// Longest file that is read.
pub const FILE_BYTES_MAX: usize = 16 * 1024;
const FORMAT: &str = "bixi-key-statement-v1";

/// A device's statement about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatement {
    at_ms: u64,
    chain: H256,
    node: String,
    role: Option<String>,
    attestation: Attestation,
    /// By what people compare the key.
    fingerprint: Option<String>,
}

/// What a statement is worth to whoever reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// A TPM that the reader knows signed that the key was made inside it and cannot leave it.
    Proven {
        /// How often the TPM had been reset.
        resets: u32,
        /// Version of its firmware.
        firmware: u64,
    },
    /// The library says so, and nothing proves it.
    SelfReported,
    /// It could be proven, and the reader knows no attestation key to check it with.
    Unchecked,
    /// Its evidence proves something else, or nothing.
    Refused(String),
}

/// Asks for a statement about a key: by its role in the node (`consensus`, `tls`, `kek`), or, where the device is not behind a broker,
/// by its URI or label.
///
/// # Errors
/// Names the step: a PIN that is refused, a key that is not there.
pub fn attest(settings: &Settings, key: &str) -> Result<KeyStatement, LaunchError> {
    let held = step("key device", || Held::open_wherever(settings))?;
    step("attest", || {
        let attestation = attested(&held, settings, key)?;
        let fingerprint = match &held {
            Held::Here(device) => fingerprint_of(device.as_ref(), &attestation)?,
            Held::Broker(_) => attestation.public_key.as_ref().map(key_fingerprint),
        };
        Ok::<_, Failure>(KeyStatement::new(settings, attestation, fingerprint))
    })
}

fn attested(held: &Held, settings: &Settings, key: &str) -> Result<Attestation, Failure> {
    if let Some(named) = named(&settings.config.hsm).iter().find(|named| named.role_name == key) {
        return held.attest(named);
    }
    let Held::Here(device) = held else {
        return Err(format!(
            "the broker tells of consensus, tls and kek only, not of {key:?}; stop it to ask the device"
        )
        .into());
    };
    let found: Vec<KeyInfo> =
        device.list()?.into_iter().filter(|info| info.uri.to_string() == key || info.label == key).collect();
    match &found[..] {
        [only] => Ok(device.attest(&only.uri)?),
        [] => Err(format!("the device holds no key {key:?}; `bixi hsm list` shows what it holds").into()),
        _ => Err(format!("the device holds {} keys labelled {key:?}; name one by its URI", found.len()).into()),
    }
}

impl KeyStatement {
    pub(super) fn new(settings: &Settings, attestation: Attestation, fingerprint: Option<String>) -> Self {
        let named = named(&settings.config.hsm);
        let (label, kind) = (attestation.key.label.as_str(), attestation.key.kind);
        let role = named.iter().find(|named| (named.label, named.kind) == (label, kind)).map(|named| named.role_name);
        Self {
            at_ms: now_ms(),
            chain: settings.genesis.hash(),
            node: settings.config.name.clone(),
            role: role.map(str::to_owned),
            attestation,
            fingerprint,
        }
    }

    /// The file.
    #[must_use]
    pub fn render(&self) -> String {
        format!("{:#}\n", self.to_json())
    }

    /// The object in the file.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = self.body();
        value["sm3"] = hex::encode(sm3::digest(value.to_string().as_bytes())).into();
        value
    }

    fn body(&self) -> Value {
        let Attestation { key, public_key, device, trust, format, evidence } = &self.attestation;
        json!({
            "statement": FORMAT,
            "at_ms": self.at_ms,
            "chain": self.chain.to_hex(),
            "node": self.node,
            "role": self.role,
            "key": {
                "uri": key.uri.to_string(),
                "label": key.label,
                "kind": kind_word(key.kind),
                "local": key.local,
                "sensitive": key.sensitive,
                "extractable": key.extractable,
            },
            "public_key": public_key.map(|key| NodeId(key).to_hex()),
            "fingerprint": self.fingerprint,
            "device": device_json(device),
            "trust": trust_word(*trust),
            "format": format,
            "evidence": hex::encode(evidence),
        })
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// When there is one already, or the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        Ok(write_new(path, 0o644, self.render().as_bytes())?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or as [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read_bounded(path, FILE_BYTES_MAX)?;
        Ok(Self::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// Says why it is no statement, or not the one that was written.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(format!("{} bytes are more than a statement has", bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let object = value.as_object().ok_or("it is no JSON object")?;
        if object.get("statement").and_then(Value::as_str) != Some(FORMAT) {
            return Err(format!("it is no {FORMAT:?}"));
        }
        let read = Self::from_object(object).ok_or("a field is missing or says what no statement says")?;
        if read.render() != text {
            return Err("it was changed: its digest does not fit, or it is spelt in another way".into());
        }
        Ok(read)
    }

    fn from_object(object: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| Some(object.get(name)?.as_str()?.to_owned());
        let public_key = match object.get("public_key")? {
            Value::Null => None,
            key => Some(key.as_str()?.parse::<NodeId>().ok()?.0),
        };
        let key = key_of(object.get("key")?)?;
        let fingerprint = match object.get("fingerprint")? {
            Value::Null => None,
            digits => Some(digits.as_str()?.to_owned()),
        };
        // Of a pair it is the public half's, and of no other key.
        if key.kind != KeyKind::Kek && fingerprint != public_key.as_ref().map(key_fingerprint) {
            return None;
        }
        Some(Self {
            at_ms: object.get("at_ms")?.as_u64()?,
            chain: text("chain")?.parse().ok()?,
            node: text("node")?,
            role: match object.get("role")? {
                Value::Null => None,
                role => Some(role.as_str()?.to_owned()),
            },
            attestation: Attestation {
                key,
                public_key,
                device: device_of(object.get("device")?)?,
                trust: [Trust::SelfReported, Trust::Signed]
                    .into_iter()
                    .find(|trust| Some(trust_word(*trust)) == object.get("trust").and_then(Value::as_str))?,
                format: text("format")?,
                evidence: hex::decode(text("evidence")?).ok()?,
            },
            fingerprint,
        })
    }

    /// What it is worth to whoever trusts an attestation key of that name.
    #[must_use]
    pub fn judge(&self, attestation_key: Option<&[u8]>) -> Worth {
        let Attestation { key, public_key, format, evidence, .. } = &self.attestation;
        if format != attestation::FORMAT {
            return Worth::SelfReported;
        }
        let Some(attestation_key) = attestation_key else { return Worth::Unchecked };
        match attestation::verify(evidence, &challenge_of(&key.uri), attestation_key) {
            Err(error) => Worth::Refused(error.to_string()),
            Ok(proof) if proof.kind != key.kind || proof.public_key != *public_key || key.extractable => {
                Worth::Refused("the evidence proves another key than the statement tells of".into())
            }
            Ok(proof) => Worth::Proven { resets: proof.resets, firmware: proof.firmware },
        }
    }

    /// The key, its fingerprint and its device: name and text of each.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let Attestation { key, public_key, device, format, .. } = &self.attestation;
        let (local, out) = match (key.local, key.extractable) {
            (true, false) => ("made inside the device", "never given out"),
            (true, true) => ("made inside the device", "GIVEN OUT by the device when asked"),
            (false, false) => ("brought in from outside", "never given out"),
            (false, true) => ("brought in from outside", "GIVEN OUT by the device when asked"),
        };
        let mut rows = vec![
            ("key", key.uri.to_string()),
            ("kind", format!("{}, {local}, {out}", kind_word(key.kind))),
            ("used by", format!("{} as {}", self.node, self.role.as_deref().unwrap_or("nothing"))),
        ];
        if let Some(public_key) = public_key {
            rows.push(("public key", NodeId(*public_key).to_hex()));
        }
        rows.extend(self.fingerprint.iter().map(|digits| ("fingerprint", digits.clone())));
        let DeviceInfo { manufacturer, model, serial, custody, .. } = device;
        rows.push(("device", format!("{manufacturer} {model} serial {serial}: {custody}")));
        rows.push(("evidence", format.clone()));
        rows
    }
}

impl Worth {
    /// In plain words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Proven { resets, firmware } => format!(
                "proven: the TPM whose attestation key you named signed that this key was made inside it and cannot leave it \
                 (firmware {firmware:#x}, {resets} resets before). That this TPM is a real one is not proven: its maker's certificate is not part of it"
            ),
            Self::SelfReported => {
                "self-reported: the device's library says so, and nothing proves it to somebody who does not trust \
                                   that library and the host it ran on"
                    .into()
            }
            Self::Unchecked => {
                "not checked: it can be, with the name of the TPM's attestation key that the ceremony wrote to \
                                conf/keys.json; name that file's node with --config, or the key with --attestation-key"
                    .into()
            }
            Self::Refused(reason) => format!("REFUSED: {reason}"),
        }
    }
}

/// The name of the attestation key that the ceremony of a node wrote down; none of a node whose device has no such key.
///
/// # Errors
/// When the record is there and cannot be read.
pub fn attestation_key_of(config: &Path) -> Result<Option<Vec<u8>>, String> {
    let node = NodeDirectory::new(config.parent().unwrap_or(Path::new(".")));
    if !node.keys().exists() {
        return Ok(None);
    }
    let keys = NodeKeys::read(&node).map_err(|error| error.to_string())?;
    let name = keys.tpm.as_ref().and_then(|tpm| tpm["attestation_key"].as_str());
    name.map(|name| hex::decode(name).map_err(|error| format!("{}: attestation_key: {error}", node.keys().display())))
        .transpose()
}

fn key_of(value: &Value) -> Option<KeyInfo> {
    let kinds = [KeyKind::Sm2Sign, KeyKind::Kek];
    Some(KeyInfo {
        uri: value["uri"].as_str()?.parse::<KeyRef>().ok()?,
        label: value["label"].as_str()?.to_owned(),
        kind: kinds.into_iter().find(|kind| Some(kind_word(*kind)) == value["kind"].as_str())?,
        local: value["local"].as_bool()?,
        sensitive: value["sensitive"].as_bool()?,
        extractable: value["extractable"].as_bool()?,
    })
}

fn device_of(value: &Value) -> Option<DeviceInfo> {
    let text = |name: &str| Some(value[name].as_str()?.to_owned());
    let custodies = [Custody::ProcessMemory, Custody::OtherProcess, Custody::Hardware, Custody::Unknown];
    Some(DeviceInfo {
        backend: text("backend")?,
        manufacturer: text("manufacturer")?,
        model: text("model")?,
        serial: text("serial")?,
        token: text("token")?,
        version: text("version")?,
        custody: custodies.into_iter().find(|custody| Some(custody_word(*custody)) == value["custody"].as_str())?,
        monotonic_counter: value["monotonic_counter"].as_bool()?,
    })
}

fn trust_word(trust: Trust) -> &'static str {
    match trust {
        Trust::SelfReported => "self-reported",
        Trust::Signed => "signed-by-its-maker",
    }
}
