//! A running node reads its own files slowly, so that a disk that fails is told of while other copies are there.
//!
//! Every page and frame of every sealed file, one file after the other, at `storage.scrub_mb_per_second`; then a rest of `storage.scrub_days`,
//! unless an operator asks for the next pass (`bixi db scrub`). Damage does not stop the node: what it needs it refuses by itself when it reads
//! it. It is logged as an error, counted, and said by `/healthz` and `bixi status` until it is found no more.
//!
//! Files are written, exchanged and removed meanwhile. So what looks damaged, or cannot be read, is looked at once more, a moment later: only
//! what is damaged at the same place of the same file is damage. From then on it is looked at every hour: what a compaction removed, or
//! somebody put right, is said no more.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bixi_hsm::exchange::{Left, ScrubProgress};
use bixi_platform::io::{Metadata, Storage};
use bixi_platform::random::OsRandom;
use bixi_sealed::KeyRing;
use bixi_sealed::scrub::{Damage, Scrubbed};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use parking_lot::Mutex;
use rustix::io::Errno;

use crate::lifecycle::verification::{Listing, Pace, expected_of, list, look};

/// How long after the first look a file that seemed damaged is looked at again.
const SECOND_LOOK: Duration = Duration::from_secs(5);
/// How often files that were damaged are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// A table younger than this without its last page may be under way.
const TABLE_UNDER_WAY: Duration = Duration::from_secs(600);
/// Places of one file told in the log.
const TOLD_MAX: usize = 8;
/// Damaged files that an answer names.
const ANSWERED_MAX: usize = 40;

/// What the reading came to, for metrics, health and whoever asks.
pub(crate) struct Scrubbing {
    /// Bytes read since the start.
    pub bytes: AtomicU64,
    /// Passes done since the start.
    pub passes: AtomicU64,
    faults: Mutex<Faults>,
    pass: Mutex<Pass>,
    /// An operator wants the next pass now.
    ask: Sender<()>,
    asked: Receiver<()>,
}

/// How far a pass is.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    /// Whether anybody reads at all.
    is_wanted: bool,
    is_under_way: bool,
    bytes: u64,
    bytes_total: u64,
}

/// What is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Faults {
    files: BTreeMap<PathBuf, Fault>,
    /// Something could not be looked into.
    unlisted: Option<String>,
    /// Nobody reads any more.
    ended: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    damaged: u64,
    words: String,
}

/// What two looks at a file came to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Sound,
    Damaged(Fault),
    /// It changed meanwhile, or nobody could tell: it is as it was said to be.
    Unknown,
}

impl Default for Scrubbing {
    fn default() -> Self {
        let (ask, asked) = bounded(1);
        let (faults, pass) = Default::default();
        Self { bytes: AtomicU64::new(0), passes: AtomicU64::new(0), faults, pass, ask, asked }
    }
}

impl Scrubbing {
    /// `None` while nothing is found.
    pub(crate) fn fault(&self) -> Option<String> {
        let faults = self.faults.lock();
        let file = faults.files.values().next().map(|fault| &fault.words);
        faults.ended.as_ref().or(file).or(faults.unlisted.as_ref()).cloned()
    }

    /// Damaged places that were there at the last look.
    pub(crate) fn damaged(&self) -> u64 {
        self.faults.lock().files.values().map(|fault| fault.damaged).sum()
    }

    /// Has the next pass begin at once, if one is not under way.
    pub(crate) fn begin(&self) {
        // One that was asked for and has not begun is the one that is wanted.
        if !self.pass.lock().is_under_way {
            let _ = self.ask.try_send(());
        }
    }

    /// How far it is, and what was found.
    pub(crate) fn progress(&self) -> ScrubProgress {
        let Pass { is_wanted, is_under_way, bytes, bytes_total } = *self.pass.lock();
        let faults = self.faults.lock();
        let named = faults.files.iter().take(ANSWERED_MAX);
        let files = named.map(|(path, fault)| Left { file: path.display().to_string(), reason: fault.words.clone() });
        let others = [&faults.unlisted, &faults.ended].into_iter().flatten();
        ScrubProgress {
            is_wanted,
            is_under_way: is_under_way || !self.asked.is_empty(),
            passes: self.passes.load(Ordering::Relaxed),
            bytes,
            bytes_total,
            damaged: faults.files.len() as u64,
            found: files.collect(),
            besides: others.cloned().collect(),
        }
    }

    fn judged(&self, path: &Path, verdict: Verdict) {
        let files = &mut self.faults.lock().files;
        match verdict {
            Verdict::Sound => _ = files.remove(path),
            Verdict::Damaged(fault) => _ = files.insert(path.to_owned(), fault),
            Verdict::Unknown => {}
        }
    }
}

