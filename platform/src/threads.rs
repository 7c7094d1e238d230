//! The only maker of threads: named, placed by the [`Plan`], and listed while they live.
//!
//! Tokio's and rayon's workers are placed by their builders' hooks; threads of foreign libraries are adopted by their
//! name after they have started. Memory is bound to the thread's NUMA node where there is more than one: preferred, not
//! forced, because a full node must not end the process.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::placement::{Plan, Role, Slot};

pub(crate) mod affinity;
mod beside;

pub use beside::beat_beside;

/// How long a worker of tokio's may take to start before it is listed later than its runtime.
const WORKER_START_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a thread's new memory comes from its own node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryBinding {
    /// The machine has one node, or the thread may run on all.
    NotNeeded,
    /// Preferred on this node.
    Preferred(usize),
    /// The kernel refused, or the thread was adopted and can only bind itself.
    Unbound(String),
}

/// A thread that is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveThread {
    /// The kernel's thread number.
    pub tid: i32,
    /// Full name.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Hardware threads it may run on, as the kernel reports them.
    pub cores: Vec<usize>,
    /// NUMA node of those, when they are of one node.
    pub numa_node: Option<usize>,
    /// Why it could not be placed, if so.
    pub unpinned: Option<String>,
    /// Where its memory comes from.
    pub memory: MemoryBinding,
}

/// Makes threads. Clones share the plan and the list.
#[derive(Clone)]
pub struct Spawner(Arc<Inner>);

struct Inner {
    plan: Plan,
    /// Next slot of each placed role.
    next: [AtomicUsize; Role::PLACED.len()],
    live: Mutex<Vec<LiveThread>>,
}

impl Spawner {
    /// A spawner that follows `plan`.
    pub fn new(plan: Plan) -> Self {
        Self(Arc::new(Inner { plan, next: Default::default(), live: Mutex::default() }))
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// Starts a thread in its role's next slot; it is placed and listed when this returns.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn spawn<T: Send + 'static>(
        &self,
        role: Role,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let (inner, full_name) = (self.0.clone(), name.to_owned());
        let (entering, entered) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name(short_name(name)).spawn(move || {
            let _listed = inner.enter(role, full_name);
            drop(entering);
            work()
        })?;
        // Ends with the sender. Without it slots would go to whoever runs first, and a list taken now would lack the thread.
        let _ = entered.recv();
        Ok(thread)
    }

    /// A tokio runtime with I/O and time, whose workers and blocking threads are placed as `role`; its workers are listed when
    /// this returns.
    ///
    /// # Errors
    /// When the system has no thread or descriptor to give.
    pub fn tokio(&self, role: Role, name: &str, workers: usize) -> io::Result<tokio::runtime::Runtime> {
        let (start, stop, full_name) = (self.0.clone(), self.0.clone(), name.to_owned());
        let (entering, entered) = mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(workers.max(1))
            .thread_name(short_name(name))
            .on_thread_start(move || {
                start.list_current(role, full_name.clone());
                // Nobody waits for the blocking threads that come later.
                let _ = entering.send(());
            })
            .on_thread_stop(move || stop.leave(affinity::current_tid()))
            .build()?;
        for _ in 0..workers.max(1) {
            let _ = entered.recv_timeout(WORKER_START_TIMEOUT);
        }
        Ok(runtime)
    }

