//! The last known state of key device and ledger, so that health answers at once and never waits for hardware.

use std::time::Duration;

use bixi_hsm::protocol::CounterReport;
use parking_lot::Mutex;

use crate::keys::NodeSigner;

const DOUBTED: &str =
    "the sign-once guard may be an old copy by the count of the device: nothing is signed, and the log says what to do";

/// The device's last known state.
#[derive(Default)]
pub(crate) struct Device {
    fault: Mutex<Option<String>>,
    custody: Mutex<Option<String>>,
    counter: Mutex<Option<CounterReport>>,
}

impl Device {
    /// How often the device is asked.
    pub(crate) const PERIOD: Duration = Duration::from_secs(10);

    /// `None` when well.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Where the keys are while they are used, as whoever holds the device said last.
    pub(crate) fn custody(&self) -> Option<String> {
        self.custody.lock().clone()
    }

    /// What is known of the counter of a device that has one.
    pub(crate) fn counter(&self) -> Option<CounterReport> {
        self.counter.lock().clone()
    }

    /// Asks for the device; blocks for as long as it takes.
    pub(crate) fn look(&self, signer: &NodeSigner) {
        match signer.health() {
            Ok(info) => {
                *self.custody.lock() = Some(info.custody.to_string());
                // A broker of an earlier version does not know the question.
                let counter = signer.counter().unwrap_or_default();
                let doubted = counter.as_ref().is_some_and(|counter| counter.doubted);
                *self.fault.lock() = doubted.then(|| DOUBTED.to_owned());
                *self.counter.lock() = counter;
            }
            Err(fault) => {
                tracing::warn!(%fault, "the key device is not well");
                *self.fault.lock() = Some(fault.to_string());
                // Of before: nothing is known now.
                *self.counter.lock() = None;
            }
        }
    }
}

/// When the certificates end that the node shows, believes or has met.
#[derive(Default)]
pub(crate) struct Certificates(Mutex<Vec<(String, u64)>>);

impl Certificates {
    /// The last second of each, since 1970, with a name for it: "own", an authority's, or the id of a peer.
    pub(crate) fn ends(&self) -> Vec<(String, u64)> {
        self.0.lock().clone()
    }

    pub(crate) fn set(&self, ends: Vec<(String, u64)>) {
        *self.0.lock() = ends;
    }
}

/// Whether everything that was asked of the ledger could be read.
#[derive(Default)]
pub(crate) struct LedgerReads {
    fault: Mutex<Option<String>>,
}

impl LedgerReads {
    /// `None` while nothing has failed.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// A read failed: the disk is damaged, and stays so until somebody acts. Clients may repeat the read as fast as they like,
    /// so only another failure than the last is logged.
    pub(crate) fn note(&self, fault: String) {
        let mut noted = self.fault.lock();
        if noted.as_ref() != Some(&fault) {
            tracing::error!(fault, "the ledger cannot be read; restore a backup or resynchronise from peers");
            *noted = Some(fault);
        }
    }
}
