//! The store's counter: read, advanced, and made anew where it was removed.

use std::sync::PoisonError;

use bixi_hsm::device::Count;
use bixi_hsm::{Cause, DeviceError};
use bixi_platform::secret::Secret;

use super::TpmDevice;
use crate::ceremony::OWNER;
use crate::command::Entity;
use crate::connection::Connection;
use crate::counter;
use crate::kdf::sha256;
use crate::public::name_of;

impl TpmDevice {
    /// The value of the counter.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] when the store was initialised without one, [`Cause::CounterRemoved`] when it is gone.
    pub fn counter(&self) -> Result<u64, DeviceError> {
        self.read_counter(false)
    }

    /// Advances the counter by one, in one attempt, and returns its new value.
    ///
    /// # Errors
    /// As [`TpmDevice::counter`]. After another error it may or may not have advanced.
    pub fn advance_counter(&self) -> Result<u64, DeviceError> {
        self.read_counter(true)
    }

    fn read_counter(&self, advance: bool) -> Result<u64, DeviceError> {
        let index = self.index()?;
        let login = &self.store().record.login;
        let work = |connection: &mut Connection, pin: &[u8]| {
            // The session is tried on a key of ours first: see `Connection::run_under_parent`.
            connection.load(login)?;
            counter::read(connection, index, pin, advance)
        };
        if advance { self.once(work) } else { self.with(work) }
    }

    /// Makes a counter in the place of one that was removed. The PIN of the store, which the new index has, too, was right when this device was
    /// opened.
    pub(super) fn renew(&self, owner_authorization: &Secret) -> Result<(), DeviceError> {
        let (index, owner) = (self.index()?, Entity::permanent(OWNER));
        let store = self.store();
        let _turn = store.lock(self.pool.source().timeout)?;
        let authorization = owner_authorization.as_slice();
        let renewed = self.once(|connection, pin| {
            connection.load(&store.record.login)?;
            let renewed = counter::renew(connection, index, &owner, authorization, pin)?;
            if let Err(error) = store.put_counter(renewed) {
                // Else the TPM's memory would fill up with counters that no store knows.
                let _ = counter::undefine(connection, &owner, authorization, renewed, true);
                return Err(error);
            }
            Ok(renewed)
        })?;
        *self.counter.lock().unwrap_or_else(PoisonError::into_inner) = Some(renewed);
        Ok(())
    }

    pub(super) fn index(&self) -> Result<u32, DeviceError> {
        self.counter_index().ok_or_else(|| {
            let message = "the store was initialised without a counter";
            DeviceError::new("counter", Cause::Unsupported, message).with_advice("initialise a store with one")
        })
    }

    pub(super) fn counter_index(&self) -> Option<u32> {
        *self.counter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Known by the seed that its parent comes from, and by its index.
    pub(super) fn count(&self, index: u32, value: u64) -> Count {
        let counter = sha256(&[&name_of(&self.store().record.parent_public), &index.to_be_bytes()]);
        Count { counter, value }
    }
}
