//! The signals that end a command: SIGINT, SIGTERM, and SIGHUP unless whoever started us ignores it, as `nohup` does; and SIGHUP where
//! it asks for a reload instead.
//!
//! SIGHUP has two meanings: a terminal has closed, or a service is to read its files again. A command started with a terminal as its
//! standard input takes it as the first; a service, whose standard input is none, as the second.
//!
//! The first one is waited for and answered in order. While the end is armed ([`StopSignal::end_at_once`]) another has its
//! default action: the process dies on the spot, which costs nothing that a client was told. It does so when no PIN is without its
//! verdict ([`ending`]), as every command does that opens a key device ([`end_between_pins`]).

mod ending;

use std::future::poll_fn;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register;
use tokio::signal::unix::{self, SignalKind};

/// Requests to stop, caught from the moment this exists.
pub(crate) struct StopSignal {
    streams: Vec<unix::Signal>,
}

impl StopSignal {
    /// SIGHUP is among them. Must be called inside a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Self::of(ends())
    }

    fn of(numbers: &[i32]) -> io::Result<Self> {
        ending::want(false);
        ending::handle(numbers)?;
        let stream = |number: &i32| unix::signal(SignalKind::from_raw(*number));
        Ok(Self { streams: numbers.iter().map(stream).collect::<io::Result<_>>()? })
    }

    /// From now on a signal kills this process instead of being waited for.
    pub(crate) fn end_at_once(&self, armed: bool) {
        ending::want(armed);
    }

    /// The first signal came: another one ends this process on the spot.
    pub(crate) fn heed_second(&self) {
        match end_with_nobody() {
            Ok(()) => self.end_at_once(true),
            Err(error) => tracing::warn!(%error, "a second signal will wait for the orderly stop"),
        }
    }

    /// The next signal.
    pub(crate) async fn wait(&mut self) {
        poll_fn(|context| {
            let came = self.streams.iter_mut().any(|stream| stream.poll_recv(context).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether a signal came already or comes within `patience`.
    pub(crate) async fn came_within(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.wait()).await.is_ok()
    }
}

/// Requests to read the files again, kept from the moment this exists: one that comes during the start is answered after it.
pub(crate) struct ReloadSignal(Option<unix::Signal>);

impl ReloadSignal {
    /// The signals of a service: SIGHUP asks for a reload where it does not say that a terminal has closed. Must be called inside a
    /// tokio runtime.
    pub(crate) fn beside_stop() -> io::Result<(Self, StopSignal)> {
        if io::stdin().is_terminal() || is_hangup_ignored() {
            return Ok((Self(None), StopSignal::new()?));
        }
        Ok((Self(Some(unix::signal(SignalKind::hangup())?)), StopSignal::of(&[SIGINT, SIGTERM])?))
    }

    /// The next request; never, where there is none.
    pub(crate) async fn wait(&mut self) {
        match &mut self.0 {
            Some(stream) => drop(stream.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Those that end a command.
fn ends() -> &'static [i32] {
    if is_hangup_ignored() { &[SIGINT, SIGTERM] } else { &[SIGINT, SIGTERM, SIGHUP] }
}

/// From now on these signals end this process on the spot, as without this, but never while a PIN that was sent has no verdict.
///
/// # Errors
/// When the system takes no handler.
pub(crate) fn end_between_pins() -> io::Result<()> {
    ending::want(true);
    ending::handle(ends())
}

/// Whether this process was started to ignore SIGHUP.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Bit n − 1 stands for signal n.
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (SIGHUP - 1) != 0
}

/// From now on the signals that end a command do nothing here: a service manager sends them to every process of a service, and this one is
/// ended by its supervisor, which knows when.
///
/// # Errors
/// When the system takes no handler.
pub(crate) fn leave_to_supervisor() -> io::Result<()> {
    for number in [SIGINT, SIGTERM, SIGHUP] {
        // Handled, not ignored: what is ignored would be so in whatever a library starts, too (execve(2)).
        register(number, Arc::default())?;
    }
    Ok(())
}

/// Has the kernel send SIGTERM when the parent, which must be `parent`, is gone, however it ended.
///
/// # Errors
/// When it is not the parent, or is gone already.
pub(crate) fn end_with(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // Asked after the request: a parent that ended before it would never be noticed.
    match getppid().map(Pid::as_raw_pid) {
        Some(found) if found == parent => Ok(()),
        _ => anyhow::bail!("--stop-with {parent}: that process is not, or no longer, the parent of this one"),
    }
}

/// Takes [`end_with`] back. The kernel hands a child from one dying thread of its parent to the next and signals every time: the
/// first is the request to stop, and the others must not count as a second one. Those sent before are handled when this returns.
fn end_with_nobody() -> io::Result<()> {
    Ok(set_parent_process_death_signal(None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_the_parent_is_refused() {
        assert!(end_with(1 << 22).unwrap_err().to_string().contains("not, or no longer"));
        set_parent_process_death_signal(None).unwrap();
    }

    #[test]
    fn nothing_came_within_no_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut stop = StopSignal::new().unwrap();
            assert!(!stop.came_within(Duration::ZERO).await);
        });
    }
}
