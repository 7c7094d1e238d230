//! The heart of a worker: beats while all is well, and ends the process at once when a call of its device hangs. Nothing in such a process
//! can be trusted to end, destructors included.

use std::io;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Instant;

use bixi_hsm_broker::supervisor::BEAT_PERIOD;
use bixi_hsm_broker::{CallWatch, Line};
use bixi_platform::placement::Role;
use bixi_platform::threads::Spawner;
use rustix::process::{Signal, getpid, kill_process};

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
