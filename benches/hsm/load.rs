//! Callers that sign one after the other for a while, all at once.

use std::sync::Barrier;
use std::thread::scope;
use std::time::{Duration, Instant};

/// What callers saw of one window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Signatures a second.
    pub(crate) rate: f64,
    /// Processor time of the whole process for one signature, microseconds.
    pub(crate) cpu_us: f64,
    /// Latency half of the signatures stayed below, microseconds.
    pub(crate) p50_us: f64,
    /// Latency that one in a hundred exceeded, microseconds.
    pub(crate) p99_us: f64,
}

impl Sample {
    /// The better of two windows: other programs only ever take away.
    pub(crate) fn better(self, other: Self) -> Self {
        Self {
            rate: self.rate.max(other.rate),
            cpu_us: self.cpu_us.min(other.cpu_us),
            p50_us: self.p50_us.min(other.p50_us),
            p99_us: self.p99_us.min(other.p99_us),
        }
    }
}

/// Has `callers` threads call `sign` with their number again and again until `window` is over.
pub(crate) fn run(callers: usize, window: Duration, sign: &(dyn Fn(usize) + Sync)) -> Sample {
    // Two: clocks are read while nobody runs, for with more callers than cores whoever reads them next to running ones is late.
    let (ready, go) = (Barrier::new(callers + 1), Barrier::new(callers + 1));
    let work = |caller: usize| {
        let mut latencies = Vec::with_capacity(1 << 12);
        // The first call of a thread is dearer.
        sign(caller);
        ready.wait();
        go.wait();
        let began = Instant::now();
        while began.elapsed() < window {
            let call = Instant::now();
            sign(caller);
            latencies.push(call.elapsed());
        }
        latencies
    };
    let work = &work;
    let (mut latencies, elapsed, cpu) = scope(|threads| {
        let threads: Vec<_> = (0..callers).map(|caller| threads.spawn(move || work(caller))).collect();
        ready.wait();
        let (began, cpu) = (Instant::now(), cpu_time());
        go.wait();
        let latencies: Vec<Duration> =
            threads.into_iter().flat_map(|thread| thread.join().expect("a caller that lives")).collect();
        (latencies, began.elapsed(), cpu_time() - cpu)
    });
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let count = latencies.len() as f64;
    let cpu_us = cpu.as_secs_f64() * 1e6 / count;
    Sample { rate: count / elapsed.as_secs_f64(), cpu_us, p50_us: at(0.5), p99_us: at(0.99) }
}

/// Processor time of all threads of this process.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a clock that every Linux has, and room for its answer.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(code, 0, "the clock of the process");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
