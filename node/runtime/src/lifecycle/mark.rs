//! The guard of a stopped node and the counter of its device, around what changes the vault: a guard that knows the newest version, and a
//! device that has counted since, tell an older vault, alone or with its guard (ADR 016). Of a device without a counter nothing is done.

use std::path::PathBuf;
use std::sync::Arc;

use bixi_hsm::guard::CountError;
use bixi_hsm::{Guard, GuardError, KeyDevice};
use bixi_hsm_vault::Vault;
use bixi_platform::io::Storage;
use bixi_types::H256;

use super::now_ms;
use crate::launch::Failure;
use crate::settings::Settings;

/// Where the guard of a stopped node is.
pub(super) struct Mark {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    chain: H256,
}

impl Mark {
    pub(super) fn of(settings: &Settings, storage: &Arc<dyn Storage>) -> Self {
        Self { storage: Arc::clone(storage), path: settings.data("guard"), chain: settings.genesis.hash() }
    }

    /// Refuses a guard or a vault that may be old, before anything is changed.
    pub(super) fn expect_newest(&self, device: &dyn KeyDevice, vault: &Vault) -> Result<(), Failure> {
        match self.guard(device, vault)? {
            Some(guard) => Ok(guard.expect_newest(device, vault.version())?),
            None => Ok(()),
        }
    }

    /// Has the guard know the vault as it is now, and the device count.
    pub(super) fn count(&self, device: &dyn KeyDevice, vault: &Vault) -> Result<(), Failure> {
        self.guard(device, vault)?.map_or(Ok(()), |guard| count(&guard, device, vault))
    }

    fn guard(&self, device: &dyn KeyDevice, vault: &Vault) -> Result<Option<Guard>, Failure> {
        if !device.info().monotonic_counter {
            return Ok(None);
        }
        match Guard::open(Arc::clone(&self.storage), &self.path, vault.key_ring(), self.chain) {
            Ok(guard) => Ok(Some(guard)),
            // A node that is not sealed yet.
            Err(GuardError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Has the device count, if it has not counted the vault as it is now, or the guard. One that does not is asked again by the next start.
pub(crate) fn count(guard: &Guard, device: &dyn KeyDevice, vault: &Vault) -> Result<(), Failure> {
    if !device.info().monotonic_counter || !guard.is_uncounted(vault.version()) {
        return Ok(());
    }
    match guard.count(device, vault.version(), now_ms()) {
        Err(CountError::Device(error)) => {
            tracing::warn!(%error, "the vault is written, and the device did not count; the next start has it do so");
            Ok(())
        }
        counted => Ok(counted?),
    }
}
