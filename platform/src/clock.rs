//! Whether anyone keeps this machine's clock, as the kernel knows it (`adjtimex(2)`).
//!
//! Whatever disciplines a clock (chrony, ntpd, systemd-timesyncd, a hypervisor's agent) tells the kernel how far the clock may
//! be off; without news the bound grows by half a millisecond a second until the kernel calls the clock unsynchronised.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// What the kernel says about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discipline {
    /// Somebody keeps it, and not too long ago.
    pub synchronised: bool,
    /// How far it may be off, as whoever keeps it said, grown since.
    pub error_max: Duration,
}

/// Asks the kernel; changes nothing.
///
/// # Errors
/// When the kernel refuses, as a container's filter of system calls may.
pub fn discipline() -> io::Result<Discipline> {
    // All zeros is a valid timex, and `modes = 0` means: change nothing.
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `timex` is writable for a whole timex during the call.
    let state = unsafe { libc::adjtimex(timex.as_mut_ptr()) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, which is valid for a structure of integers, and the call filled it.
    let timex = unsafe { timex.assume_init() };
    let synchronised = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    Ok(Discipline { synchronised, error_max: Duration::from_micros(u64::try_from(timex.maxerror).unwrap_or(0)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_and_nothing_is_changed() {
        let (first, second) = (discipline().unwrap(), discipline().unwrap());
        assert_eq!(first.synchronised, second.synchronised);
        // NTP_PHASE_LIMIT: the kernel never tells a bound above 16 s.
        assert!(first.error_max <= Duration::from_secs(16), "{first:?}");
    }
}
