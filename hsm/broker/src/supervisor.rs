//! Watches a worker and starts another when it ends or falls silent.
//!
//! ```text
//! start ─ PIN ─▶ [ beats ]* ─┬─ ended, status of `final_statuses` ─▶ End::Final, never repeated
//!                            ├─ ended ──┐
//!                            ├─ silent ─┴─ killed, waited for ─ pause ─▶ start
//!                            └─ asked to stop ─ end of the line ─ waited for ─▶ End::Stopped
//! ```
//!
//! The first pause is none: a worker that has served for a while is replaced at once. Workers that die young come back ever more
//! rarely, because each start is a login.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bixi_platform::secret::Secret;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::line::{self, READY};

/// How often a worker beats.
pub const BEAT_PERIOD: Duration = Duration::from_millis(100);
/// How long a worker that was asked to may take to end.
const STOP_MAX: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What is asked of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long it may be silent before its first beat: the program is loaded, its files are read.
    pub first_beat: Duration,
    /// How long it may be silent afterwards.
    pub silence: Duration,
    /// Having answered for so long it is replaced without a pause.
    pub proven: Duration,
}

impl Default for Pace {
    /// Fifty beats of silence: a busy machine delays some, and a worker that is replaced has to log in.
    fn default() -> Self {
        let (first_beat, silence) = (Duration::from_secs(30), BEAT_PERIOD * 50);
        Self { first_beat, silence, proven: Duration::from_secs(1) }
    }
}

/// What a supervisor keeps from worker to worker.
pub struct Params {
    /// The command that becomes a worker; its standard input and output are the supervisor's to give.
    pub command: Box<dyn Fn() -> io::Result<Command>>,
    /// Where callers wait.
    pub listener: UnixListener,
    /// The PIN of the device, handed to every worker.
    pub pin: Secret,
    /// Exit statuses after which another worker could do no better.
    pub final_statuses: Vec<i32>,
    /// When it takes a worker for dead.
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
}

/// Keeps a worker running until `stop`, or until one ends for good. To be called inside a tokio runtime, on a thread that stays: the
/// kernel ends a worker with the thread that started it.
pub async fn supervise(params: &Params, mut tell: impl FnMut(Told), stop: impl Future<Output = ()>) -> End {
    let mut stop = std::pin::pin!(stop);
    let mut young_deaths = 0;
    loop {
        let mut answered_since = None;
        let ran = run_one(params, stop.as_mut(), |process| {
            answered_since = Some(Instant::now());
            tell(Told::Ready { process });
        });
        let why = match ran.await {
            Ran::Stopped => return End::Stopped,
            Ran::Lost(Lost::Ended(status))
                if status.code().is_some_and(|code| params.final_statuses.contains(&code)) =>
            {
                return End::Final(status.code().expect("asked above"));
            }
            Ran::Lost(why) => why,
        };
        let is_proven = answered_since.is_some_and(|since| since.elapsed() >= params.pace.proven);
        young_deaths = if is_proven { 0 } else { young_deaths + 1 };
        let pause = pause_after(young_deaths);
        tell(Told::Lost { why, pause });
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.as_mut() => return End::Stopped,
        }
    }
}

/// No pause after a worker that had proven itself, then ever longer ones.
fn pause_after(young_deaths: u32) -> Duration {
    match young_deaths {
        0 => Duration::ZERO,
        count => PAUSE_MIN.saturating_mul(1 << (count - 1).min(16)).min(PAUSE_MAX),
    }
}

enum Ran {
    Stopped,
    Lost(Lost),
}

/// One worker from its start to its end; it has ended when this returns.
async fn run_one(params: &Params, stop: impl Future<Output = ()>, mut ready: impl FnMut(u32)) -> Ran {
    let mut worker = match Worker::start(params) {
        Ok(worker) => worker,
        Err(error) => return Ran::Lost(Lost::NotStarted(error)),
    };
    let process = worker.child.id().unwrap_or(0);
    tokio::select! {
        status = worker.child.wait() => Ran::Lost(status.map_or_else(Lost::NotStarted, Lost::Ended)),
        silent = silence(&mut worker.line, params.pace, || ready(process)) => {
            worker.kill().await;
            Ran::Lost(Lost::Silent(silent))
        }
        () = stop => {
            worker.stop().await;
            Ran::Stopped
        }
    }
}

struct Worker {
    child: Child,
    line: tokio::net::UnixStream,
}

impl Worker {
    fn start(params: &Params) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = (params.command)()?;
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::from(OwnedFd::from(params.listener.try_clone()?)));
        // In the socket's buffer before the worker reads: nobody waits.
        line::hand_over(&ours, &params.pin)?;
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn()?;
        ours.set_nonblocking(true)?;
        Ok(Self { child, line: tokio::net::UnixStream::from_std(ours)? })
    }

    /// Ends at once and for certain: the next worker must not meet this one.
    async fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.start_kill();
        while let Err(error) = timeout(STOP_MAX, self.child.wait()).await {
            tracing::error!(%error, "a killed worker does not end: the kernel waits for its device");
        }
    }

    async fn stop(mut self) {
        drop(self.line);
        if timeout(STOP_MAX, self.child.wait()).await.is_err() {
            tracing::warn!("the worker did not end in order within {} s and is killed", STOP_MAX.as_secs());
            let _ = self.child.kill().await;
        }
    }
}

/// Ends when a worker has said nothing for too long; how long. One that closes the line is about to end, and has the same time for it.
async fn silence(line: &mut tokio::net::UnixStream, pace: Pace, mut ready: impl FnMut()) -> Duration {
    let (mut said, mut patience) = ([0; 64], pace.first_beat);
    loop {
        match timeout(patience, line.read(&mut said)).await {
            Err(_) => return patience,
            Ok(Ok(count)) if count > 0 => {
                patience = pace.silence;
                said[..count].iter().filter(|byte| **byte == READY).for_each(|_| ready());
            }
            Ok(_) => {
                sleep(pace.silence).await;
                return pace.silence;
            }
        }
    }
}
