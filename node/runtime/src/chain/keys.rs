//! The step that makes a node's token and its keys.

use std::path::Path;
use std::sync::Arc;

use bixi_config::{HsmBackend, NodeConfig};
use bixi_hsm::device::kek_fingerprint;
use bixi_hsm::pin::PinMemory;
use bixi_hsm::{Cause, DeviceError, KeyDevice, KeyKind, KeyRef, KeySpec};
use bixi_hsm_pkcs11::{Initialisation, Params, Pkcs11Device, ProfileChoice, TokenSelector, initialise_token};
use bixi_hsm_tpm::{Address, initialise_store};
use bixi_platform::credentials::PinSource;
use bixi_platform::secret::Secret;
use bixi_types::NodeId;
use serde_json::{Value, json};

use crate::chain::layout::{NodeDirectory, TokenHome, read, write_new};
use crate::chain::{ChainError, io_at};
use crate::keys::opening::{self, OPENINGS};
use crate::keys::{TPM_STORE, open_backend};
use crate::lifecycle::adoption::Adopted;

const SESSIONS_MAX: usize = 2;
const TIMEOUT_MS: u64 = 10_000;
/// A TPM makes keys by itself, and slow ones take seconds for each.
const TPM_INITIALISATION_MS: u64 = 60_000;

/// A key as its device describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its use in the node: `consensus`, `tls`, `kek`.
    pub role: String,
    /// RFC 7512 reference.
    pub uri: String,
    /// The device would give it out.
    pub extractable: bool,
    /// Where its bytes are while in use.
    pub custody: String,
    /// X ‖ Y in hexadecimal; none for a secret key.
    pub public_key: Option<String>,
}

impl KeyRecord {
    /// Reads what [`Self::to_json`] wrote; what is missing is taken for the worst.
    pub fn from_json(row: &Value) -> Self {
        let text_of = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        Self {
            role: text_of("role"),
            uri: text_of("uri"),
            extractable: row["extractable"].as_bool().unwrap_or(true),
            custody: text_of("custody"),
            public_key: row["public_key"].as_str().map(str::to_owned),
        }
    }

    /// X ‖ Y of a pair.
    pub fn id(&self) -> Option<NodeId> {
        self.public_key.as_deref()?.parse().ok()
    }

    /// As reports print it.
    pub fn to_json(&self) -> Value {
        json!({
            "role": self.role,
            "uri": self.uri,
            "extractable": self.extractable,
            "custody": self.custody,
            "public_key": self.public_key,
        })
    }
}

/// A node's keys, public parts only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeKeys {
    /// Consensus, TLS and key encryption key.
    pub keys: Vec<KeyRecord>,
    /// Names in a TPM that was made ready, for the ceremony's record: of the parent, to be compared with what the TPM tells
    /// otherwise, and of the key that signs its statements.
    pub tpm: Option<Value>,
    /// [`kek_fingerprint`]: a key put in the place of the one made here, between this step and `seal`, is noticed by it.
    /// Records of earlier releases have none.
    pub kek_fingerprint: Option<String>,
    /// Keys that others took the place of, oldest first.
    pub former: Vec<KeyRecord>,
}

impl NodeKeys {
    /// The record of these keys, a key encryption key among them, which is asked for its fingerprint.
    ///
    /// # Panics
    /// Without one.
    pub(crate) fn of(device: &dyn KeyDevice, keys: Vec<KeyRecord>, tpm: Option<Value>) -> Result<Self, DeviceError> {
        let kek = keys.iter().find(|key| key.role == "kek").expect("every node has one");
        let kek = kek.uri.parse().expect("a reference that was printed");
        Ok(Self { kek_fingerprint: Some(kek_fingerprint(device, &kek)?), keys, tpm, former: Vec::new() })
    }

