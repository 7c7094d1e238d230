//! Device calls that are under way, and those that should have ended.
//!
//! A call that hangs inside a vendor's library cannot be interrupted, and nothing tells how far it came. So its process ends, and the
//! supervisor starts another, whose guard knows what was claimed.
//!
//! What is too long depends on what the call is at ([`bixi_hsm::phase`]): finding the device and logging in have limits of their own.
//! While a device judges a PIN the process is not ended for any other reason than that: the attempt would count as one without a
//! verdict, and after two of them a PIN is held back. Once it is condemned, no further PIN is sent.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bixi_hsm::device::Decorator;
use bixi_hsm::phase::{self, Phase};
use bixi_hsm::{Custody, DeviceError, DeviceInfo, KeyDevice};

/// How long pieces of a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Work of the library for one call.
    pub call: Duration,
    /// Loading a library, finding its device, opening it; looking at everything it holds.
    pub open: Duration,
    /// A device's verdict on a PIN.
    pub pin: Duration,
}

/// The calls of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct CallWatch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    calls: Mutex<Calls>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: BTreeMap<u64, Call>,
    /// The process is about to end.
    is_closed: bool,
}

#[derive(Debug)]
struct Call {
    function: &'static str,
    /// For what is no phase with a limit of its own.
    allowed: Duration,
    phase: Phase,
    /// Of the phase.
    began: Instant,
}

/// A call that should have ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a call of the device ({function}, {}) has not come back for {} ms; {} are allowed", words(*phase), .since.as_millis(), .limit.as_millis())]
pub struct Overdue {
    /// What was called.
    pub function: &'static str,
    /// What it is at.
    pub phase: Phase,
    /// For how long.
    pub since: Duration,
    /// How long it may take.
    pub limit: Duration,
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Call => "at work",
        Phase::Open => "opening the device",
        Phase::Pin => "judging the PIN",
    }
}

impl Calls {
    fn is_judging(&self) -> bool {
        self.under_way.values().any(|call| call.phase == Phase::Pin)
    }
}

impl CallWatch {
    /// Watches calls by these limits.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, calls: Mutex::default(), changed: Condvar::new() }))
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Makes a call, each piece of whose work may take as long as `allowed`.
    pub fn during<T>(&self, function: &'static str, allowed: Duration, call: impl FnOnce() -> T) -> T {
        let mut calls = self.calls();
        let number = calls.next;
        calls.next += 1;
        calls.under_way.insert(number, Call { function, allowed, phase: Phase::Call, began: Instant::now() });
        drop(calls);
        let _ended = Ended { watch: self, number };
        let watch = self.clone();
        phase::observed(Rc::new(move |phase| watch.enter(number, phase)), call)
    }

    /// A call is at something else. One that is about to send a PIN, which it has not noted yet, waits for the end of a process that
    /// was condemned.
    fn enter(&self, number: u64, phase: Phase) {
        let mut calls = self.calls();
        while phase == Phase::Pin && calls.is_closed {
            calls = self.0.changed.wait(calls).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(call) = calls.under_way.get_mut(&number) {
            let was = std::mem::replace(&mut call.phase, phase);
            call.began = Instant::now();
            self.tell(was);
        }
    }

    /// A call is no longer at `phase`. What is waited for is the end of the last verdict, and to be told costs a call of the system.
    fn tell(&self, phase: Phase) {
        if phase == Phase::Pin {
            self.0.changed.notify_all();
        }
    }

    fn limit(&self, call: &Call) -> Duration {
        match call.phase {
            Phase::Call => call.allowed,
            Phase::Open => self.0.limits.open,
            Phase::Pin => self.0.limits.pin,
        }
    }

    /// The call that is late by the most, if one is.
    fn overdue(&self, calls: &Calls, now: Instant) -> Option<Overdue> {
        let late = |call: &Call| {
            let (since, limit) = (now.saturating_duration_since(call.began), self.limit(call));
            (since > limit).then_some(Overdue { function: call.function, phase: call.phase, since, limit })
        };
        calls.under_way.values().filter_map(late).max_by_key(|overdue| overdue.since - overdue.limit)
    }

    /// The call for which this process has to end, if there is one: no PIN is sent from then on. A verdict on a PIN that may still
    /// come in time is waited for.
    pub fn condemn(&self, now: Instant) -> Option<Overdue> {
        let mut calls = self.calls();
        let overdue = self.overdue(&calls, now)?;
        let judged_in_time =
            |call: &Call| call.phase == Phase::Pin && now.saturating_duration_since(call.began) <= self.0.limits.pin;
        if calls.under_way.values().any(judged_in_time) {
            return None;
        }
        calls.is_closed = true;
        Some(overdue)
    }

    /// What the call is at that has been under way for the longest, in words.
    pub fn longest(&self) -> Option<String> {
        let calls = self.calls();
        let call = calls.under_way.values().min_by_key(|call| call.began)?;
        Some(format!("{} for {} s ({})", words(call.phase), call.began.elapsed().as_secs(), call.function))
    }

    /// Whether the device judges a PIN now.
    pub fn is_judging(&self) -> bool {
        self.calls().is_judging()
    }

    /// No PIN is sent from now on; waits for the verdict on one that was. To be called before a process ends in order.
    pub fn close(&self) {
        let mut calls = self.calls();
        calls.is_closed = true;
        while calls.is_judging() {
            calls = self.0.changed.wait(calls).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the call off when it comes back, also by a panic.
struct Ended<'a> {
    watch: &'a CallWatch,
    number: u64,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let ended = self.watch.calls().under_way.remove(&self.number);
        self.watch.tell(ended.map_or(Phase::Call, |call| call.phase));
    }
}

/// A device whose calls are watched, and whose keys are another process's for everybody who asks the broker.
pub struct Watched {
    device: Arc<dyn KeyDevice>,
    watch: CallWatch,
}

impl Watched {
    /// Watches the calls of `device`.
    pub fn new(device: Arc<dyn KeyDevice>, watch: CallWatch) -> Self {
        Self { device, watch }
    }

    /// To list, some devices look at thousands of places.
    fn allowed(&self, function: &str) -> Duration {
        let limits = self.watch.limits();
        if function == "list" { limits.open } else { limits.call }
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
        self.watch.during(function, self.allowed(function), || call(&*self.device))
    }

    fn described(&self, info: DeviceInfo) -> DeviceInfo {
        match info.custody {
            Custody::ProcessMemory => DeviceInfo { custody: Custody::OtherProcess, ..info },
            _ => info,
        }
    }
}
