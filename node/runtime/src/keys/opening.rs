//! A key device is opened in time, or this process ends.
//!
//! A call that hangs inside a vendor's library cannot be interrupted, and nothing else can be done with that library meanwhile. In a broker
//! the worker's heart ends such a process. Where the process is the node's or a command's, the device is opened by a thread of its own: one
//! that hangs is left behind, never joined, and whoever waits for it is told what it is at. No device is opened beside one that hangs, and
//! the thread sends no PIN any more should it go on.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bixi_config::Hsm;
use bixi_hsm::phase::Phase;
use bixi_hsm::{Cause, DeviceError};
use bixi_hsm_broker::watch::Overdue;
use bixi_hsm_broker::{CallWatch, Limits};

/// What a piece of work has beyond `hsm.timeout_ms`: one that waits for a session for that long can say so itself.
const CALL_MARGIN: Duration = Duration::from_secs(1);
/// How much longer than to be opened a device may take to judge a PIN: to end the process before the verdict costs one of two tries.
const PIN_FACTOR: u32 = 2;
/// Between two looks at a device that is being opened.
const LOOK: Duration = Duration::from_millis(50);

/// Those of this process.
pub(crate) static OPENINGS: Openings = Openings(Mutex::new(None));

/// How long the pieces of a device's calls may take.
pub(crate) fn limits(hsm: &Hsm) -> Limits {
    let call = Duration::from_millis(hsm.timeout_ms) + CALL_MARGIN;
    let open = Duration::from_millis(hsm.open_timeout_ms);
    Limits { call, open: open.max(call), pin: (open * PIN_FACTOR).max(call) }
}

/// Whether a call hangs in a library of this process, which then must not run the library's destructors at its end: they may wait for it.
pub fn is_left_behind() -> bool {
    OPENINGS.left().is_some()
}

/// The opening that was left behind, if one was.
pub(crate) struct Openings(Mutex<Option<Overdue>>);

impl Openings {
    /// Opens what `module` leads to by `open`, on another thread.
    ///
    /// # Errors
    /// Its own; [`Cause::Timeout`] when a piece of it takes longer than `limits.open`, or a verdict on a PIN longer than `limits.pin`.
    ///
    /// # Panics
    /// As it does.
    pub(crate) fn in_time<T, E>(
        &'static self,
        module: &Path,
        limits: Limits,
        open: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DeviceError> + Send + 'static,
    {
        if let Some(overdue) = &*self.left() {
            let message = format!("{}: not opened, because an opening before it hangs: {overdue}", module.display());
            return Err(timed_out(message, overdue.phase).into());
        }
        let watch = CallWatch::new(limits);
        // Nothing is buffered: a device that nobody waits for any more is closed by the thread that opened it.
        let (tell, told) = sync_channel(0);
        let work = {
            let watch = watch.clone();
            move || {
                let opened = watch.during("open", limits.open, open);
                if let Err(SendError(late)) = tell.send(opened) {
                    drop(late);
                    tracing::warn!("the call of the device that did not come back in time has come back");
                    *self.left() = None;
                }
            }
        };
        let started = thread::Builder::new().name("device-open".into()).spawn(work);
        let thread = started.map_err(|error| DeviceError::new("open", Cause::Fault, error.to_string()))?;
        loop {
            match told.recv_timeout(LOOK) {
                Ok(opened) => return opened,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => match thread.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => unreachable!("it ends by a panic or having told"),
                },
            }
            if let Some(overdue) = watch.condemn(Instant::now()) {
                let message = format!(
                    "{}: {overdue}; it cannot be interrupted: its thread is left behind, and this process opens no device any more",
                    module.display()
                );
                let error = timed_out(message, overdue.phase);
                // Before nobody waits: the thread takes it back.
                *self.left() = Some(overdue);
                return Err(error.into());
            }
        }
    }

    fn left(&self) -> MutexGuard<'_, Option<Overdue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn timed_out(message: String, phase: Phase) -> DeviceError {
    let advice = match phase {
        Phase::Pin => {
            "see why the device does not answer before another start: the PIN counts as tried without a verdict"
        }
        Phase::Call | Phase::Open => {
            "see whether the device is reached and what its library waits for, then start again; hsm.open_timeout_ms is how long it may take"
        }
    };
    DeviceError::new("open", Cause::Timeout, message).with_advice(advice)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use bixi_hsm::phase;

