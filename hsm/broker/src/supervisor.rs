//! Watches a worker and starts another when it ends or falls silent.
//!
//! ```text
//! start ─ PIN, brief ─▶ [ beats ]* ─┬─ ended, status that is final ─▶ End::Final, never repeated
//!                                   ├─ ended, its device hung ──┐
//!                                   ├─ silent ─ its group killed ┴─ waited for ─ pause ─▶ start
//!                                   ├─ killed and not gone ─▶ End::Stuck
//!                                   └─ asked to stop ─ end of the line ─ waited for ─▶ End::Stopped
//! ```
//!
//! Invariants:
//! - a worker and all that its libraries forked are gone before the next one starts: what is forked shares the worker's locks;
//! - a worker whose device judges a PIN is not killed because it is asked to stop: the attempt would count as one without a verdict;
//! - nothing is waited for without a bound.

mod pauses;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::os::unix::net::UnixListener;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use bixi_platform::secret::Secret;
use rustix::process::{getpid, set_child_subreaper};
use tokio::time::sleep;

use crate::line;
use pauses::Pauses;
use worker::{Ran, run_one};

/// How often a worker beats.
pub const BEAT_PERIOD: Duration = Duration::from_millis(100);

/// What is asked of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long it may be silent before its first beat: the program is loaded, its files are read.
    pub first_beat: Duration,
    /// How long it may be silent afterwards.
    pub silence: Duration,
    /// Having answered for so long it is replaced without a pause.
    pub proven: Duration,
    /// Having answered for so long, a device that hangs begins to hang anew: the next worker comes without a pause.
    pub calm: Duration,
    /// How long one that was asked to end may take, and then one that was killed.
    pub end: Duration,
}

impl Default for Pace {
    /// A hundred beats of silence: a busy machine delays some, and a worker that is replaced has to log in.
    fn default() -> Self {
        Self {
            first_beat: Duration::from_secs(30),
            silence: BEAT_PERIOD * 100,
            proven: Duration::from_secs(1),
            calm: Duration::from_secs(60),
            end: Duration::from_secs(10),
        }
    }
}

/// What exit statuses of a worker say of the next one. All others are deaths after which another one starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses {
    /// It could do no better.
    pub always_final: Vec<i32>,
    /// It could do no better, as long as none has answered: files that served once are mended while others wait.
    pub final_at_start: Vec<i32>,
    /// It could do no better before a person has acted: another one looks after that long whether that was done.
    pub resting: Vec<(i32, Duration)>,
}

/// What a supervisor keeps from worker to worker.
pub struct Params {
    /// The command that becomes a worker; its standard input and output are the supervisor's to give.
    pub command: Box<dyn Fn() -> io::Result<Command>>,
    /// Where callers wait.
    pub listener: UnixListener,
    /// The PIN of the device, handed to every worker.
    pub pin: Secret,
    /// What every worker goes by, at most [`line::BRIEF_BYTES_MAX`] bytes.
    pub brief: Vec<u8>,
    /// What ends say.
    pub statuses: Statuses,
    /// When it takes a worker for dead, and how soon another one comes.
    pub pace: Pace,
}

/// What becomes of a worker.
#[derive(Debug)]
pub enum Told {
    /// It answers.
    Ready {
        /// Its process.
        process: u32,
    },
    /// It is gone; another one starts after a pause.
    Lost {
        /// Why.
        why: Lost,
        /// How long nobody answers at least.
        pause: Duration,
    },
}

/// Why a worker is gone.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It could not be started.
    #[error("it could not be started: {0}")]
    NotStarted(io::Error),
    /// It ended.
    #[error("it ended: {0}")]
    Ended(ExitStatus),
    /// A call of its device hung, and it ended itself.
    #[error("its device hung, and it ended: {0}")]
    Hung(ExitStatus),
    /// It said nothing for too long and was killed.
    #[error("it said nothing for {} ms and was killed", .0.as_millis())]
    Silent(Duration),
}

/// How a supervisor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it was asked to.
    Stopped,
    /// The last worker ended with this status, after which another could do no better.
    Final(i32),
    /// The last worker, this process, was killed and does not go: its kernel waits for its device. None may start beside it.
    Stuck(u32),
}

/// Keeps a worker running until `stop`, or until one ends for good. To be called inside a tokio runtime, on a thread that stays: the
/// kernel ends a worker with the thread that started it. What the workers' libraries fork becomes this process's to wait for.
///
/// # Errors
/// When the brief is too long.
pub async fn supervise(params: &Params, mut tell: impl FnMut(Told), stop: impl Future<Output = ()>) -> io::Result<End> {
    let brief = line::framed(&params.brief)?;
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "what a worker's library leaves behind will not be waited for here");
    }
    let mut stop = std::pin::pin!(stop);
    let (mut pauses, mut has_answered) = (Pauses::default(), false);
    loop {
        let mut answered_since = None;
        let ran = run_one(params, &brief, stop.as_mut(), |process| {
            answered_since = Some(Instant::now());
            tell(Told::Ready { process });
        });
        let why = match ran.await {
            Ran::Stopped => return Ok(End::Stopped),
            Ran::Stuck(process) => return Ok(End::Stuck(process)),
            Ran::Lost(why) => why,
        };
        has_answered |= answered_since.is_some();
        let status = why.status();
        if let Some(status) = status.filter(|status| params.statuses.is_final(*status, has_answered)) {
            return Ok(End::Final(status));
        }
        let served = answered_since.map(|since| since.elapsed());
        let rest = status.map_or(Duration::ZERO, |status| params.statuses.rest(status));
        let pause = pauses.after(&params.pace, &why, served, rest);
        tell(Told::Lost { why, pause });
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.as_mut() => return Ok(End::Stopped),
        }
    }
}

impl Statuses {
    fn is_final(&self, status: i32, has_answered: bool) -> bool {
        self.always_final.contains(&status) || (!has_answered && self.final_at_start.contains(&status))
    }

    /// How long nobody looks.
    fn rest(&self, status: i32) -> Duration {
        self.resting.iter().find(|(known, _)| *known == status).map_or(Duration::ZERO, |(_, rest)| *rest)
    }
}

impl Lost {
    /// With which it ended by itself.
    fn status(&self) -> Option<i32> {
        match self {
            Self::Ended(status) => status.code(),
            Self::NotStarted(_) | Self::Hung(_) | Self::Silent(_) => None,
        }
    }

    /// Whether it came to a standstill, as it would again with the same device.
    fn is_hang(&self) -> bool {
        matches!(self, Self::Hung(_) | Self::Silent(_))
    }
}
