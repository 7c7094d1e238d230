//! The worker of a supervisor, from its PIN to its end.
//!
//! ```text
//! line: PIN, settings ─▶ device ─▶ vault ─▶ audit trail, guard ─▶ SigningService ─▶ server ─▶ READY
//! heart: beats while no call of the device is late; one that is ends the process
//! ```
//!
//! A worker whose guard or audit trail could not be written ends, too: after a failed write they grant nothing until they are opened
//! again, which is what the next worker does. So does one that can serve nobody any more: its device takes no PIN, or the thread that
//! takes callers has ended.
//!
//! It goes by the settings that its supervisor has read: a node file that is being edited, or that names another token by now, is no
//! matter of a worker that replaces another.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::Duration;

use bixi_hsm::DeviceError;
use bixi_hsm::audit::AuditLog;
use bixi_hsm::protocol::{Message as _, Refusal, Request, Response};
use bixi_hsm::service::SigningService;
use bixi_hsm_broker::{CallWatch, Handler, Line, Server, Watched, server};
use bixi_platform::credentials::PinSource;
use bixi_platform::placement::Role;
use bixi_platform::secret::Secret;
use bixi_platform::threads::Spawner;
use zeroize::Zeroizing;

use super::heart;
use crate::keys::{self, Holder, NodeSigner};
use crate::launch::{Failure, LaunchError, check_kernels, step};
use crate::placement;
use crate::settings::{Settings, Sources};

/// How long answers under way may take when the worker is to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a supervisor handed this process.
pub struct Handed {
    line: Line,
    listener: UnixListener,
    pin: Secret,
    /// By which its worker goes.
    pub settings: Settings,
}

impl Handed {
    /// Takes it; `config` is where the node file was read.
    ///
    /// # Errors
    /// When no supervisor started this process.
    pub fn take(config: &Path) -> Result<Self, LaunchError> {
        let (line, listener) = step("line to the supervisor", Line::inherited)?;
        let pin = step("PIN", || line.pin())?;
        let settings = step("settings", || {
            let sources = borsh::from_slice::<Sources>(&line.brief()?)?;
            Settings::parse(config, &sources).map_err(Failure::from)
        })?;
        Ok(Self { line, listener, pin, settings })
    }
}

/// What a supervisor hands its workers.
///
/// # Panics
/// Never: the texts are in memory.
pub fn brief(sources: &Sources) -> Vec<u8> {
    borsh::to_vec(sources).expect("borsh into memory cannot fail")
}

/// Works until it is asked to end, or must.
///
/// # Errors
/// Names the step: a PIN that is refused, a device, guard or audit trail that cannot be used.
pub fn work(handed: Handed, served_uid: u32) -> Result<(), LaunchError> {
    let Handed { line, listener, pin, settings } = handed;
    let (settings, line) = (&settings, Arc::new(line));
    let spawner = Spawner::new(step("placement", || placement::plan(settings))?);
    let watch = CallWatch::new(heart::limits(settings));
    step("heart", || heart::spawn(&spawner, &watch, &line))?;
    let (ended, ends) = channel();
    let serves = Arc::new(AtomicBool::new(false));
    step("stop", || spawn_stop(&spawner, &watch, &line, &serves, ended.clone()))?;
    step("self-tests", check_kernels)?;
    let storage = step("storage", || settings.storage(&spawner))?;
    let pin = PinSource::Handed(Arc::new(pin));
    let open = watch.limits().open;
    let device = step("key device", || watch.during("open", open, || keys::open_device(settings, pin)))?;
    let device = Arc::new(Watched::new(device, watch.clone()));
    let holder = step("unlock keys", || keys::hold(settings, &storage, device))?;
    step("guard", || holder.expect_in_service())?;
    let signer = Arc::new(step("signing service", || holder.client())?);
    let Holder { service, audit, .. } = holder;
    let server = step("server", || {
        let handler = Arc::new(Answers { service, ended: ended.clone() });
        Server::start(listener, &spawner, server::Params::for_user(served_uid), handler)
    })?;
    step("syncing", || spawn_sync(&spawner, &signer, &audit, ended))?;
    serves.store(true, Ordering::SeqCst);
    step("ready", || line.ready())?;
    let end = until_end(&ends, server, &signer, &audit);
    watch.close();
    end
}

