//! The vault of a service at work: opened anew for each change, so that the file is what counts, whoever wrote it last.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bixi_hsm::protocol::{DataKeyEpochs, Refusal};
use bixi_hsm::service::DataKeys;
use bixi_hsm::{KeyDevice, KeyRef};
use bixi_platform::io::{Storage, directory_of};
use bixi_sealed::KeyRing;

use crate::{DeviceKek, Vault, VaultError};

/// Changes the data keys of a node at work.
pub struct Keeper {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    device: Arc<dyn KeyDevice>,
    kek: KeyRef,
    ring: KeyRing,
    /// One change at a time.
    turn: Mutex<()>,
}

impl Keeper {
    /// The vault at `path`, which `kek` opens; `ring` learns of new epochs and forgets dropped ones.
    pub fn new(
        storage: Arc<dyn Storage>,
        path: PathBuf,
        device: Arc<dyn KeyDevice>,
        kek: KeyRef,
        ring: KeyRing,
    ) -> Self {
        Self { storage, path, device, kek, ring, turn: Mutex::default() }
    }

    /// Changes the vault, if `change` does, and takes over what it has then.
    fn with_vault(
        &self,
        change: impl FnOnce(&mut Vault, &dyn KeyDevice) -> Result<(), VaultError>,
    ) -> Result<DataKeyEpochs, Refusal> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let kek = DeviceKek { device: self.device.as_ref(), key: &self.kek };
        let mut vault = Vault::open(Arc::clone(&self.storage), &self.path, &kek).map_err(refuse)?;
        change(&mut vault, self.device.as_ref()).map_err(refuse)?;
        // Nothing is sealed under what an earlier attempt could not make durable.
        let synced = self.storage.sync_dir(directory_of(&self.path));
        synced.map_err(|error| Refusal::DataKeys(format!("vault {}: sync directory: {error}", self.path.display())))?;
        let ring = vault.key_ring();
        self.ring.become_like(&ring).map_err(|error| Refusal::DataKeys(error.to_string()))?;
        Ok(DataKeyEpochs { current: ring.current_epoch(), known: ring.epochs() })
    }
}

impl DataKeys for Keeper {
    fn epochs(&self) -> Result<DataKeyEpochs, Refusal> {
        self.with_vault(|_, _| Ok(()))
    }

    fn begin_epoch(&self) -> Result<DataKeyEpochs, Refusal> {
        self.with_vault(|vault, device| vault.add_epoch(device).map(drop))
    }

    fn drop_epochs(&self, below: u32) -> Result<DataKeyEpochs, Refusal> {
        self.with_vault(|vault, _| {
            let dropped: Vec<u32> = vault.epochs().into_iter().filter(|epoch| *epoch < below).collect();
            dropped.into_iter().try_for_each(|epoch| vault.drop_epoch(epoch))
        })
    }
}

fn refuse(error: VaultError) -> Refusal {
    match error {
        VaultError::Device(error) => error.into(),
        error => Refusal::DataKeys(error.to_string()),
    }
}
