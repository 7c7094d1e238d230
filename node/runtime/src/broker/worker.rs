//! The worker of a supervisor, from its PIN to its end.
//!
//! ```text
//! line: PIN, settings ─▶ server, which says what the start is at ─▶ locks of guard and audit trail
//!      ─▶ device ─▶ vault ─▶ audit trail, guard ─▶ SigningService ─▶ server answers ─▶ READY
//! heart: beats while no call of the device is late; one that is ends the process
//! ```
//!
//! A worker whose guard or audit trail could not be written ends, too: after a failed write they grant nothing until they are opened
//! again, which is what the next worker does. So does one that can serve nobody any more: its device takes no PIN or stays away, or the
//! thread that takes callers has ended.
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
use bixi_hsm::pin::{PAUSE_MIN, PinMemory};
use bixi_hsm_broker::{CallWatch, Line, Server, Watched, server};
use bixi_platform::credentials::PinSource;
use bixi_platform::inherited::keep_from_programs;
use bixi_platform::placement::Role;
use bixi_platform::secret::Secret;
use bixi_platform::threads::Spawner;

use super::door::Door;
use super::heart;
use crate::keys::{self, Holder, NodeSigner, Reserved, opening};
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
    /// Takes it; `config` is where the node file was read, and `lock` the descriptor of the broker's lock, which is held as long as this
    /// process and what its libraries fork, and by no program that they start.
    ///
    /// # Errors
    /// When no supervisor started this process.
    pub fn take(config: &Path, lock: i32) -> Result<Self, LaunchError> {
        step("lock of the broker", || keep_from_programs(lock))?;
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
    let watch = CallWatch::new(opening::limits(&settings.config.hsm));
    step("heart", || heart::spawn(&spawner, &watch, &line))?;
    let (ended, ends) = channel();
    let serves = Arc::new(AtomicBool::new(false));
    step("stop", || spawn_stop(&spawner, &watch, &line, &serves, ended.clone()))?;
    let door = Arc::new(Door::closed(&watch, keys::start_patience(&settings.config.hsm), ended.clone()));
    let server = step("server", || {
        Server::start(listener, &spawner, server::Params::for_user(served_uid), Arc::clone(&door) as _)
    })?;
    step("self-tests", check_kernels)?;
    let storage = step("storage", || settings.storage(&spawner))?;
    let reserved = step("guard and audit trail", || Reserved::take(settings, &storage))?;
    let pin = PinSource::Handed(Arc::new(pin));
    let open = watch.limits().open;
    let memory = settings.data("pin-state");
    watch.during("pause after a PIN without a verdict", open + PAUSE_MIN, || PinMemory::wait_out_pause(&memory));
    let device = step("key device", || watch.during("open", open, || keys::open_device_here(settings, pin)))?;
    let device = Arc::new(Watched::new(device, watch.clone()));
    let holder = step("unlock keys", || keys::hold(settings, &storage, reserved, device))?;
    step("guard", || holder.expect_in_service())?;
    let signer = Arc::new(step("signing service", || holder.client())?);
    let Holder { service, audit, .. } = holder;
    step("syncing", || spawn_sync(&spawner, &signer, &audit, ended))?;
    door.open(service);
    serves.store(true, Ordering::SeqCst);
    step("ready", || line.ready())?;
    let end = until_end(&ends, server, &signer, &audit);
    watch.close();
    end
}

/// Why a worker ends.
pub(super) enum Ends {
    /// Its supervisor wants it to, or is gone.
    Asked,
    /// Guard or audit trail could not be written.
    Unwritten(String),
    /// The device takes no PIN: its pool asks it nothing any more.
    Pin(DeviceError),
    /// The device stays away.
    Absent(DeviceError),
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
        Ends::Pin(error) | Ends::Absent(error) => {
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
