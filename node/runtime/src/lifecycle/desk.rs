//! A stopped node's key device with its audit trail: where keys are changed.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bixi_hsm::KeyDevice;
use bixi_hsm::audit::{Audit as _, AuditLog, Durability, Event, Outcome};
use bixi_hsm_vault::{Vault, VaultError};
use bixi_platform::io::{Lock, Storage};
use bixi_platform::threads::Spawner;
use bixi_sealed::KeyRing;

use super::mark::Mark;
use crate::keys::{Listed, open_device, open_vault};
use crate::launch::{Failure, LaunchError, step};
use crate::settings::Settings;
use crate::{doctor, placement};

pub(crate) struct Desk {
    pub(crate) device: Arc<dyn KeyDevice>,
    /// What the device listed when it was opened.
    pub(super) listed: Listed,
    /// The vault that the device opens. A node that was never sealed has none, and no trail.
    vault: Option<Vault>,
    trail: Option<Trail>,
    mark: Mark,
}

impl Desk {
    /// Opens the device in this process, and the audit trail where there is one. The node and its broker must not run: each keeps the
    /// trail for itself.
    pub(crate) fn open(settings: &Settings) -> Result<Self, LaunchError> {
        Self::open_on(settings, &storage_of_stopped(settings)?)
    }

    /// The same for who keeps the node from starting already.
    fn open_on(settings: &Settings, storage: &Arc<dyn Storage>) -> Result<Self, LaunchError> {
        let device = step("key device", || open_device(settings, settings.pin()))?;
        let listed = step("key device", || Listed::of(device.as_ref()))?;
        let vault = step("vault", || vault_of(settings, storage, device.as_ref(), &listed))?;
        let open_trail = |vault: &Vault| Trail::open(settings, storage, vault.key_ring());
        let trail = step("audit trail", || vault.as_ref().map(open_trail).transpose())?;
        Ok(Self { device, listed, vault, trail, mark: Mark::of(settings, storage) })
    }

    /// The same of a node that was sealed, with the vault that its device opens, and that is the newest by the count of the device.
    pub(crate) fn open_with_vault(settings: &Settings) -> Result<(Self, Vault), LaunchError> {
        Self::open_with_vault_on(settings, &storage_of_stopped(settings)?)
    }

    /// The same for who keeps the node from starting already.
    pub(super) fn open_with_vault_on(
        settings: &Settings,
        storage: &Arc<dyn Storage>,
    ) -> Result<(Self, Vault), LaunchError> {
        let mut desk = Self::open_on(settings, storage)?;
        let path = settings.data("vault");
        let vault = step("vault", || desk.vault.take().ok_or(VaultError::Missing { path }))?;
        step("guard", || desk.mark.expect_newest(desk.device.as_ref(), &vault))?;
        Ok((desk, vault))
    }

    /// Has the device count, and the guard know the vault: to be done when it was written.
    pub(crate) fn count(&self, vault: &Vault) -> Result<(), LaunchError> {
        step("count of the device, after all else was done", || self.mark.count(self.device.as_ref(), vault))
    }

    /// Lets go of the trail's files; nothing is performed until [`Self::with_trail`].
    pub(crate) fn close_trail(&mut self) {
        self.trail = None;
    }

    /// Opens the trail again.
    pub(crate) fn with_trail(
        self,
        settings: &Settings,
        storage: &Arc<dyn Storage>,
        vault: &Vault,
    ) -> Result<Self, LaunchError> {
        let trail = step("audit trail", || Trail::open(settings, storage, vault.key_ring()))?;
        Ok(Self { trail: Some(trail), ..self })
    }

    /// Does what the trail was told of before, and tells what became of it.
    pub(crate) fn perform<T>(
        &self,
        request: &str,
        subject: &str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match &self.trail {
            Some(trail) => trail.perform(request, subject, work),
            None => work(),
        }
    }

    /// Tells the trail of something that was found.
    pub(super) fn tell(&self, request: &str, subject: String, outcome: Outcome) -> Result<(), Failure> {
        self.trail.as_ref().map_or(Ok(()), |trail| trail.tell(request, subject, outcome))
    }
}

/// A node's audit trail, for what changes keys.
pub(crate) struct Trail(AuditLog);

impl Trail {
    pub(crate) fn open(settings: &Settings, storage: &Arc<dyn Storage>, ring: KeyRing) -> Result<Self, Failure> {
        Ok(Self(AuditLog::open(Arc::clone(storage), settings.data("audit"), ring)?))
    }

    /// Does what the trail was told of before, and tells what became of it.
    pub(crate) fn perform<T>(
        &self,
        request: &str,
        subject: &str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.tell(request, format!("{subject}, about to be done"), Outcome::Answered)?;
        let done = work();
        let outcome = match &done {
            Ok(_) => Outcome::Answered,
            Err(error) => Outcome::Refused(error.to_string()),
        };
        self.tell(request, subject.to_owned(), outcome)?;
        done
    }

    /// Durable when it returns.
    pub(crate) fn tell(&self, request: &str, subject: String, outcome: Outcome) -> Result<(), Failure> {
        let event = Event { request: request.to_owned(), subject, digest: None, outcome };
        Ok(self.0.record(&event, Durability::AtOnce)?)
    }
}

/// The keys of the data, from the device; nothing is written.
pub(crate) fn ring_of_stopped(settings: &Settings, storage: &Arc<dyn Storage>) -> Result<KeyRing, LaunchError> {
    let device = step("key device", || open_device(settings, settings.pin()))?;
    let listed = step("key device", || Listed::of(device.as_ref()))?;
    step("vault", || open_vault(settings, storage, device.as_ref(), &listed).map(|vault| vault.key_ring()))
}

/// The way to the files of a node that does not run.
pub(crate) fn storage_of_stopped(settings: &Settings) -> Result<Arc<dyn Storage>, LaunchError> {
    step("stopped node", || doctor::expect_stopped(settings))?;
    let spawner = Spawner::new(step("placement", || placement::plan(settings))?);
    step("storage", || settings.storage(&spawner))
}

/// Keeps a node, and whoever has its guard, from starting meanwhile. A lock that is not there is not made: nothing is written, and who
/// starts makes it as his own.
pub(super) fn hold_stopped(storage: &dyn Storage, data: &Path) -> Result<Vec<Box<dyn Lock>>, Failure> {
    let mut held = Vec::new();
    for name in ["ordering/LOCK", "guard.lock"] {
        let path = data.join(name);
        let locked = match storage.exists(&path) {
            Ok(true) => storage.lock(&path),
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        match locked {
            Ok(lock) => held.push(lock),
            // Nobody starts there.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(format!(
                    "{} is held: the node runs on these files, or its broker does; stop both first",
                    path.display()
                )
                .into());
            }
            Err(error) => {
                return Err(format!("{}: {error}; run this as the user whose files they are", path.display()).into());
            }
        }
    }
    Ok(held)
}

fn vault_of(
    settings: &Settings,
    storage: &Arc<dyn Storage>,
    device: &dyn KeyDevice,
    listed: &Listed,
) -> Result<Option<Vault>, Failure> {
    if !storage.exists(&settings.data("vault"))? {
        return Ok(None);
    }
    open_vault(settings, storage, device, listed).map(Some)
}
