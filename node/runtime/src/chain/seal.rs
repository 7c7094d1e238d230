//! The step that makes a node's data keys and its sign-once guard.

use std::path::Path;
use std::sync::Arc;

use bixi_hsm::device::kek_fingerprint;
use bixi_hsm::guard::Note;
use bixi_hsm::{Guard, KeyKind};
use bixi_hsm_vault::{DeviceKek, Vault};
use bixi_platform::io::{PreadStorage, Storage};
use bixi_sealed::AtRest;

use crate::chain::keys::{NodeKeys, open_device};
use crate::chain::layout::NodeDirectory;
use crate::chain::{ChainError, io_at};
use crate::keys::TPM_STORE;

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
    let path = data.join("vault");
    let guard = data.join("guard");
    if files.exists(&path).and_then(|is_there| Ok(is_there && files.exists(&guard)?)).map_err(io_at(&data))? {
        return Err(ChainError::Unusable {
            path: guard,
            detail:
                "the node was sealed before: vault and guard are there. Nothing was changed, and nothing is left to do"
                    .into(),
        });
    }
    let vault = if is_half_sealed(&data).map_err(io_at(&data))? {
        Vault::open(Arc::clone(&files), path, &DeviceKek { device: device.as_ref(), key: &kek.uri })?
    } else {
        Vault::create(Arc::clone(&files), path, AtRest::Sm4Gcm, device.as_ref(), &kek.uri)?
    };
    let noted = device.counter()?.map(|count| Note::begin(count, vault.version()));
    Guard::create_noted(files, guard, vault.key_ring(), genesis.hash(), noted)?;
    Ok(())
}

/// Whether an attempt before this one ended before the guard had its name: the vault is there, and nothing that a node writes once it has run. A
/// guard that is missing beside anything else was lost, and a new one would let the key contradict itself.
fn is_half_sealed(data: &Path) -> std::io::Result<bool> {
    const MADE_BEFORE: [&str; 8] =
        ["vault", "vault.lock", "vault.tmp", "guard.lock", "guard.tmp", "pin-state", "sdf", TPM_STORE];
    if !data.join("vault").try_exists()? {
        return Ok(false);
    }
    for entry in std::fs::read_dir(data)? {
        let name = entry?.file_name();
        let is_known =
            MADE_BEFORE.iter().any(|known| name == *known) || name.to_string_lossy().starts_with("pin-state");
        if !is_known {
            return Ok(false);
        }
    }
    Ok(true)
}