    /// A rayon pool whose workers are placed as `role`, one slot each.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn rayon(&self, role: Role, name: &str, workers: usize) -> io::Result<rayon::ThreadPool> {
        let (start, stop, full_name, short) = (self.0.clone(), self.0.clone(), name.to_owned(), name.to_owned());
        rayon::ThreadPoolBuilder::new()
            .num_threads(workers.max(1))
            .thread_name(move |index| short_name(&format!("{short}-{index}")))
            .start_handler(move |index| start.list_current(role, format!("{full_name}-{index}")))
            .exit_handler(move |_| stop.leave(affinity::current_tid()))
            .build()
            .map_err(io::Error::other)
    }

    /// Places running threads of this process whose kernel name starts with `prefix` on all cores of `role`, and lists
    /// them; returns how many. Threads this spawner made are left alone.
    ///
    /// # Errors
    /// When the process's own threads cannot be listed.
    pub fn adopt_by_name(&self, prefix: &str, role: Role) -> io::Result<usize> {
        let mut adopted = 0;
        let cpus = self.0.plan.cpus_of(role);
        for (tid, name) in affinity::threads_of_process()? {
            if !name.starts_with(prefix) || self.0.live().iter().any(|thread| thread.tid == tid) {
                continue;
            }
            let unpinned = affinity::set_of_thread(tid, &cpus).err().map(|error| error.to_string());
            let memory = MemoryBinding::Unbound("adopted threads keep the process's policy".to_owned());
            let memory = if self.0.plan.numa_nodes() > 1 { memory } else { MemoryBinding::NotNeeded };
            let cores = affinity::of_thread(tid).unwrap_or_default();
            let numa_node = self.0.plan.slot(role, 0).numa_node.filter(|_| self.0.plan.instances(role) == 1);
            self.0.live().push(LiveThread { tid, name, role, cores, numa_node, unpinned, memory });
            adopted += 1;
        }
        Ok(adopted)
    }

    /// Threads that are running, by role and name.
    pub fn live(&self) -> Vec<LiveThread> {
        let mut live = self.0.live();
        // Adopted threads end without telling. Each is asked for by itself: a reading of the whole list may lack one that runs.
        live.retain(|thread| affinity::is_running(thread.tid));
        let mut out = live.clone();
        out.sort_by(|a, b| (a.role, &a.name, a.tid).cmp(&(b.role, &b.name, b.tid)));
        out
    }
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, Vec<LiveThread>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, role: Role, name: String) -> Listed {
        self.list_current(role, name);
        Listed { inner: self.clone(), tid: affinity::current_tid() }
    }

    /// Places the calling thread in its role's next slot and lists it.
    fn list_current(&self, role: Role, name: String) {
        let slot = self.next_slot(role);
        let unpinned = affinity::pin_current(&slot.cpus).err().map(|error| error.to_string());
        let memory = self.bind_memory(slot);
        if let Some(reason) = &unpinned {
            tracing::warn!(thread = %name, %reason, "a thread could not be placed");
        }
        let tid = affinity::current_tid();
        let cores = affinity::of_thread(0).unwrap_or_default();
        let thread = LiveThread { tid, name, role, cores, numa_node: slot.numa_node, unpinned, memory };
        let mut live = self.live();
        live.retain(|other| other.tid != tid);
        live.push(thread);
    }

    fn next_slot(&self, role: Role) -> &Slot {
        let rank = Role::PLACED.iter().position(|&placed| placed == role);
        let index = rank.map_or(0, |rank| self.next[rank].fetch_add(1, Ordering::Relaxed));
        self.plan.slot(role, index)
    }

    fn bind_memory(&self, slot: &Slot) -> MemoryBinding {
        match slot.numa_node {
            Some(node) if self.plan.numa_nodes() > 1 => match affinity::prefer_memory_of(node) {
                Ok(()) => MemoryBinding::Preferred(node),
                Err(error) => MemoryBinding::Unbound(error.to_string()),
            },
            _ => MemoryBinding::NotNeeded,
        }
    }

    fn leave(&self, tid: i32) {
        self.live().retain(|thread| thread.tid != tid);
    }
}

/// Takes the thread off the list when it ends, also by a panic.
struct Listed {
    inner: Arc<Inner>,
    tid: i32,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.inner.leave(self.tid);
    }
}

/// The kernel keeps 15 bytes of a name: cut at a character's end.
fn short_name(name: &str) -> String {
    let end = (0..=name.len().min(15)).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    name[..end].to_owned()
}

#[cfg(test)]
mod tests;
