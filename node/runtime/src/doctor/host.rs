//! Checks of the machine: processor, limits, memory, clock, disk.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use bixi_accel::{cpu, selftest};
use bixi_platform::clock;

use crate::doctor::{Check, Verdict};

/// Locked memory a node wants for its secrets.
const LOCKED_BYTES_MIN: u64 = 1024 * 1024;
/// Open files: RocksDB keeps many tables open.
const OPEN_FILES_MIN: u64 = 4_096;
const FSYNC_ROUNDS: usize = 9;
/// Above this every block waits noticeably for the disk.
const FSYNC_SLOW: Duration = Duration::from_millis(20);

pub(super) fn kernels() -> Check {
    let chosen: Vec<String> =
        cpu::selected().iter().map(|selected| format!("{} {}", selected.operation, selected.kernel)).collect();
    let began = Instant::now();
    match selftest::run() {
        Ok(tests) => {
            let (kernels, count, ms) = (chosen.join(", "), tests.len(), began.elapsed().as_secs_f64() * 1e3);
            Check::new(
                "processor kernels",
                Verdict::Good,
                format!("{kernels}; {count} self-tests passed in {ms:.0} ms"),
            )
        }
        Err(error) => Check::new("processor kernels", Verdict::Bad, error.to_string()),
    }
}

pub(super) fn limits() -> [Check; 2] {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let judge = |name, row: &str, least: u64, advice: &str| match soft_limit(&text, row) {
        Some(limit) if limit >= least => {
            let shown = if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
            Check::new(name, Verdict::Good, shown)
        }
        Some(limit) => Check::new(name, Verdict::Warn, format!("{limit}, wanted at least {least}; {advice}")),
        None => Check::new(name, Verdict::Warn, "cannot be read from /proc/self/limits"),
    };
    [
        judge("locked memory", "Max locked memory", LOCKED_BYTES_MIN, "raise LimitMEMLOCK or `ulimit -l`"),
        judge("open files", "Max open files", OPEN_FILES_MIN, "raise LimitNOFILE or `ulimit -n`"),
    ]
}

/// The soft limit of a row of `/proc/self/limits`; `unlimited` is the largest number.
fn soft_limit(text: &str, row: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(row))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

pub(super) fn huge_pages() -> Check {
    match fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled") {
        Ok(text) => judge_huge_pages(text.split(['[', ']']).nth(1).unwrap_or("unknown")),
        Err(_) => Check::new("transparent huge pages", Verdict::Skipped, "this kernel does not say"),
    }
}

fn judge_huge_pages(mode: &str) -> Check {
    let (verdict, effect) = match mode {
        "always" => (Verdict::Warn, ": background compaction can stall threads; madvise is steadier"),
        "never" => {
            (Verdict::Good, ": tables of points are on ordinary pages; with thousands of signers madvise is faster")
        }
        _ => (Verdict::Good, ""),
    };
    Check::new("transparent huge pages", verdict, format!("{mode}{effect}"))
}

pub(super) fn clock(drift_ms_max: u64) -> Check {
    match clock::discipline() {
        Ok(kept) => judge_clock(kept, Duration::from_millis(drift_ms_max)),
        Err(error) => Check::new("clock", Verdict::Skipped, format!("the kernel does not tell: {error}")),
    }
}

fn judge_clock(kept: clock::Discipline, drift_max: Duration) -> Check {
    let off = format!("{:.1} ms", kept.error_max.as_secs_f64() * 1e3);
    if !kept.synchronised {
        let text = "nobody keeps it, says the kernel; proposals with a time too far ahead are refused, so run chrony or \
                    systemd-timesyncd (in a container: on the host)";
        return Check::new("clock", Verdict::Warn, text);
    }
    if kept.error_max >= drift_max {
        let text = format!(
            "kept, but may be off by {off}, and consensus.clock_drift_ms_max is {} ms; see to the time service",
            drift_max.as_millis()
        );
        return Check::new("clock", Verdict::Warn, text);
    }
    Check::new("clock", Verdict::Good, format!("kept, off by {off} at most"))
}

pub(super) fn fsync_latency(data: &Path) -> Check {
    let name = "disk flush";
    match measure_fsync(data) {
        Ok(median) if median <= FSYNC_SLOW => {
            Check::new(name, Verdict::Good, format!("{:.2} ms in the median", median.as_secs_f64() * 1e3))
        }
        Ok(median) => {
            let text =
                format!("{:.1} ms in the median; every block waits for it several times", median.as_secs_f64() * 1e3);
            Check::new(name, Verdict::Warn, text)
        }
        Err(error) => {
            let text =
                format!("{}: {error}; make the directory with `bixi chain new`, or correct data_dir", data.display());
            Check::new(name, Verdict::Bad, text)
        }
    }
}

fn measure_fsync(data: &Path) -> io::Result<Duration> {
    let path = data.join(format!("doctor.{}.tmp", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let mut rounds = Vec::with_capacity(FSYNC_ROUNDS);
    let measured = (0..FSYNC_ROUNDS).try_for_each(|_| {
        file.write_all(&[0; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        rounds.push(began.elapsed());
        Ok(())
    });
    fs::remove_file(&path)?;
    measured.map(|()| {
        rounds.sort_unstable();
        rounds[FSYNC_ROUNDS / 2]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_soft_limits() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max locked memory         8388608              unlimited            bytes\n\
                    Max open files            unlimited            unlimited            files\n";
        assert_eq!(soft_limit(text, "Max locked memory"), Some(8_388_608));
        assert_eq!(soft_limit(text, "Max open files"), Some(u64::MAX));
        assert_eq!(soft_limit(text, "Max cpu time"), None);
    }

    #[test]
    fn huge_pages_for_everything_are_warned_of_and_none_at_all_are_told() {
        let judged = |mode| {
            let check = judge_huge_pages(mode);
            (check.verdict, check.detail.len() > mode.len())
        };
        assert_eq!(judged("always"), (Verdict::Warn, true));
        assert_eq!(judged("madvise"), (Verdict::Good, false));
        assert_eq!(judged("never"), (Verdict::Good, true));
    }

    #[test]
    fn a_clock_is_judged_by_what_the_kernel_says() {
        let kept = |synchronised, ms| clock::Discipline { synchronised, error_max: Duration::from_millis(ms) };
        let verdict = |discipline| judge_clock(discipline, Duration::from_secs(10)).verdict;
        assert_eq!(verdict(kept(true, 5)), Verdict::Good);
        assert_eq!(verdict(kept(true, 10_000)), Verdict::Warn);
        assert_eq!(verdict(kept(false, 5)), Verdict::Warn);
    }

    #[test]
    fn a_missing_data_directory_is_bad() {
        assert_eq!(fsync_latency(Path::new("/nowhere/at/all")).verdict, Verdict::Bad);
    }
}