    /// As written to `conf/keys.json`.
    pub fn to_json(&self) -> Value {
        let keys: Vec<_> = self.keys.iter().map(KeyRecord::to_json).collect();
        let mut record = json!({"keys": keys, "kek_fingerprint": self.kek_fingerprint});
        if let Some(tpm) = &self.tpm {
            record["tpm"] = tpm.clone();
        }
        if !self.former.is_empty() {
            record["former"] = self.former.iter().map(KeyRecord::to_json).collect();
        }
        record
    }

    /// Reads what [`make_keys`] wrote.
    pub fn read(node: &NodeDirectory) -> Result<Self, ChainError> {
        let path = node.keys();
        let text = read(&path, "bixi chain keys")?;
        let bad = |detail: String| ChainError::Record { path: path.clone(), detail };
        let value: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let rows = value["keys"].as_array().ok_or_else(|| bad("no list named keys".into()))?;
        let keys = rows.iter().map(KeyRecord::from_json).collect();
        let kek_fingerprint = value["kek_fingerprint"].as_str().map(str::to_owned);
        let former = value["former"].as_array().into_iter().flatten().map(KeyRecord::from_json).collect();
        Ok(Self { keys, tpm: value.get("tpm").cloned(), kek_fingerprint, former })
    }

    /// X ‖ Y of the consensus key: the node's id.
    pub fn node_id(&self) -> Result<NodeId, ChainError> {
        self.public_key("consensus").map(NodeId)
    }

    /// The consensus keys that the node has and had: the present one first.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> {
        let consensus = self.keys.iter().chain(&self.former).filter(|key| key.role == "consensus");
        consensus.filter_map(KeyRecord::id)
    }

    /// The pairs that are in no more use once `new` are: those before, and the present ones that are not among them.
    pub(crate) fn former_beside(self, new: &[KeyRecord]) -> Vec<KeyRecord> {
        let is_new = |key: &KeyRecord| new.iter().any(|new| new.id() == key.id());
        let pairs = self.keys.into_iter().filter(|key| key.id().is_some());
        self.former.into_iter().chain(pairs).filter(|key| !is_new(key)).collect()
    }

    /// X ‖ Y of the key of that role.
    pub fn public_key(&self, role: &str) -> Result<[u8; 64], ChainError> {
        let key = self.keys.iter().find(|key| key.role == role).and_then(|key| key.public_key.as_deref());
        key.and_then(|text| text.parse::<NodeId>().ok()).map(|id| id.0).ok_or_else(|| ChainError::Record {
            path: "conf/keys.json".into(),
            detail: format!("no public key of the role {role:?}"),
        })
    }
}

/// Makes the node's keys inside its device: a token is initialised first; in an SDF device, signing pairs that it has under their
/// names already are taken. A key encryption key is always made, of one that is there nobody knows who knows it, unless `adopt` has the
/// fingerprint of one that an attempt before left. The public parts go to `conf/keys.json`, which is the last thing that is done: an
/// attempt that ended before is gone on with.
pub fn make_keys(node: &NodeDirectory, adopt: &[String]) -> Result<NodeKeys, ChainError> {
    if node.keys().exists() {
        return Err(ChainError::Exists(node.keys()));
    }
    let config = node.node_config()?;
    let (tpm, device) = match make_ready(node, &config) {
        Ok(tpm) => (tpm, open_device(node, &config)?),
        Err(ChainError::Device(error)) if config.hsm.backend == HsmBackend::Pkcs11 && error.cause == Cause::Absent => {
            match open_device(node, &config) {
                // A token that opens with the PIN of this node's own directory is one that an attempt before made ready.
                Ok(device) => (None, device),
                Err(ChainError::Device(opening)) if opening.cause == Cause::Absent => {
                    return Err(ChainError::Device(error));
                }
                // There is a token of that name, and what is wrong with it is what the officer has to mend.
                Err(opening) => return Err(opening),
            }
        }
        Err(error) => return Err(error),
    };
    let is_sealed = node.path().join(&config.data_dir).join("vault").exists();
    let note = node.kek_note();
    let was_about_to = note.exists();
    let config = config.hsm;
    let wanted = [
        ("consensus", &config.consensus_key, KeyKind::Sm2Sign),
        ("tls", &config.tls_key, KeyKind::Sm2Sign),
        ("kek", &config.kek, KeyKind::Kek),
    ];
    let mut keys = Vec::new();
    for (role, label, kind) in wanted {
        // What is sealed under it would be under a key that no record of this node names.
        let expect_kek = |kek: &KeyRef| Adopted(adopt).expect_kek(device.as_ref(), kek, !is_sealed && was_about_to);
        // Before the key is made: one that is there without this, nobody here was about to make.
        let note_kek = || match was_about_to {
            true => Ok(()),
            false => write_new(&note, 0o644, b"a key encryption key is being made\n"),
        };
        keys.push(make_key(device.as_ref(), role, label, kind, expect_kek, note_kek)?);
    }
    let made = NodeKeys::of(device.as_ref(), keys, tpm)?;
    let text = format!("{:#}\n", made.to_json());
    write_new(&node.keys(), 0o644, text.as_bytes())?;
    // The record speaks for it from now on; where it stays, it says nothing any more.
    drop(std::fs::remove_file(&note));
    Ok(made)
}

