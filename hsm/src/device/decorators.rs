//! Devices made worse on purpose, for the tests of whoever waits for a signature.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Cause, Decorator, DeviceError, KeyDevice};

/// Every call takes at least `latency`.
#[derive(Debug)]
pub struct Slow<D> {
    device: D,
    latency: Duration,
}

impl<D> Slow<D> {
    /// Slows `device` down by `latency_ms` per call.
    pub fn new(device: D, latency_ms: u64) -> Self {
        Self { device, latency: Duration::from_millis(latency_ms) }
    }
}

/// Calls fail by a seeded pattern, and all of them while the device is pulled.
#[derive(Debug)]
pub struct Failing<D> {
    device: D,
    seed: u64,
    per_thousand: u64,
    calls: AtomicU64,
    pulled: AtomicBool,
    corrupt_signatures: AtomicBool,
}

impl<D> Failing<D> {
    /// Fails about `per_thousand` of 1,000 calls; which ones follows from `seed` and the number of the call.
    pub fn new(device: D, seed: u64, per_thousand: u64) -> Self {
        assert!(per_thousand <= 1000, "at most every call can fail");
        let (pulled, corrupt_signatures) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { device, seed, per_thousand, calls: AtomicU64::new(0), pulled, corrupt_signatures }
    }

    /// Pulls the device out, or puts it back.
    pub fn set_pulled(&self, pulled: bool) {
        self.pulled.store(pulled, Ordering::SeqCst);
    }

    /// Makes every signature wrong, or right again.
    pub fn set_corrupt_signatures(&self, corrupt: bool) {
        self.corrupt_signatures.store(corrupt, Ordering::SeqCst);
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn pass(&self, function: &'static str) -> Result<&D, DeviceError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.pulled.load(Ordering::SeqCst) {
            return Err(DeviceError::new(function, Cause::Absent, "the device was pulled").with_code(0x32));
        }
        let draw = mix(self.seed ^ mix(call));
        if draw % 1000 >= self.per_thousand {
            return Ok(&self.device);
        }
        let causes = [Cause::Fault, Cause::SessionLost, Cause::Busy, Cause::Timeout, Cause::Absent];
        let cause = causes[(draw / 1000) as usize % causes.len()];
        Err(DeviceError::new(function, cause, format!("injected at call {call}")).with_code(0x30))
    }
}

/// SplitMix64's finaliser: spreads a counter over all 64 bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

impl<D: KeyDevice> Decorator for Slow<D> {
    type Inner = D;

    fn inner(&self) -> &D {
        &self.device
    }

    fn around<T>(&self, _: &'static str, call: impl FnOnce(&D) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        std::thread::sleep(self.latency);
        call(&self.device)
    }
}

impl<D: KeyDevice> Decorator for Failing<D> {
    type Inner = D;

    fn inner(&self) -> &D {
        &self.device
    }

    fn around<T>(
        &self,
        function: &'static str,
        call: impl FnOnce(&D) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        call(self.pass(function)?)
    }

    fn signed(&self, mut signature: [u8; 64]) -> [u8; 64] {
        if self.corrupt_signatures.load(Ordering::SeqCst) {
            signature[63] ^= 1;
        }
        signature
    }
}
