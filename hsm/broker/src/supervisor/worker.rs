//! One worker, from its start until it and all that it forked are gone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Lost, Pace, Params};
use crate::line::{self, HUNG, JUDGING, READY};

/// Between two looks at a group of processes that was killed.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

pub(super) enum Ran {
    Stopped,
    Lost(Lost),
    /// Killed, and still there.
    Stuck(u32),
}

/// What ends a worker's watch.
enum Event {
    Ended(io::Result<ExitStatus>),
    Silent(Duration),
    Stop,
}

/// One worker from its start to its end; it has ended when this returns, unless it is stuck.
pub(super) async fn run_one(
    params: &Params,
    brief: &[u8],
    stop: impl Future<Output = ()>,
    mut ready: impl FnMut(u32),
) -> Ran {
    let mut worker = match Worker::start(params) {
        Ok(worker) => worker,
        Err(error) => return Ran::Lost(Lost::NotStarted(error)),
    };
    let process = worker.process;
    let mut heard = Heard::default();
    let event = tokio::select! {
        status = worker.child.wait() => Event::Ended(status),
        silent = silence(&mut worker.line, brief, params.pace, &mut heard, || ready(process)) => Event::Silent(silent),
        () = stop => Event::Stop,
    };
    let ran = match event {
        Event::Stop => {
            worker.stop(params.pace.end).await;
            Ran::Stopped
        }
        Event::Silent(silent) => Ran::Lost(Lost::Silent(silent)),
        Event::Ended(status) => {
            worker.hear_the_rest(&mut heard, || ready(process));
            Ran::Lost(match status {
                Ok(status) if heard.hung => Lost::Hung(status),
                Ok(status) => Lost::Ended(status),
                Err(error) => Lost::NotStarted(error),
            })
        }
    };
    if worker.is_cleared(params.pace.end).await { ran } else { Ran::Stuck(process) }
}

/// What a worker has said.
#[derive(Default)]
struct Heard {
    hung: bool,
    /// The last that it said is that its device judges a PIN.
    judging: bool,
}

impl Heard {
    fn hear(&mut self, said: &[u8], ready: &mut impl FnMut()) {
        for byte in said {
            match *byte {
                READY => ready(),
                HUNG => self.hung = true,
                byte => self.judging = byte == JUDGING,
            }
        }
    }
}

struct Worker {
    child: Child,
    /// The child, and the group of all that it forks.
    process: u32,
    line: tokio::net::UnixStream,
}

impl Worker {
    fn start(params: &Params) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = (params.command)()?;
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::from(OwnedFd::from(params.listener.try_clone()?)));
        // What its libraries fork ends with it. A signal from the terminal reaches the supervisor only, which ends it in order.
        command.process_group(0);
        // In the socket's buffer before the worker reads: nobody waits.
        line::hand_over(&ours, &params.pin)?;
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn()?;
        ours.set_nonblocking(true)?;
        let process = child.id().expect("it was not waited for");
        Ok(Self { child, process, line: tokio::net::UnixStream::from_std(ours)? })
    }

    /// What it said last, when it has ended.
    fn hear_the_rest(&self, heard: &mut Heard, mut ready: impl FnMut()) {
        let mut said = [0; 64];
        while let Ok(count @ 1..) = self.line.try_read(&mut said) {
            heard.hear(&said[..count], &mut ready);
        }
    }

    /// Asks it to end, and waits for as long as it may take; a verdict on a PIN is waited for besides.
    async fn stop(&mut self, end: Duration) {
        // An error says that it has ended already.
        let _ = self.line.shutdown().await;
        tokio::select! {
            _ = self.child.wait() => {}
            () = end_of_patience(&mut self.line, end) => {
                tracing::warn!("the worker did not end in order within {} ms and is killed", end.as_millis());
            }
        }
    }

    /// Kills whatever is left of it and what it forked; whether all of that is gone in time.
    async fn is_cleared(&mut self, patience: Duration) -> bool {
        let Some(group) = Pid::from_raw(self.process as i32) else { return true };
        // An error says that nothing is left.
        let _ = kill_process_group(group, Signal::KILL);
        is_done_within(patience, async {
            let _ = self.child.wait().await;
            while is_there(group) {
                sleep(LOOK_PERIOD).await;
            }
        })
        .await
    }
}