/// Takes the signing pair of that label, or a key encryption key that is expected, or makes a key, a key encryption key once that is noted.
fn make_key(
    device: &dyn KeyDevice,
    role: &str,
    label: &str,
    kind: KeyKind,
    expect_kek: impl FnOnce(&KeyRef) -> Result<(), DeviceError>,
    note_kek: impl FnOnce() -> Result<(), ChainError>,
) -> Result<KeyRecord, ChainError> {
    let made = device.list()?.into_iter().find(|key| key.label == label && key.kind == kind);
    let uri = match made {
        Some(key) => {
            if kind == KeyKind::Kek {
                expect_kek(&key.uri)?;
            }
            key.uri
        }
        None => {
            if kind == KeyKind::Kek {
                note_kek()?;
            }
            device.generate(&KeySpec::new(label, kind))?
        }
    };
    describe_key(device, role, &uri)
}

/// The refusal of a key encryption key that is there already.
pub(crate) fn foreign_kek(kek: &KeyRef) -> DeviceError {
    let message = format!("{kek} is there already, and this ceremony did not make it");
    DeviceError::new("generate", Cause::KeyExists, message).with_advice(
        "if an earlier attempt at this step made it and nothing is sealed under it, remove it (in an SDF device: its .kek file); \
         else choose another hsm.kek",
    )
}

/// A key as its device describes it, for the public record.
pub(crate) fn describe_key(device: &dyn KeyDevice, role: &str, key: &KeyRef) -> Result<KeyRecord, ChainError> {
    let attested = device.attest(key)?;
    Ok(KeyRecord {
        role: role.to_owned(),
        uri: key.to_string(),
        extractable: attested.key.extractable,
        custody: device.info().custody.to_string(),
        public_key: attested.public_key.map(|key| NodeId(key).to_hex()),
    })
}

/// Makes the device that a node's file names ready in the place of a lost one: a token with the PINs of the node's directory.
pub(crate) fn initialise_lost(node: &NodeDirectory, config: &NodeConfig) -> Result<(), ChainError> {
    make_ready(node, config).map(drop)
}

/// Initialises the token or the TPM's store, and returns what a TPM's ceremony records; an SDF device was made ready by its
/// vendor's tool.
fn make_ready(node: &NodeDirectory, config: &NodeConfig) -> Result<Option<Value>, ChainError> {
    let (hsm, home) = (&config.hsm, node.token_home());
    match hsm.backend {
        HsmBackend::Pkcs11 => initialise(home, &node.path().join(&hsm.module), &hsm.token).map(|()| None),
        HsmBackend::Sdf => Ok(None),
        HsmBackend::Tpm => {
            let request = bixi_hsm_tpm::Initialisation {
                address: Address::of_path(&node.path().join(&hsm.module)),
                directory: node.path().join(&config.data_dir).join(TPM_STORE),
                label: hsm.token.clone(),
                pin: PinSource::File(home.user_pin()).read()?,
                owner_authorization: Secret::from_slice(&[]),
                counter: true,
                timeout_ms: TPM_INITIALISATION_MS,
            };
            let made = initialise_store(&request)?;
            Ok(Some(json!({
                "parent_handle": format!("{:#010x}", made.parent_handle),
                "parent": hex::encode(&made.parent),
                "attestation_key": hex::encode(&made.attestation_key),
            })))
        }
    }
}

