//! The kernel's calls for placing threads and their memory.

use std::{fs, io, mem, path::Path};

/// Hardware threads a mask can name: `CPU_SETSIZE` is too small for nothing we run on.
const CPUS_MAX: usize = libc::CPU_SETSIZE as usize;

/// Most readings of the list of threads before the last is taken as it is.
const READINGS_MAX: usize = 8;

/// The kernel's number of the calling thread.
pub(crate) fn current_tid() -> i32 {
    // SAFETY: gettid takes no argument and cannot fail.
    unsafe { libc::gettid() }
}

/// Hardware threads a thread may run on, ascending; 0 is the calling thread.
pub(crate) fn of_thread(tid: i32) -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is a plain array of integers, for which all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is writable and its true size is passed.
    if unsafe { libc::sched_getaffinity(tid, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every index is below CPU_SETSIZE, inside the set.
    Ok((0..CPUS_MAX).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Lets a thread run on `cpus` only; 0 is the calling thread.
pub(crate) fn set_of_thread(tid: i32, cpus: &[usize]) -> io::Result<()> {
    // SAFETY: as in `of_thread`.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < CPUS_MAX) {
        // SAFETY: the filter keeps the index inside the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is initialised and its true size is passed.
    if unsafe { libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), &set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets the calling thread run on `cpus` only.
pub(crate) fn pin_current(cpus: &[usize]) -> io::Result<()> {
    if let [id] = *cpus {
        return match core_affinity::set_for_current(core_affinity::CoreId { id }) {
            true => Ok(()),
            false => Err(io::Error::other(format!("core {id} is not allowed to this process"))),
        };
    }
    set_of_thread(0, cpus)
}

/// New pages of the calling thread come from `node` while it has free memory.
pub(crate) fn prefer_memory_of(node: usize) -> io::Result<()> {
    const WORD_BITS: usize = u64::BITS as usize;
    let mut mask = [0u64; 16];
    let Some(word) = mask.get_mut(node / WORD_BITS) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("NUMA node {node} is beyond the mask")));
    };
    *word |= 1 << (node % WORD_BITS);
    let bits = mask.len() * WORD_BITS;
    // SAFETY: `mask` is readable for `bits` bits; the policy affects the calling thread's future allocations only.
    let refused = unsafe { libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_PREFERRED, mask.as_ptr(), bits) };
    if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a thread of this process runs.
pub(crate) fn is_running(tid: i32) -> bool {
    Path::new("/proc/self/task").join(tid.to_string()).exists()
}

/// Numbers and kernel names of this process's threads.
///
/// The kernel ends its walk at a thread that ends meanwhile and may go on behind its neighbours: one reading can lack a
/// thread that runs. So it is repeated until two agree, or [`READINGS_MAX`] times.
pub(crate) fn threads_of_process() -> io::Result<Vec<(i32, String)>> {
    let mut threads = read_threads()?;
    for _ in 1..READINGS_MAX {
        let again = read_threads()?;
        if again == threads {
            break;
        }
        threads = again;
    }
    Ok(threads)
}

fn read_threads() -> io::Result<Vec<(i32, String)>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let entry = entry?;
        let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A thread may end between the two reads.
        if let Ok(name) = fs::read_to_string(entry.path().join("comm")) {
            threads.push((tid, name.trim_end().to_owned()));
        }
    }
    Ok(threads)
}