/// What panics is said: else a node whose files nobody reads looks like one whose files are sound.
struct Ended<'a>(&'a Scrubbing);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.faults.lock().ended = Some(
            "reading the files for damage ended by a fault of the program, see the node's log; restart the node"
                .to_owned(),
        );
    }
}

/// What is read, and how fast.
pub(crate) struct Scrubber {
    pub storage: Arc<dyn Storage>,
    pub ring: KeyRing,
    /// The data directory.
    pub data: PathBuf,
    pub bytes_per_second: u64,
    /// Between two passes.
    pub rest: Duration,
    pub second_look: Duration,
    pub look_again: Duration,
    pub state: Arc<Scrubbing>,
}

impl Scrubber {
    /// As the settings have it.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        ring: KeyRing,
        data: PathBuf,
        storage_settings: &bixi_config::Storage,
        state: Arc<Scrubbing>,
    ) -> Option<Self> {
        let bytes_per_second = Some(storage_settings.scrub_mb_per_second << 20).filter(|rate| *rate > 0)?;
        state.pass.lock().is_wanted = true;
        let rest = Duration::from_secs(storage_settings.scrub_days * 86_400);
        let (second_look, look_again) = (SECOND_LOOK, LOOK_AGAIN);
        Some(Self { storage, ring, data, bytes_per_second, rest, second_look, look_again, state })
    }

    /// Pass after pass, until the node stops.
    pub(crate) fn run(&self, stopped: &Receiver<()>) {
        let ended = Ended(&self.state);
        while self.pass(stopped).is_continue() && self.rests(stopped).is_continue() {}
        std::mem::forget(ended);
    }

    /// Until the next pass, or until somebody asks for it.
    fn rests(&self, stopped: &Receiver<()>) -> ControlFlow<()> {
        let began = Instant::now();
        loop {
            let left = self.rest.saturating_sub(began.elapsed());
            select! {
                recv(stopped) -> _ => return ControlFlow::Break(()),
                recv(self.state.asked) -> _ => return ControlFlow::Continue(()),
                default(left.min(self.look_again)) => {}
            }
            if left <= self.look_again {
                return ControlFlow::Continue(());
            }
            self.look_again(stopped)?;
        }
    }

    /// Reads every file once, from another one on each time, so that one of a node that is often restarted has its turn, too; breaks when
    /// the node stops.
    pub(crate) fn pass(&self, stopped: &Receiver<()>) -> ControlFlow<()> {
        // Of what is asked for from here on it is the answer.
        let _ = self.state.asked.try_recv();
        let mut files = self.list();
        let start = OsRandom.array().map_or(0, u64::from_le_bytes) % files.len().max(1) as u64;
        files.rotate_left(start as usize);
        self.state.faults.lock().files.retain(|path, _| files.iter().any(|(listed, _)| listed == path));
        let bytes_total = files.iter().map(|(_, bytes)| bytes).sum();
        *self.state.pass.lock() = Pass { is_wanted: true, is_under_way: true, bytes: 0, bytes_total };
        let (pace, mut looked) = (Pace::new(Some(self.bytes_per_second)), Instant::now());
        for (path, bytes) in &files {
            self.judge(path, &pace, stopped);
            self.state.pass.lock().bytes += bytes;
            self.waits(stopped, Duration::ZERO)?;
            if looked.elapsed() >= self.look_again {
                self.look_again(stopped)?;
                looked = Instant::now();
            }
        }
        self.state.pass.lock().is_under_way = false;
        self.state.passes.fetch_add(1, Ordering::Relaxed);
        tracing::info!(files = files.len(), damaged = self.state.damaged(), "every file was read through");
        ControlFlow::Continue(())
    }

    /// The files; what cannot be looked into is told.
    fn list(&self) -> Vec<(PathBuf, u64)> {
        let Listing { files, unlisted } = list(self.storage.as_ref(), &self.data);
        let fault = unlisted.into_iter().find(|(path, error)| !(is_short(error) || self.is_others(path, error)));
        self.state.faults.lock().unlisted = fault.map(|(path, error)| {
            tracing::error!(path = %path.display(), %error, "this cannot be looked into; what is in it is not read through");
            format!("{} cannot be looked into: {error}", path.display())
        });
        files
    }

    /// Looks again at what was damaged.
    fn look_again(&self, stopped: &Receiver<()>) -> ControlFlow<()> {
        self.list();
        let paths: Vec<PathBuf> = self.state.faults.lock().files.keys().cloned().collect();
        let pace = Pace::new(Some(self.bytes_per_second));
        for path in paths {
            self.judge(&path, &pace, stopped);
            self.waits(stopped, Duration::ZERO)?;
        }
        ControlFlow::Continue(())
    }

    /// Says what is wrong with a file.
    fn judge(&self, path: &Path, pace: &Pace, stopped: &Receiver<()>) {
        let verdict = self.read(path, pace, stopped).unwrap_or_else(|error| {
            tracing::error!(file = %path.display(), %error, "a file cannot be read; see `bixi db verify`");
            Verdict::Damaged(Fault { damaged: 1, words: format!("{} cannot be read: {error}", path.display()) })
        });
        self.state.judged(path, verdict);
    }

    fn tell(&self, path: &Path, found: &Scrubbed) -> String {
        for Damage { place, offset, reason } in found.damage.iter().take(TOLD_MAX) {
            tracing::error!(
                file = %path.display(), %place, offset, reason, damaged = found.damaged,
                "a sealed file is damaged: stop this node when others can do without it, and see `bixi db verify`"
            );
        }
        let place = found
            .damage
            .first()
            .map_or(String::new(), |damage| format!(", {} at byte {}", damage.place, damage.offset));
        format!("{}{place} is damaged; `bixi db verify` says what to do", path.display())
    }

    /// # Errors
    /// The system's, twice.
    fn read(&self, path: &Path, pace: &Pace, stopped: &Receiver<()>) -> io::Result<Verdict> {
        let first = match self.look(path, pace, stopped) {
            Ok(None) => return Ok(Verdict::Sound),
            Ok(Some((_, found))) if found.is_whole() => return Ok(Verdict::Sound),
            Ok(Some((before, found))) if is_under_way(&before, &found) => return Ok(Verdict::Unknown),
            Ok(Some(seen)) => Ok(seen),
            Err(error) if error.kind() == ErrorKind::NotFound || self.is_others(path, &error) => {
                return Ok(Verdict::Sound);
            }
            Err(error) => Err(error),
        };
        if self.waits(stopped, self.second_look).is_break() {
            return Ok(Verdict::Unknown);
        }
        match (first, self.look(path, pace, stopped)) {
            (Ok((before, found)), Ok(Some((after, again)))) if is_same(&before, &found, &after, &again) => {
                Ok(Verdict::Damaged(Fault { damaged: again.damaged, words: self.tell(path, &again) }))
            }
            (_, Ok(Some((_, again)))) if again.is_whole() => Ok(Verdict::Sound),
            (_, Ok(None)) => Ok(Verdict::Sound),
            (_, Err(error)) if error.kind() == ErrorKind::NotFound => Ok(Verdict::Sound),
            // Of a process or a system that is short of something nothing is said of the file.
            (Err(_), Err(error)) if !is_short(&error) => Err(error),
            _ => Ok(Verdict::Unknown),
        }
    }

    /// Whether it may be kept from this user, as a broker's guard and audit trail are.
    fn is_others(&self, path: &Path, error: &io::Error) -> bool {
        let below = path.strip_prefix(&self.data).unwrap_or(path);
        let is_own = below.starts_with("ordering") || below.to_string_lossy().starts_with("ledger");
        error.kind() == ErrorKind::PermissionDenied && !is_own
    }

    fn look(&self, path: &Path, pace: &Pace, stopped: &Receiver<()>) -> io::Result<Option<(Metadata, Scrubbed)>> {
        let before = self.storage.metadata(path)?;
        let kept = expected_of(path.strip_prefix(&self.data).unwrap_or(path));
        let mut reads = |bytes| {
            self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.waits(stopped, pace.did(bytes))
        };
        let found = look(self.storage.as_ref(), &self.ring, kept, path, &mut reads)?;
        Ok(found.filter(|found| !found.is_cut_short).map(|found| (before, found)))
    }

    /// Waits, unless the node stops.
    fn waits(&self, stopped: &Receiver<()>, duration: Duration) -> ControlFlow<()> {
        match stopped.recv_timeout(duration) {
            Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
        }
    }
}

/// A table that is young and not finished may be one that is being made.
fn is_under_way(before: &Metadata, found: &Scrubbed) -> bool {
    found.is_unfinished && before.modified + TABLE_UNDER_WAY > SystemTime::now()
}

/// Whether two looks saw the same damage: a log grows meanwhile, and nothing is ever written where something was.
fn is_same(before: &Metadata, found: &Scrubbed, after: &Metadata, again: &Scrubbed) -> bool {
    let has =
        |place: &Damage| again.damage.iter().any(|other| (other.place, other.offset) == (place.place, place.offset));
    before.inode == after.inode && found.damage.iter().any(has)
}

/// Too many open files, or too little memory.
fn is_short(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| short.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests;
