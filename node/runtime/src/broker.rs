//! The broker of a node: what its supervisor starts with, and the worker, which holds device, guard and audit trail in a process of
//! its own.
//!
//! ```text
//! line: PIN ─▶ device ─▶ vault ─▶ audit trail, guard ─▶ SigningService ─▶ server ─▶ READY
//! heart: beats while no call of the device is late; one that is ends the process
//! ```
//!
//! A worker whose guard or audit trail could not be written ends, too: after a failed write they grant nothing until they are opened
//! again, which is what the next worker does.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bixi_hsm::audit::AuditLog;
use bixi_hsm::protocol::{Message as _, Refusal, Request, Response};
use bixi_hsm::service::SigningService;
use bixi_hsm_broker::supervisor::BEAT_PERIOD;
pub use bixi_hsm_broker::supervisor::{End, Pace, Params, Told, supervise};
use bixi_hsm_broker::{CallWatch, Handler, Line, Server, Watched, server, socket};
use bixi_platform::credentials::{CredentialError, PinSource};
use bixi_platform::placement::Role;
use bixi_platform::secret::Secret;
use bixi_platform::threads::Spawner;
use rustix::process::{Signal, getpid, kill_process};
use zeroize::Zeroizing;

use crate::keys::{self, Holder, NodeSigner};
use crate::launch::{Failure, LaunchError, check_kernels, step};
use crate::placement;
use crate::settings::Settings;

/// How long the library of a device may take to be loaded, find its token and log in.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// What a call has beyond `hsm.timeout_ms`: one that waits for a session for that long can say so itself.
const CALL_MARGIN: Duration = Duration::from_secs(1);
/// How long answers under way may take when the worker is to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The name of a socket that was made here; removed when dropped, so that nobody knocks in vain.
#[derive(Debug)]
pub struct MadeSocket(PathBuf);

impl Drop for MadeSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The socket that callers of this node's broker use: the service manager's, if it opened one, else made here. Another user than one's
/// own can reach one made here if this process may give it away.
///
/// # Errors
/// When `hsm.broker` is not set, or the socket cannot be had.
pub fn listen(settings: &Settings, served_uid: u32) -> io::Result<(UnixListener, Option<MadeSocket>)> {
    if let Some(inherited) = bixi_platform::inherited::unix_listener()? {
        return Ok((inherited, None));
    }
    let path = settings.broker().ok_or_else(|| {
        let reason = "hsm.broker is not set: name the socket there, such as \"broker.sock\"";
        io::Error::new(io::ErrorKind::InvalidInput, reason)
    })?;
    let named = |error: io::Error| io::Error::new(error.kind(), format!("hsm.broker {}: {error}", path.display()));
    let listener = socket::listen(&path).map_err(named)?;
    let made = MadeSocket(path.clone());
    if served_uid != own_uid() {
        std::os::unix::fs::lchown(&path, Some(served_uid), None).map_err(named)?;
    }
    Ok((listener, Some(made)))
}

/// The user this process runs as.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Reads the PIN of the node's device, once.
///
/// # Errors
/// When there is none where the node file says.
pub fn read_pin(settings: &Settings) -> Result<Secret, CredentialError> {
    settings.pin().read()
}

/// The worker of a supervisor, from its PIN to its end.
///
/// # Errors
/// Names the step: no supervisor, a PIN that is refused, a device, guard or audit trail that cannot be used.
pub fn work(settings: &Settings, served_uid: u32) -> Result<(), LaunchError> {
    let (line, listener) = step("line to the supervisor", Line::inherited)?;
    let line = Arc::new(line);
    let pin = step("PIN", || line.pin())?;
    let spawner = Spawner::new(step("placement", || placement::plan(settings))?);
    let watch = CallWatch::default();
    step("heart", || spawn_heart(&spawner, &watch, &line))?;
    step("self-tests", check_kernels)?;
    let storage = step("storage", || settings.storage(&spawner))?;
    let pin = PinSource::Handed(Arc::new(pin));
    let device = step("key device", || watch.during("open", OPEN_MAX, || keys::open_device(settings, pin)))?;
    let limit = Duration::from_millis(settings.config.hsm.timeout_ms) + CALL_MARGIN;
    let device = Arc::new(Watched::new(device, watch, limit));
    let holder = step("unlock keys", || keys::hold(settings, &storage, device))?;
    let signer = step("signing service", || holder.client())?;
    let Holder { service, audit, .. } = holder;
    let (ended, ends) = channel();
    let server = step("server", || {
        let handler = Arc::new(Answers { service, ended: ended.clone() });
        Server::start(listener, &spawner, server::Params::for_user(served_uid), handler)
    })?;
    let signer = Arc::new(signer);
    step("watchers", || {
        spawn_sync(&spawner, &signer, &audit, ended.clone())?;
        let waiting = Arc::clone(&line);
        spawner.spawn(Role::Other, "broker-line", move || {
            waiting.wait_end();
            let _ = ended.send(Ends::Asked);
        })
    })?;
    step("ready", || line.ready())?;
    until_end(&ends, server, &signer, &audit)
}

/// Why a worker ends.
enum Ends {
    /// Its supervisor wants it to, or is gone.
    Asked,
    /// Guard or audit trail could not be written.
    Unwritten(String),
}

/// Waits for the end; whatever was asked before is answered, told of and durable when this returns.
fn until_end(ends: &Receiver<Ends>, server: Server, signer: &NodeSigner, audit: &AuditLog) -> Result<(), LaunchError> {
    let why = ends.recv().unwrap_or(Ends::Asked);
    if !server.stop(STOP_PATIENCE) {
        tracing::warn!("not every request was answered in time");
    }
    step("end", || match why {
        Ends::Unwritten(reason) => Err(Failure::from(reason)),
        Ends::Asked => {
            signer.settle()?;
            Ok(audit.sync()?)
        }
    })
}

/// The service behind the socket.
struct Answers {
    service: Arc<SigningService>,
    ended: Sender<Ends>,
}

impl Handler for Answers {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        let Ok(request) = Request::decode(frame) else { return self.service.handle_frame(frame) };
        let response = self.service.handle(&request);
        if let Response::Refused(refusal @ (Refusal::Storage(_) | Refusal::Audit(_))) = &response {
            // Whoever asked has the answer before the process ends.
            let _ = self.ended.send(Ends::Unwritten(refusal.to_string()));
        }
        response.encode()
    }
}

/// Beats while all is well. A call that hangs ends the process at once: nothing in it can be trusted to end, destructors included.
fn spawn_heart(spawner: &Spawner, watch: &CallWatch, line: &Arc<Line>) -> io::Result<()> {
    let (watch, line) = (watch.clone(), Arc::clone(line));
    let beat = move || {
        loop {
            if let Some(overdue) = watch.overdue(Instant::now()) {
                tracing::error!(%overdue, "the device hangs; this worker ends, and the next one opens the device anew");
                let _ = kill_process(getpid(), Signal::KILL);
            }
            // A supervisor that is gone closes the line, too, and that ends this process in order.
            let _ = line.beat();
            sleep(BEAT_PERIOD);
        }
    };
    spawner.spawn(Role::Other, "broker-heart", beat).map(drop)
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