/// Opens the device that a node's file names.
pub(super) fn open_device(node: &NodeDirectory, config: &NodeConfig) -> Result<Arc<dyn KeyDevice>, ChainError> {
    let (node, hsm, data) = (node.clone(), config.hsm.clone(), node.path().join(&config.data_dir));
    if !data.is_dir() {
        return Err(io_at(&data)(std::io::ErrorKind::NotFound.into()));
    }
    PinMemory::wait_out_pause(&data.join("pin-state"));
    let module = node.path().join(&hsm.module);
    let limits = opening::limits(&hsm);
    OPENINGS.in_time(&module.clone(), limits, move || {
        let pin = PinSource::File(node.token_home().user_pin());
        // With the profile, the directory and the limits that the node will run with.
        Ok(open_backend(&hsm, node.path(), &data, pin)?)
    })
}

/// Initialises the token of `home`, with the PINs that lie there.
fn initialise(home: &TokenHome, module: &Path, label: &str) -> Result<(), ChainError> {
    let request = Initialisation {
        module_path: module.to_owned(),
        slot: None,
        label: label.to_owned(),
        so_pin: PinSource::File(home.so_pin()).read()?,
        user_pin: PinSource::File(home.user_pin()).read()?,
        destroy: None,
    };
    initialise_token(&request)?;
    Ok(())
}

/// Initialises a token of the shipped module that is no node's, and opens it.
pub(super) fn new_token(home: &TokenHome, module: &Path, label: &str) -> Result<Pkcs11Device, ChainError> {
    initialise(home, module, label)?;
    open_token(home, module, label)
}

/// Opens a token of the shipped module that is no node's.
pub(super) fn open_token(home: &TokenHome, module: &Path, label: &str) -> Result<Pkcs11Device, ChainError> {
    let state = home.path().join("data");
    if !state.is_dir() {
        return Err(io_at(&state)(std::io::ErrorKind::NotFound.into()));
    }
    Ok(Pkcs11Device::open(Params {
        module_path: module.to_owned(),
        token: TokenSelector::label(label),
        pin: PinSource::File(home.user_pin()),
        pin_state_path: state.join("pin-state"),
        profile: ProfileChoice::Matched,
        sessions_max: SESSIONS_MAX,
        timeout_ms: TIMEOUT_MS,
    })?)
}

#[cfg(test)]
mod tests {
    use bixi_hsm::soft::SoftDevice;

    use super::*;

    /// Whoever can write the records could have planted a key encryption key that he knows; a signing pair is the one its
    /// officer made.
    #[test]
    fn a_key_encryption_key_that_is_there_already_is_not_taken() {
        let device = SoftDevice::new("test");
        let pair = device.generate(&KeySpec::new("consensus", KeyKind::Sm2Sign)).unwrap();
        device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
        let expect_kek = |kek: &KeyRef| Adopted(&[]).expect_kek(&device, kek, true);
        let make_key = |role, label, kind| make_key(&device, role, label, kind, expect_kek, || Ok(()));
        let taken = make_key("consensus", "consensus", KeyKind::Sm2Sign).unwrap();
        assert_eq!(taken.uri, pair.to_string());
        let refused = make_key("kek", "kek", KeyKind::Kek).unwrap_err().to_string();
        assert!(refused.contains("this ceremony did not make it") && refused.contains("object=kek"), "{refused}");
        make_key("kek", "another", KeyKind::Kek).unwrap();
    }
}
