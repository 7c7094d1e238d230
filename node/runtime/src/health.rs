//! Watches the key device, so that health answers at once and never waits for hardware.

use std::sync::Arc;
use std::time::Duration;

use bixi_hsm::KeyDevice;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

const PERIOD: Duration = Duration::from_secs(10);

/// The device's last known state.
#[derive(Default)]
pub(crate) struct Device {
    fault: Mutex<Option<String>>,
}

impl Device {
    /// `None` when well.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Asks the device every few seconds until `stop` closes.
    pub(crate) fn watch(&self, device: &Arc<dyn KeyDevice>, stop: &Receiver<()>) {
        loop {
            let fault = device.health().err().map(|error| error.to_string());
            if let Some(fault) = &fault {
                tracing::warn!(fault, "the key device is not well");
            }
            *self.fault.lock() = fault;
            match stop.recv_timeout(PERIOD) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }
}
