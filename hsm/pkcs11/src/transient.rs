//! A signing key that lasts as long as somebody works with it: a session object, gone with the session that made it, whatever becomes of
//! this process. All sessions of the process may use it (PKCS#11 2.40, 2.6.6).

use bixi_hsm::{DeviceError, KeyKind, KeyRef, KeySpec};
use bixi_platform::random::OsRandom;

use crate::device::Pkcs11Device;
use crate::error::device_error;
use crate::keys;
use crate::pool::Failure;

/// In the label of such a key, before eight digits that tell it from others.
const LABEL: &str = "bixi-transient-";

impl Pkcs11Device {
    /// Works with a key of this moment, and destroys it.
    pub(crate) fn work_with_transient_key(&self, work: &mut dyn FnMut(&KeyRef)) -> Result<(), DeviceError> {
        let number: [u8; 4] = OsRandom
            .array()
            .map_err(|error| DeviceError::new("getrandom", bixi_hsm::Cause::Fault, error.to_string()))?;
        let spec = KeySpec::new(format!("{LABEL}{:08x}", u32::from_be_bytes(number)), KeyKind::Sm2Sign);
        // Not lent by the pool: it is held for as long as the key, and others need theirs.
        let session = self.pool().open()?;
        let epoch = self.pool().epoch()?;
        let made = keys::generate_transient(&session, self.functions(), self.token(), self.profile(), &spec);
        let (info, handles, public) = made.map_err(|failure| match failure {
            Failure::Module(error) => device_error("make a key of this session", &error),
            Failure::Ours(error) | Failure::Lost(error) => error,
        })?;
        self.know(&info.uri, epoch, handles[0], public);
        work(&info.uri);
        self.forget(&info.uri);
        let destroyed = handles.into_iter().try_for_each(|handle| session.destroy_object(handle));
        destroyed.map_err(|error| device_error("destroy a key of this session", &error))
    }
}
