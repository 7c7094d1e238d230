//! Four validators, each of whose keys a broker holds: the worker of one is killed or stopped, all workers are killed, the supervisor of
//! one is killed, its token's directory is moved away. No node is started again for it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::field::Field;

const UNWELL: usize = 3;
/// How often a worker is killed, and that of all.
const KILLS: usize = 5;

/// Nobody has to mend this: times count from the signal. The others go on by so many blocks meanwhile.
fn break_worker(field: &mut Field<'_>, signal: Signal, blocks: i64) {
    let (before, others) = (field.broker(UNWELL).workers().len(), field.others(UNWELL));
    field.broker(UNWELL).signal_worker(signal);
    field.mend(&others);
    field.recover(&others);
    field.grow(&others, blocks);
    field.broker(UNWELL).wait_for_another(before);
    field.return_of(UNWELL);
    field.signs_again(UNWELL);
}

pub(super) fn worker_killed(field: &mut Field<'_>) {
    for _ in 0..KILLS {
        break_worker(field, Signal::KILL, 1);
    }
    field.grow(&field.all(), 2);
}

/// As a library that holds the whole process: its supervisor finds out by its silence.
pub(super) fn worker_stopped(field: &mut Field<'_>) {
    break_worker(field, Signal::STOP, 3);
    field.grow(&field.all(), 2);
}

/// Nobody has a quorum until the next workers are there.
pub(super) fn workers_killed(field: &mut Field<'_>) {
    for _ in 0..KILLS {
        let all = field.all();
        let before: Vec<usize> = all.iter().map(|node| field.broker(*node).workers().len()).collect();
        all.iter().for_each(|node| field.broker(*node).signal_worker(Signal::KILL));
        field.mend(&all);
        for (node, before) in all.iter().zip(before) {
            field.broker(*node).wait_for_another(before);
        }
        field.recover(&all);
        field.return_of(UNWELL);
        all.into_iter().for_each(|node| field.signs_again(node));
    }
    field.grow(&field.all(), 2);
}

/// The worker goes with it; another broker takes socket, guard and trail over.
pub(super) fn supervisor_killed(field: &mut Field<'_>) {
    let others = field.others(UNWELL);
    field.kill_broker(UNWELL);
    field.grow(&others, 10);
    field.says(UNWELL, &["not signed"]);
    field.mend(&others);
    field.start_broker(UNWELL);
    field.recover(&others);
    field.return_of(UNWELL);
    field.votes_again(UNWELL);
    field.signs_again(UNWELL);
}

/// The token is away as a whole, or back as a whole.
struct Away {
    token: PathBuf,
    aside: PathBuf,
}

impl Away {
    fn take(field: &Field<'_>) -> Self {
        let (token, aside) = (field.home(UNWELL).join("token"), field.place().join("token-away"));
        rename(&token, &aside);
        Self { token, aside }
    }

    fn put_back(self) {
        rename(&self.aside, &self.token);
    }
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
}

/// The worker stays and logs in again when the token is back, which costs no try of the PIN.
pub(super) fn token_away(field: &mut Field<'_>) {
    let (away, before) = (Away::take(field), field.broker(UNWELL).workers().len());
    lost_and_found(field, away);
    assert_eq!(field.broker(UNWELL).workers().len(), before, "a token that is away costs no worker");
}

/// Workers come and go without a token; none of them sends the PIN.
pub(super) fn token_away_killed(field: &mut Field<'_>) {
    let away = Away::take(field);
    field.broker(UNWELL).signal_worker(Signal::KILL);
    lost_and_found(field, away);
}

fn lost_and_found(field: &mut Field<'_>, away: Away) {
    let others = field.others(UNWELL);
    field.grow(&others, 10);
    field.says(UNWELL, &["not signed"]);
    field.mend(&others);
    away.put_back();
    field.recover(&others);
    field.return_of(UNWELL);
    field.votes_again(UNWELL);
    field.signs_again(UNWELL);
    let noted = field.home(UNWELL).join("data/pin-state");
    assert!(!noted.exists(), "a PIN without a verdict is noted in {}", noted.display());
}
