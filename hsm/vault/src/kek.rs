//! The key encryption key as a vault that is opened knows it.

use bixi_hsm::device::PRF_BYTES;
use bixi_hsm::{DeviceError, KeyDevice, KeyRef};
use bixi_hsm_escrow::EscrowKey;

/// A key encryption key, wherever it is: in a device of this process, behind a signing service, or among officers.
pub trait Kek {
    /// Its name, for reports.
    fn name(&self) -> String;

    /// Writes PRF(key, input) to `out`; the input begins with [`bixi_hsm::protocol::PRF_DOMAIN`].
    ///
    /// # Errors
    /// Those of the device.
    fn derive(&self, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError>;
}

/// A key encryption key in a device of this process.
#[derive(Clone, Copy)]
pub struct DeviceKek<'a> {
    /// The device.
    pub device: &'a dyn KeyDevice,
    /// The key.
    pub key: &'a KeyRef,
}

impl Kek for DeviceKek<'_> {
    fn name(&self) -> String {
        self.key.to_string()
    }

    fn derive(&self, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        self.device.prf(self.key, input, out)
    }
}

impl Kek for EscrowKey {
    fn name(&self) -> String {
        format!("escrow {}", self.name())
    }

    fn derive(&self, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        self.derive(input, out);
        Ok(())
    }
}
