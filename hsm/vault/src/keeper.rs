//! The vault of a service at work: opened anew for each change, so that the file is what counts, whoever wrote it last.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bixi_hsm::protocol::{DataKeyEpochs, Refusal};
use bixi_hsm::service::DataKeys;
use bixi_hsm::{KeyDevice, KeyRef};
use bixi_platform::io::{Storage, directory_of};
use bixi_sealed::{AtRest, KeyRing};

use crate::{DeviceKek, Vault, VaultError};

/// Changes the data keys of a node at work.
pub struct Keeper {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    device: Arc<dyn KeyDevice>,
    kek: KeyRef,
    ring: KeyRing,
    may_drop: bool,
    /// Of the vault as it was last read or written here.
    version: AtomicU64,
    /// One change at a time.
    turn: Mutex<()>,
}

impl Keeper {
    /// Of a vault that `kek` opens, and has opened; its ring learns of new epochs and forgets dropped ones. None is dropped before
    /// [`Self::allow_dropping`].
    pub fn new(storage: Arc<dyn Storage>, device: Arc<dyn KeyDevice>, kek: KeyRef, vault: &Vault) -> Self {
        Self {
            storage,
            path: vault.path().to_owned(),
            device,
            kek,
            ring: vault.key_ring(),
            may_drop: false,
            version: AtomicU64::new(vault.version()),
            turn: Mutex::default(),
        }
    }

    /// Whether epochs are dropped when a node at work asks for it.
    #[must_use]
    pub fn allow_dropping(self, is_allowed: bool) -> Self {
        Self { may_drop: is_allowed, ..self }
    }

    /// Changes the vault, if `change` does, and takes over what it has then.
    fn with_vault(
        &self,
        change: impl FnOnce(&mut Vault, &dyn KeyDevice) -> Result<(), VaultError>,
    ) -> Result<DataKeyEpochs, Refusal> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let kek = DeviceKek { device: self.device.as_ref(), key: &self.kek };
        let mut vault = Vault::open(Arc::clone(&self.storage), &self.path, &kek).map_err(refuse)?;
        let (found, known) = (vault.version(), self.version.load(Ordering::SeqCst));
        if found < known {
            let reason = format!("vault {}: version {found} was put in the place of {known}", self.path.display());
            return Err(Refusal::DataKeys(reason));
        }
        change(&mut vault, self.device.as_ref()).map_err(refuse)?;
        // Nothing is sealed under what an earlier attempt could not make durable.
        let synced = self.storage.sync_dir(directory_of(&self.path));
        synced.map_err(|error| Refusal::DataKeys(format!("vault {}: sync directory: {error}", self.path.display())))?;
        let ring = vault.key_ring();
        self.version.store(vault.version(), Ordering::SeqCst);
        self.ring.become_like(&ring).map_err(|error| Refusal::DataKeys(error.to_string()))?;
        Ok(DataKeyEpochs { current: ring.current_epoch(), known: ring.epochs() })
    }
}

impl DataKeys for Keeper {
    fn vault_version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    fn epochs(&self) -> Result<DataKeyEpochs, Refusal> {
        self.with_vault(|_, _| Ok(()))
    }

    fn suite(&self) -> AtRest {
        self.ring.current().suite
    }

    fn begin_epoch(&self, after: u32, suite: Option<AtRest>) -> Result<DataKeyEpochs, Refusal> {
        // Two who ask at once begin one.
        self.with_vault(|vault, device| match vault.key_ring().current_epoch() == after {
            true => vault.add_epoch(device, suite).map(drop),
            false => Ok(()),
        })
    }

    fn expect_droppable(&self) -> Result<(), Refusal> {
        if !self.may_drop {
            return Err(Refusal::DataKeys(
                "a node at work has none dropped, so that who takes one over cannot have what was moved elsewhere made unreadable: stop it, then \
                 --go-on --drop; or say hsm.drop_at_work_allowed = true in the file of who holds the device"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn drop_epochs(&self, below: u32) -> Result<DataKeyEpochs, Refusal> {
        self.expect_droppable()?;
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
