//! A stopped node's key device with its audit trail: where keys are changed.

use std::sync::Arc;

use bixi_hsm::KeyDevice;
use bixi_hsm::audit::{Audit as _, AuditLog, Durability, Event, Outcome};
use bixi_platform::io::Storage;
use bixi_platform::threads::Spawner;

use crate::keys::{Listed, open_device, open_vault};
use crate::launch::{Failure, LaunchError, step};
use crate::settings::Settings;
use crate::{doctor, placement};

pub(super) struct Desk {
    pub(super) device: Arc<dyn KeyDevice>,
    /// What the device listed when it was opened.
    pub(super) listed: Listed,
    pub(super) storage: Arc<dyn Storage>,
    /// A node that was never sealed has none.
    trail: Option<AuditLog>,
}

impl Desk {
    /// Opens the device in this process, and the audit trail where there is one. The node and its broker must not run: each keeps the
    /// trail for itself.
    pub(super) fn open(settings: &Settings) -> Result<Self, LaunchError> {
        step("stopped node", || doctor::expect_stopped(settings))?;
        let spawner = Spawner::new(step("placement", || placement::plan(settings))?);
        let storage = step("storage", || settings.storage(&spawner))?;
        let device = step("key device", || open_device(settings, settings.pin()))?;
        let listed = step("key device", || Listed::of(device.as_ref()))?;
        let trail = step("audit trail", || open_trail(settings, &storage, device.as_ref(), &listed))?;
        Ok(Self { device, listed, storage, trail })
    }

    /// Does what the trail was told of before, and tells what became of it.
    pub(super) fn perform<T>(
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

    fn tell(&self, request: &str, subject: String, outcome: Outcome) -> Result<(), Failure> {
        let Some(trail) = &self.trail else { return Ok(()) };
        let event = Event { request: request.to_owned(), subject, digest: None, outcome };
        Ok(trail.record(&event, Durability::AtOnce)?)
    }
}

fn open_trail(
    settings: &Settings,
    storage: &Arc<dyn Storage>,
    device: &dyn KeyDevice,
    listed: &Listed,
) -> Result<Option<AuditLog>, Failure> {
    if !storage.exists(&settings.data("vault"))? {
        return Ok(None);
    }
    let vault = open_vault(settings, storage, device, listed)?;
    Ok(Some(AuditLog::open(Arc::clone(storage), settings.data("audit"), vault.key_ring())?))
}
