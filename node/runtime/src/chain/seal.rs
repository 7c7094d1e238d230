//! The step that makes a node's data keys and its sign-once guard.

use std::sync::Arc;

use bixi_hsm::device::kek_fingerprint;
use bixi_hsm::{Guard, KeyKind};
use bixi_hsm_vault::Vault;
use bixi_platform::io::{PreadStorage, Storage};
use bixi_sealed::AtRest;

use crate::chain::ChainError;
use crate::chain::keys::{NodeKeys, open_device};
use crate::chain::layout::NodeDirectory;

/// Makes the vault and the guard of a node whose keys and genesis are there; the key encryption key must be the one that was made with
/// them. The guard is made here, and by a recovery for the key it made: a node that finds none refuses to run, because an empty guard would let its key contradict itself.
pub fn seal(node: &NodeDirectory) -> Result<(), ChainError> {
    let config = node.node_config()?;
    let genesis = node.read_genesis()?;
    let device = open_device(node, &config)?;
    let kek = device.list()?.into_iter().find(|key| key.label == config.hsm.kek && key.kind == KeyKind::Kek);
    let kek = kek.ok_or(ChainError::Missing { path: node.keys(), before: "bixi chain keys" })?;
    let made = NodeKeys::read(node)?.kek_fingerprint.ok_or_else(|| ChainError::Record {
        path: node.keys(),
        detail: "no kek_fingerprint, which tells the key made with it from another".into(),
    })?;
    let found = kek_fingerprint(device.as_ref(), &kek.uri)?;
    if found != made {
        return Err(ChainError::Unusable {
            path: node.keys(),
            detail: format!(
                "it names a key encryption key with the fingerprint {made}, and the one labelled {:?} in the device has {found}: another \
                 key was put in its place, or another record. Make the keys again in a new directory",
                config.hsm.kek
            ),
        });
    }
    let data = node.path().join(&config.data_dir);
    let files: Arc<dyn Storage> = Arc::new(PreadStorage::new());
    let vault = Vault::create(Arc::clone(&files), data.join("vault"), AtRest::Sm4Gcm, device.as_ref(), &kek.uri)?;
    Guard::create(files, data.join("guard"), vault.key_ring(), genesis.hash())?;
    Ok(())
}