/// Ends `end` after whoever is at the other end was last heard to judge a PIN, or after now.
async fn end_of_patience(line: &mut (impl AsyncRead + Unpin), end: Duration) {
    let (mut said, mut heard, mut is_open) = ([0; 64], Heard::default(), true);
    let mut until = Instant::now() + end;
    loop {
        tokio::select! {
            () = sleep_until(until) => return,
            read = line.read(&mut said), if is_open => match read {
                Ok(count @ 1..) => {
                    heard.hear(&said[..count], &mut || {});
                    if heard.judging {
                        until = Instant::now() + end;
                    }
                }
                _ => is_open = false,
            },
        }
    }
}

/// Whether something ends in time: a process whose kernel waits for a device does not take even this signal.
async fn is_done_within(patience: Duration, work: impl Future<Output = ()>) -> bool {
    timeout(patience, work).await.is_ok()
}

/// Whether a process of the group is left, once those are waited for whose parents have ended.
fn is_there(group: Pid) -> bool {
    while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
    test_kill_process_group(group) != Err(Errno::SRCH)
}

/// Gives a worker its brief, and ends when it has said nothing for too long; how long. One that closes the line is about to end, and has
/// the same time for it.
async fn silence(
    line: &mut tokio::net::UnixStream,
    brief: &[u8],
    pace: Pace,
    heard: &mut Heard,
    mut ready: impl FnMut(),
) -> Duration {
    match timeout(pace.first_beat, line.write_all(brief)).await {
        // One that has ended takes nothing: that it ended is noticed beside this.
        Ok(_) => {}
        Err(_) => return pace.first_beat,
    }
    let (mut said, mut patience) = ([0; 64], pace.first_beat);
    loop {
        match timeout(patience, line.read(&mut said)).await {
            Err(_) => return patience,
            Ok(Ok(count)) if count > 0 => {
                patience = pace.silence;
                heard.hear(&said[..count], &mut ready);
            }
            Ok(_) => {
                sleep(pace.silence).await;
                return pace.silence;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_not_waited_for_for_ever() {
        let waiting = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        waiting.block_on(async {
            assert!(!is_done_within(Duration::from_millis(20), std::future::pending()).await);
            assert!(is_done_within(Duration::from_secs(60), async {}).await);
        });
    }

    /// Killed meanwhile, the attempt would count as one without a verdict.
    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_to_end_has_time_until_its_device_has_judged_the_pin() {
        const END: Duration = Duration::from_secs(10);
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let began = Instant::now();
        let beats = async {
            for said in [b"P", b"P", b"P", b"P", b".", b"."] {
                theirs.write_all(said).await.unwrap();
                sleep(END / 2).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = beats => {}
            () = end_of_patience(&mut ours, END) => {}
        }
        assert_eq!(began.elapsed().as_millis(), (END * 5 / 2).as_millis());
        drop(theirs);
        let began = Instant::now();
        end_of_patience(&mut ours, END).await;
        assert_eq!(began.elapsed().as_millis(), END.as_millis());
    }

    #[test]
    fn only_the_last_word_says_whether_a_pin_is_judged() {
        let (mut heard, mut count) = (Heard::default(), 0);
        for (said, judging) in [(&b"..P"[..], true), (b"R", true), (b"PP.", false), (b"", false)] {
            heard.hear(said, &mut || count += 1);
            assert_eq!((heard.judging, heard.hung), (judging, false), "{said:?}");
        }
        heard.hear(b"H", &mut || {});
        assert_eq!((count, heard.hung), (1, true));
    }
}
