//! The key device's last known state, so that health answers at once and never waits for hardware.

use std::time::Duration;

use bixi_hsm::KeyDevice;
use parking_lot::Mutex;

/// The device's last known state.
#[derive(Default)]
pub(crate) struct Device {
    fault: Mutex<Option<String>>,
}

impl Device {
    /// How often the device is asked.
    pub(crate) const PERIOD: Duration = Duration::from_secs(10);

    /// `None` when well.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Asks the device; blocks for as long as it takes.
    pub(crate) fn look(&self, device: &dyn KeyDevice) {
        let fault = device.health().err().map(|error| error.to_string());
        if let Some(fault) = &fault {
            tracing::warn!(fault, "the key device is not well");
        }
        *self.fault.lock() = fault;
    }
}