    use super::*;

    const MODULE: &str = "/opt/vendor/libsdf.so";
    const PATIENCE: Duration = Duration::from_secs(60);

    fn openings() -> &'static Openings {
        Box::leak(Box::new(Openings(Mutex::new(None))))
    }

    fn limits(open_ms: u64, pin_ms: u64) -> Limits {
        let ms = Duration::from_millis;
        Limits { call: ms(open_ms), open: ms(open_ms), pin: ms(pin_ms) }
    }

    fn open<T: Send + 'static>(
        openings: &'static Openings,
        limits: Limits,
        open: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, DeviceError> {
        openings.in_time(Path::new(MODULE), limits, open)
    }

    /// Hangs until `go_on` says so, at `phase`; what is opened tells when it is closed.
    fn hang(phase: Phase, go_on: Receiver<()>, closed: std::sync::mpsc::Sender<()>) -> Result<Closes, DeviceError> {
        let _phase = phase::enter(phase);
        let _ = go_on.recv();
        Ok(Closes(closed))
    }

    #[derive(Debug)]
    struct Closes(std::sync::mpsc::Sender<()>);

    impl Drop for Closes {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn an_opening_that_hangs_ends_in_time_with_what_it_is_at_and_none_is_tried_beside_it() {
        for (at, words) in
            [(Phase::Open, "opening the device"), (Phase::Call, "at work"), (Phase::Pin, "judging the PIN")]
        {
            let openings = openings();
            let ((go_on, may_go_on), (closing, closed)) = (channel(), channel());
            let error = open(openings, limits(50, 50), move || hang(at, may_go_on, closing)).unwrap_err();
            assert_eq!(error.cause, Cause::Timeout);
            for part in [MODULE, words, "50 are allowed", "left behind"] {
                assert!(error.message.contains(part), "{part}: {error}");
            }
            let beside = open(openings, limits(50, 50), || -> Result<(), _> { panic!("tried") }).unwrap_err();
            assert!(
                beside.message.contains("an opening before it hangs") && beside.message.contains(words),
                "{beside}"
            );
            // Come back after all, it is closed where it was opened, and the library is free again.
            go_on.send(()).unwrap();
            closed.recv_timeout(PATIENCE).unwrap();
            let began = Instant::now();
            while openings.left().is_some() && began.elapsed() < PATIENCE {
                thread::yield_now();
            }
            assert_eq!(open(openings, limits(60_000, 60_000), || Ok(7)).unwrap(), 7);
        }
    }

    #[test]
    fn a_verdict_on_a_pin_is_waited_for_longer() {
        let patient = open(openings(), limits(50, 60_000), || {
            let _pin = phase::enter(Phase::Pin);
            thread::sleep(Duration::from_millis(300));
            Ok(7)
        });
        assert_eq!(patient.unwrap(), 7);
    }

    #[test]
    fn an_opening_that_was_left_behind_sends_no_pin() {
        let openings = openings();
        let ((go_on, may_go_on), (sending, sent)) = (channel::<()>(), channel());
        let late = move || {
            let _ = may_go_on.recv();
            let _pin = phase::enter(Phase::Pin);
            let _ = sending.send(());
            Ok(())
        };
        assert_eq!(open(openings, limits(50, 50), late).unwrap_err().cause, Cause::Timeout);
        go_on.send(()).unwrap();
        assert!(sent.recv_timeout(Duration::from_millis(300)).is_err(), "a PIN was sent for nobody");
    }

    #[test]
    fn what_opening_says_is_handed_on_and_so_is_its_panic() {
        let absent = || Err::<(), _>(DeviceError::new("SDF_OpenDevice", Cause::Absent, "gone"));
        assert_eq!(open(openings(), limits(60_000, 60_000), absent).unwrap_err().cause, Cause::Absent);
        let panicked = std::panic::catch_unwind(|| {
            open(openings(), limits(60_000, 60_000), || -> Result<(), _> { panic!("of ours") })
        });
        assert!(panicked.is_err());
    }
}
