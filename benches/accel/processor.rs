//! The core that all contenders share, the time this thread spends on it, and the kernel's counter of its cycles.

use bixi_benches::Meter;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::FromRawFd as _;

/// Binds this thread to one of the processors it may use, the last: interrupts like the first. `taskset` chooses another.
pub(crate) fn pin() -> io::Result<usize> {
    let bytes = size_of::<libc::cpu_set_t>();
    // SAFETY: a set of processors is plain bits, for which zeroes are the empty set; the kernel writes at most `bytes` bytes.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above; 0 is this thread.
    if unsafe { libc::sched_getaffinity(0, bytes, &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every index is below the set's size.
    let last = (0..libc::CPU_SETSIZE as usize).rev().find(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) });
    let cpu = last.ok_or_else(|| io::Error::other("no processor is allowed"))?;
    // SAFETY: `cpu` is below the set's size; the kernel reads `bytes` bytes.
    let failed = unsafe {
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, bytes, &raw const set)
    };
    if failed == 0 { Ok(cpu) } else { Err(io::Error::last_os_error()) }
}

/// The first fields of `perf_event_attr`, as `PERF_ATTR_SIZE_VER0` has them.
#[repr(C)]
#[derive(Default)]
struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_kind: u32,
    breakpoint_address: u64,
}

const _: () = assert!(size_of::<EventAttributes>() == 64);

impl EventAttributes {
    /// `PERF_TYPE_HARDWARE`, `PERF_COUNT_HW_CPU_CYCLES`, without the kernel's and a hypervisor's.
    fn user_cycles() -> Self {
        const EXCLUDE_KERNEL: u64 = 1 << 5;
        const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
        Self { size: size_of::<Self>() as u32, flags: EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR, ..Self::default() }
    }
}

/// Cycles of this thread in user space, by `perf_event_open`.
struct PerfEvent(File);

impl PerfEvent {
    /// Fails where the machine has no such counter or does not lend it.
    fn open() -> io::Result<Self> {
        let attributes = EventAttributes::user_cycles();
        let (this_thread, any_cpu, no_group, no_flags) = (0, -1, -1, 0_u64);
        // SAFETY: the kernel reads `size` bytes of the attributes and returns a descriptor or -1.
        let descriptor = unsafe {
            libc::syscall(libc::SYS_perf_event_open, &raw const attributes, this_thread, any_cpu, no_group, no_flags)
        };
        let descriptor = i32::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0);
        let descriptor = descriptor.ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
        Ok(Self(unsafe { File::from_raw_fd(descriptor) }))
    }

    fn read(&mut self) -> u64 {
        let mut count = [0; 8];
        self.0.read_exact(&mut count).expect("the kernel's counter");
        u64::from_ne_bytes(count)
    }
}

/// This thread's share of the processor: what others take meanwhile does not count.
pub(crate) struct ThreadMeter(Result<PerfEvent, io::Error>);

impl ThreadMeter {
    pub(crate) fn new() -> Self {
        Self(PerfEvent::open())
    }
}

impl Meter for ThreadMeter {
    fn describe(&self) -> String {
        let counter =
            self.0.as_ref().map_or_else(|error| format!("no perf_event: {error}"), |_| "perf_event".to_owned());
        format!("of this thread on its core ({counter})")
    }

    fn nanoseconds(&mut self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one `timespec`.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(failed, 0, "every thread has a clock");
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    fn cycles(&mut self) -> Option<u64> {
        self.0.as_mut().ok().map(PerfEvent::read)
    }
}
