//! The network's tasks: started on the runtime it was given, counted, and waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Starts tasks and counts those that run.
pub(crate) struct Tasks {
    runtime: Handle,
    running: Arc<(Mutex<usize>, Condvar)>,
    stopping: watch::Sender<bool>,
}

/// One running task; also when it panics.
struct Running(Arc<(Mutex<usize>, Condvar)>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.0.lock() -= 1;
        self.0.1.notify_all();
    }
}

impl Tasks {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, running: Arc::default(), stopping: watch::channel(false).0 }
    }

    /// Starts a task that ends by itself.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        *self.running.0.lock() += 1;
        let running = Running(Arc::clone(&self.running));
        self.runtime.spawn(async move {
            let _running = running;
            work.await;
        });
    }

    /// Starts a task that is dropped where it waits when the network stops.
    pub(crate) fn spawn_until_stop(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut stopping = self.stopping.subscribe();
        self.spawn(async move {
            tokio::select! {
                // An error means that the network itself is gone.
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = work => {}
            }
        });
    }

    /// Has the tasks of [`Self::spawn_until_stop`] end.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until no task runs; how many still do at the deadline.
    pub(crate) fn join(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let (running, ended) = &*self.running;
        let mut running = running.lock();
        while *running > 0 && !ended.wait_until(&mut running, deadline).timed_out() {}
        *running
    }
}
