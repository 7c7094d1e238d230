//! What callers meet at a worker's socket: a device that is being opened, and then the service.
//!
//! They are taken from the start. What one asks waits until it can be answered, for about as long as a caller waits; then he is told what
//! the start is at, so that a node knows whether it waits for a device or for nobody.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bixi_hsm::Cause;
use bixi_hsm::protocol::{Message as _, Refusal, Request, Response};
use bixi_hsm::service::SigningService;
use bixi_hsm_broker::{CallWatch, Handler};
use zeroize::Zeroizing;

use super::worker::Ends;

/// How long a device may be away before its library is loaded anew, by another worker: some look for devices when they are initialised and
/// never again. No PIN is sent before the device is found.
const ABSENT_MAX: Duration = Duration::from_secs(30);

/// The service behind the socket, once it is there.
pub(super) struct Door {
    service: Mutex<Option<Arc<SigningService>>>,
    opened: Condvar,
    watch: CallWatch,
    /// How long a request waits for the service.
    patience: Duration,
    ended: Sender<Ends>,
    /// Since when every answer of the device was that it is away.
    absent_since: Mutex<Option<Instant>>,
}

impl Door {
    /// A door that is closed; a worker whose calls `watch` knows opens it.
    pub(super) fn closed(watch: &CallWatch, patience: Duration, ended: Sender<Ends>) -> Self {
        Self {
            service: Mutex::default(),
            opened: Condvar::new(),
            watch: watch.clone(),
            patience,
            ended,
            absent_since: Mutex::default(),
        }
    }

    /// From now on requests are answered.
    pub(super) fn open(&self, service: Arc<SigningService>) {
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
        self.opened.notify_all();
    }

    /// The service, waited for no longer than `patience`.
    fn within(&self, patience: Duration) -> Option<Arc<SigningService>> {
        let closed = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.opened.wait_timeout_while(closed, patience, |service| service.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// What a response says of the worker. Whoever asked has the answer before the process ends.
    fn ends(&self, response: &Response, now: Instant) -> Option<Ends> {
        let mut absent_since = self.absent_since.lock().unwrap_or_else(PoisonError::into_inner);
        match response {
            Response::Refused(Refusal::Device(error)) if error.cause == Cause::Absent => {
                let since = *absent_since.get_or_insert(now);
                (now.duration_since(since) >= ABSENT_MAX).then(|| Ends::Absent(error.clone()))
            }
            Response::Refused(refusal) => ends(refusal),
            // Answered without the device, or from what is known of it.
            Response::PublicKey(_)
            | Response::Marks(_)
            | Response::Counter(_)
            | Response::Settled
            | Response::Resealed(_) => None,
            Response::Signature(_)
            | Response::Derived(_)
            | Response::Random(_)
            | Response::Attestation(_)
            | Response::DataKeys(_)
            | Response::Healthy(_) => {
                *absent_since = None;
                None
            }
        }
    }

    fn starting(&self) -> Refusal {
        Refusal::Starting(self.watch.longest().unwrap_or_else(|| "between two calls of the device".to_owned()))
    }
}

/// What a refusal says of the worker.
fn ends(refusal: &Refusal) -> Option<Ends> {
    match refusal {
        Refusal::Storage(_) | Refusal::Audit(_) => Some(Ends::Unwritten(refusal.to_string())),
        Refusal::Device(error) if error.cause.concerns_pin() => Some(Ends::Pin(error.clone())),
        _ => None,
    }
}

impl Handler for Door {
    fn attend(&self) -> Result<(), Refusal> {
        self.within(self.patience).map(drop).ok_or_else(|| self.starting())
    }

    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        let Some(service) = self.within(Duration::ZERO) else { return Response::Refused(self.starting()).encode() };
        let Ok(request) = Request::decode(frame) else { return service.handle_frame(frame) };
        let response = service.handle(&request);
        if let Some(end) = self.ends(&response, Instant::now()) {
            let _ = self.ended.send(end);
        }
        response.encode()
    }

    fn unattended(&self, reason: &str) {
        let _ = self.ended.send(Ends::Unattended(reason.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use bixi_hsm::DeviceError;
    use bixi_hsm::phase::{self, Phase};
    use bixi_hsm_broker::Limits;
    use bixi_types::consensus::SignatureBytes;

    use super::*;

    #[test]
    fn a_worker_ends_that_cannot_sign_again_before_another_start() {
        let device = |cause| Refusal::Device(DeviceError::new("C_Login", cause, "as told"));
        for cause in [Cause::WrongPin, Cause::PinHeldBack, Cause::PinLocked, Cause::PinUnanswered] {
            assert!(matches!(ends(&device(cause)), Some(Ends::Pin(error)) if error.cause == cause));
        }
        for refusal in [Refusal::Storage("disk".into()), Refusal::Audit("disk".into())] {
            assert!(matches!(ends(&refusal), Some(Ends::Unwritten(_))));
        }
        for refusal in [device(Cause::Absent), device(Cause::Busy), Refusal::Conflict("held".into())] {
            assert!(ends(&refusal).is_none());
        }
    }

    #[test]
    fn a_worker_ends_whose_device_stays_away() {
        let limit = Duration::from_secs(60);
        let watch = CallWatch::new(Limits { call: limit, open: limit, pin: limit });
        let door = Door::closed(&watch, limit, channel().0);
        let away = Response::Refused(Refusal::Device(DeviceError::new("C_GetTokenInfo", Cause::Absent, "as told")));
        let busy = Response::Refused(Refusal::Device(DeviceError::new("C_Sign", Cause::Busy, "as told")));
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(door.ends(&away, after(0)).is_none());
        assert!(door.ends(&away, after(29)).is_none());
        // It was back for a moment.
        assert!(door.ends(&Response::Signature(SignatureBytes([1; 64])), after(30)).is_none());
        assert!(door.ends(&away, after(31)).is_none());
        assert!(door.ends(&busy, after(62)).is_none(), "that tells nothing of whether it is there");
        assert!(matches!(door.ends(&away, after(61)), Some(Ends::Absent(error)) if error.cause == Cause::Absent));
    }

    #[test]
    fn whoever_asks_too_early_is_told_what_the_start_is_at() {
        let limit = Duration::from_secs(60);
        let watch = CallWatch::new(Limits { call: limit, open: limit, pin: limit });
        let door = Door::closed(&watch, Duration::from_millis(10), channel().0);
        assert!(matches!(door.attend(), Err(Refusal::Starting(at)) if at.contains("between two calls")));
        watch.during("open", limit, || {
            let _judged = phase::enter(Phase::Pin);
            let Err(Refusal::Starting(at)) = door.attend() else { panic!("nothing is there to be asked") };
            assert!(at.contains("judging the PIN") && at.contains("(open)"), "{at}");
        });
    }
}
