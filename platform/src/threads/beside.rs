//! A short-lived thread beside a long piece of work.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Calls `beat` every `period` while `work` runs, but no longer than `most`. The thread that does it takes no place of a plan: it
/// sleeps but for the call, and where it is used there is no node that has places.
pub fn beat_beside<T>(period: Duration, most: Duration, beat: impl Fn() + Send, work: impl FnOnce() -> T) -> T {
    let (done, ended) = mpsc::channel::<()>();
    let until = Instant::now() + most;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) && Instant::now() < until {
                beat();
            }
        });
        let outcome = work();
        drop(done);
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beats_until_the_work_is_done() {
        let (beat, beats) = mpsc::channel();
        let work = || (beats.recv().is_ok() && beats.recv().is_ok(), "done");
        let outcome = beat_beside(
            Duration::from_millis(1),
            Duration::from_secs(3_600),
            move || beat.send(()).unwrap_or(()),
            work,
        );
        assert_eq!(outcome, (true, "done"));
    }

    #[test]
    fn it_stops_beating_at_its_bound_and_the_work_goes_on() {
        let (beat, beats) = mpsc::channel();
        let work = || beats.iter().count();
        let counted = beat_beside(Duration::from_millis(1), Duration::ZERO, move || beat.send(()).unwrap_or(()), work);
        assert_eq!(counted, 0, "the thread has ended, and the work with it");
    }
}
