//! Device calls that are under way, and those that should have ended.
//!
//! A call that hangs inside a vendor's library cannot be interrupted, and nothing tells how far it came. So its process ends, and the
//! supervisor starts another, whose guard knows what was claimed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bixi_hsm::device::Decorator;
use bixi_hsm::{Custody, DeviceError, DeviceInfo, KeyDevice};

/// The calls of one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct CallWatch(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: BTreeMap<u64, Call>,
}

#[derive(Debug)]
struct Call {
    function: &'static str,
    began: Instant,
    limit: Duration,
}

/// A call that should have ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a call of the device ({function}) has not come back for {} ms; {} are allowed", .since.as_millis(), .limit.as_millis())]
pub struct Overdue {
    /// What was called.
    pub function: &'static str,
    /// For how long.
    pub since: Duration,
    /// How long it may take.
    pub limit: Duration,
}

impl CallWatch {
    /// Makes a call that may take as long as `limit`.
    pub fn during<T>(&self, function: &'static str, limit: Duration, call: impl FnOnce() -> T) -> T {
        let mut calls = self.calls();
        let number = calls.next;
        calls.next += 1;
        calls.under_way.insert(number, Call { function, began: Instant::now(), limit });
        drop(calls);
        let _ended = Ended { watch: self, number };
        call()
    }

    /// The call that is late by the most, if one is.
    pub fn overdue(&self, now: Instant) -> Option<Overdue> {
        let calls = self.calls();
        let late = |call: &Call| {
            let since = now.saturating_duration_since(call.began);
            (since > call.limit).then_some(Overdue { function: call.function, since, limit: call.limit })
        };
        calls.under_way.values().filter_map(late).max_by_key(|overdue| overdue.since - overdue.limit)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the call off when it comes back, also by a panic.
struct Ended<'a> {
    watch: &'a CallWatch,
    number: u64,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.watch.calls().under_way.remove(&self.number);
    }
}

/// A device whose calls are watched, and whose keys are another process's for everybody who asks the broker.
pub struct Watched {
    device: Arc<dyn KeyDevice>,
    watch: CallWatch,
    limit: Duration,
}

impl Watched {
    /// Allows each call of `device` as long as `limit`.
    pub fn new(device: Arc<dyn KeyDevice>, watch: CallWatch, limit: Duration) -> Self {
        Self { device, watch, limit }
    }
}

impl Decorator for Watched {
    type Inner = dyn KeyDevice;

    fn inner(&self) -> &Self::Inner {
        &*self.device
    }

    fn around<T>(
        &self,
        function: &'static str,
        call: impl FnOnce(&Self::Inner) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        self.watch.during(function, self.limit, || call(&*self.device))
    }

    fn described(&self, info: DeviceInfo) -> DeviceInfo {
        match info.custody {
            Custody::ProcessMemory => DeviceInfo { custody: Custody::OtherProcess, ..info },
            _ => info,
        }
    }
}

#[cfg(test)]
mod tests {
    use bixi_hsm::soft::SoftDevice;
    use bixi_hsm::{KeyKind, KeySpec};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn a_call_is_late_after_its_limit_and_never_once_it_is_back() {
        let watch = CallWatch::default();
        let begin = Instant::now();
        watch.during("sign_digest", LIMIT, || {
            watch.during("health", LIMIT / 5, || {
                assert_eq!(watch.overdue(begin), None);
                let late = watch.overdue(Instant::now() + LIMIT / 2).expect("the short one");
                assert_eq!((late.function, late.limit), ("health", LIMIT / 5));
            });
            assert_eq!(watch.overdue(begin + LIMIT / 2), None, "the short one is back");
            let late = watch.overdue(Instant::now() + LIMIT * 2).expect("the long one");
            assert!(late.to_string().contains("sign_digest") && late.to_string().contains("5000"), "{late}");
        });
        assert_eq!(watch.overdue(Instant::now() + LIMIT * 100), None);
    }

    #[test]
    fn a_call_that_panics_is_over() {
        let watch = CallWatch::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            watch.during("sign_digest", LIMIT, || panic!("of the library"));
        }));
        assert!(panicked.is_err());
        assert_eq!(watch.overdue(Instant::now() + LIMIT * 100), None);
    }

    #[test]
    fn keys_in_this_process_are_another_ones_for_whoever_asks() {
        let soft: Arc<dyn KeyDevice> = Arc::new(SoftDevice::seeded("test", 1));
        let watched = Watched::new(Arc::clone(&soft), CallWatch::default(), LIMIT);
        let key = watched.generate(&KeySpec::new("consensus", KeyKind::Sm2Sign)).unwrap();
        assert_eq!((soft.info().custody, watched.info().custody), (Custody::ProcessMemory, Custody::OtherProcess));
        assert_eq!(watched.attest(&key).unwrap().device.custody, Custody::OtherProcess);
        assert_eq!(watched.public_key(&key).unwrap(), soft.public_key(&key).unwrap());
    }

    #[test]
    fn a_watched_device_conforms() {
        let soft: Arc<dyn KeyDevice> = Arc::new(SoftDevice::seeded("test", 1));
        let watched: Arc<dyn KeyDevice> = Arc::new(Watched::new(soft, CallWatch::default(), Duration::from_secs(600)));
        bixi_hsm::conformance::run(watched.as_ref(), "watched").assert_passed();
    }
}