/// Why a worker ends.
enum Ends {
    /// Its supervisor wants it to, or is gone.
    Asked,
    /// Guard or audit trail could not be written.
    Unwritten(String),
    /// The device takes no PIN: its pool asks it nothing any more.
    Pin(DeviceError),
    /// Nobody takes callers any more.
    Unattended(String),
}

/// Waits for the end; whatever was asked before is answered, told of and durable when this returns.
fn until_end(ends: &Receiver<Ends>, server: Server, signer: &NodeSigner, audit: &AuditLog) -> Result<(), LaunchError> {
    let why = ends.recv().unwrap_or(Ends::Asked);
    if !server.stop(STOP_PATIENCE) {
        tracing::warn!("not every request was answered in time");
    }
    step("end", || match why {
        Ends::Unwritten(reason) | Ends::Unattended(reason) => Err(Failure::from(reason)),
        Ends::Pin(error) => {
            audit.sync()?;
            Err(error.into())
        }
        Ends::Asked => {
            signer.settle()?;
            Ok(audit.sync()?)
        }
    })
}

/// Waits for the supervisor's word. One that comes while the device is opened, which nothing can interrupt, ends the process when no PIN
/// is without its verdict.
fn spawn_stop(
    spawner: &Spawner,
    watch: &CallWatch,
    line: &Arc<Line>,
    serves: &Arc<AtomicBool>,
    ended: Sender<Ends>,
) -> io::Result<()> {
    let (watch, line, serves) = (watch.clone(), Arc::clone(line), Arc::clone(serves));
    let wait = move || {
        line.wait_end();
        let _ = ended.send(Ends::Asked);
        if !serves.load(Ordering::SeqCst) {
            watch.close();
            tracing::info!("stopped while the device was opened");
            heart::end_at_once();
        }
    };
    spawner.spawn(Role::Other, "broker-stop", wait).map(drop)
}

/// The service behind the socket.
struct Answers {
    service: Arc<SigningService>,
    ended: Sender<Ends>,
}

impl Answers {
    /// What a refusal says of the worker. Whoever asked has the answer before the process ends.
    fn ends(refusal: &Refusal) -> Option<Ends> {
        match refusal {
            Refusal::Storage(_) | Refusal::Audit(_) => Some(Ends::Unwritten(refusal.to_string())),
            Refusal::Device(error) if error.cause.concerns_pin() => Some(Ends::Pin(error.clone())),
            _ => None,
        }
    }
}

impl Handler for Answers {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        let Ok(request) = Request::decode(frame) else { return self.service.handle_frame(frame) };
        let response = self.service.handle(&request);
        if let Response::Refused(refusal) = &response
            && let Some(end) = Self::ends(refusal)
        {
            let _ = self.ended.send(end);
        }
        response.encode()
    }

    fn unattended(&self, reason: &str) {
        let _ = self.ended.send(Ends::Unattended(reason.to_owned()));
    }
}

fn spawn_sync(
    spawner: &Spawner,
    signer: &Arc<NodeSigner>,
    audit: &Arc<AuditLog>,
    ended: Sender<Ends>,
) -> io::Result<()> {
    let (signer, audit) = (Arc::clone(signer), Arc::clone(audit));
    let sync = move || {
        loop {
            if let Err(error) = keys::tell_and_sync(&signer, &audit) {
                let _ = ended.send(Ends::Unwritten(error.to_string()));
                return;
            }
            sleep(AuditLog::SYNC_PERIOD);
        }
    };
    spawner.spawn(Role::Other, "audit-sync", sync).map(drop)
}

#[cfg(test)]
mod tests {
    use bixi_hsm::Cause;

    use super::*;

    #[test]
    fn a_worker_ends_that_cannot_sign_again_before_another_start() {
        let device = |cause| Refusal::Device(DeviceError::new("C_Login", cause, "as told"));
        for cause in [Cause::WrongPin, Cause::PinHeldBack, Cause::PinLocked, Cause::PinUnanswered] {
            assert!(matches!(Answers::ends(&device(cause)), Some(Ends::Pin(error)) if error.cause == cause));
        }
        for refusal in [Refusal::Storage("disk".into()), Refusal::Audit("disk".into())] {
            assert!(matches!(Answers::ends(&refusal), Some(Ends::Unwritten(_))));
        }
        for refusal in [device(Cause::Absent), device(Cause::Busy), Refusal::Conflict("held".into())] {
            assert!(Answers::ends(&refusal).is_none());
        }
    }
}
