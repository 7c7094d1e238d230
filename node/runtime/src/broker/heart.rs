//! The heart of a worker: beats while all is well, and ends the process at once when a call of its device hangs. Nothing in such a process
//! can be trusted to end, destructors included.

use std::io;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bixi_hsm_broker::supervisor::BEAT_PERIOD;
use bixi_hsm_broker::{CallWatch, Limits, Line};
use bixi_platform::placement::Role;
use bixi_platform::threads::Spawner;
use rustix::process::{Signal, getpid, kill_process};

use crate::settings::Settings;

/// What a piece of work has beyond `hsm.timeout_ms`: one that waits for a session for that long can say so itself.
const CALL_MARGIN: Duration = Duration::from_secs(1);
/// How long a library may take to be loaded and to find its device, and a device to say what it holds.
const OPEN_MAX: Duration = Duration::from_secs(300);
/// How long a device may take to judge a PIN: to end the process before the verdict costs one of two tries.
const PIN_MAX: Duration = Duration::from_secs(600);

/// How long the pieces of a device's calls may take.
pub(super) fn limits(settings: &Settings) -> Limits {
    let call = Duration::from_millis(settings.config.hsm.timeout_ms) + CALL_MARGIN;
    Limits { call, open: OPEN_MAX.max(call), pin: PIN_MAX.max(call) }
}

/// Starts it. No device may be called before.
pub(super) fn spawn(spawner: &Spawner, watch: &CallWatch, line: &Arc<Line>) -> io::Result<()> {
    let (watch, line) = (watch.clone(), Arc::clone(line));
    let beat = move || {
        loop {
            if let Some(overdue) = watch.condemn(Instant::now()) {
                tracing::error!(%overdue, "the device hangs; this worker ends, and the next one opens the device anew");
                let _ = line.hung();
                end_at_once();
            }
            // A supervisor that is gone closes the line, too, and that ends this process in order.
            let _ = line.beat(watch.is_judging());
            sleep(BEAT_PERIOD);
        }
    };
    spawner.spawn(Role::Other, "broker-heart", beat).map(drop)
}

/// Ends this process as a loss of power would: guard, audit trail and the memory of PINs are made for that.
pub(super) fn end_at_once() {
    let _ = kill_process(getpid(), Signal::KILL);
}
