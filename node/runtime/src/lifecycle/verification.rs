//! Everything on disk, read and computed again: `bixi db verify`.
//!
//! ```text
//! files: every page and frame ─▶ memory: guard and ordering log against the ledger
//!                             ─▶ chain: every height, its roots and signatures ─▶ index ─▶ state: the sum of every row
//! ```
//!
//! What is damaged is told, all of it, and the reading goes on behind it. Nothing is written, so that a disk that fails, or was tampered with,
//! is left as evidence. What an operator should do is said of each place.
//!
//! Who the validators of a height were is believed as from a stranger (`snapshot::trust`): each header follows the one before, more than two
//! thirds of the validators that it lists signed it, and where they changed, more than a third of those before signed as well; the first
//! header is that of the configured genesis. Signatures of transactions are not checked again: a quorum certified their bytes.

mod chain;
mod files;
mod index;
mod listing;
mod memory;
mod report;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_ledger::engine::{CipherFsError, PlainStage, plain_stage};
use bixi_ledger::snapshot::Places;
use bixi_ledger::verification::Subject;
use bixi_platform::io::Storage;
use bixi_platform::placement::Role;
use bixi_platform::threads::Spawner;
use bixi_sealed::KeyRing;
use bixi_types::genesis::Genesis;
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;

use super::desk::{hold_stopped, ring_of_stopped, storage_of_stopped};
use super::sealing::plain_stage_of;
use crate::launch::{Failure, LaunchError, ledger_params, step};
use crate::placement;
use crate::settings::Settings;

pub(crate) use files::{expected_of, look};
pub(crate) use listing::{Listing, list};
pub use report::{Finding, Part, Report};

/// Messages of the threads that wait for the one that counts.
const MESSAGES: usize = 1_024;

/// What is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// Only whether every file authenticates, not what is in them.
    pub files_only: bool,
    /// Threads that read; one for each core when not named.
    pub threads: Option<usize>,
    /// Most bytes of files read in a second.
    pub bytes_per_second: Option<u64>,
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Bytes of sealed files.
    Files,
    /// Heights.
    Chain,
    /// Entries of the index.
    Index,
    /// Rows of the state; their number is not known beforehand.
    State,
}

/// Is told how far it is: how much is done, and of how much where that is known.
pub type Tell<'a> = &'a mut dyn FnMut(Stage, u64, Option<u64>);

/// Reads everything of a stopped node.
///
/// # Errors
/// Names the step without which nothing can be read: a running node, a PIN that is refused, a vault that does not open. Damage is no error:
/// the report has it.
pub fn verify(settings: &Settings, wish: Wish, tell: Tell<'_>) -> Result<Report, LaunchError> {
    let storage = storage_of_stopped(settings)?;
    step("ledger", || expect_all_sealed(settings, storage.as_ref()))?;
    let ring = ring_of_stopped(settings, &storage)?;
    let ground = Ground::of(settings, storage, ring)?;
    step("verify", || ground.verify(wish, tell))
}

/// Refuses a ledger in plaintext, or one that is half sealed: every file of it would be told to be damaged. What is wrong otherwise is for the
/// report to tell.
fn expect_all_sealed(settings: &Settings, storage: &dyn Storage) -> Result<(), Failure> {
    let refusal = match plain_stage_of(settings, storage) {
        Ok(stage @ (PlainStage::Plain | PlainStage::Begun)) => stage.refusal(&settings.data("ledger")),
        Err(mixture @ CipherFsError::Mixture { .. }) => Some(mixture),
        _ => None,
    };
    refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
}

/// What is read, and by what.
pub(crate) struct Ground {
    pub storage: Arc<dyn Storage>,
    pub ring: KeyRing,
    /// The data directory.
    pub data: PathBuf,
    pub genesis: Genesis,
    pub ledger: bixi_ledger::Params,
    pub spawner: Spawner,
}

impl Ground {
    pub(super) fn of(settings: &Settings, storage: Arc<dyn Storage>, ring: KeyRing) -> Result<Self, LaunchError> {
        Ok(Self {
            ledger: ledger_params(settings, Arc::clone(&storage), ring.clone()),
            spawner: Spawner::new(step("placement", || placement::plan(settings))?),
            data: settings.data(""),
            genesis: settings.genesis.clone(),
            storage,
            ring,
        })
    }

    pub(crate) fn verify(&self, wish: Wish, tell: Tell<'_>) -> Result<Report, Failure> {
        let _held = hold_stopped(self.storage.as_ref(), &self.data)?;
        self.verify_held(wish, tell)
    }

    /// The same for who keeps the node from starting already.
    fn verify_held(&self, wish: Wish, tell: Tell<'_>) -> Result<Report, Failure> {
        let threads = wish.threads.unwrap_or_else(|| self.spawner.plan().cpus_of(Role::Other).len()).max(1);
        let pace = Arc::new(Pace::new(wish.bytes_per_second));
        let mut report = Report::default();
        let mut unfinished = Vec::new();
        let read = self.read_files(threads, &pace, &mut report, &mut unfinished, tell);
        report.expect_done(Part::File, read);
        let found_before = report.found;
        report.is_unverified =
            matches!(plain_stage(self.storage.as_ref(), &self.ledger.dir), Ok(PlainStage::Unverified));
        let dir = self.ledger_dir(&mut report);
        let subject = dir.as_deref().and_then(|dir| self.open_ledger(dir, &mut report));
        // One that does not open was told.
        let is_known = subject.is_some() || report.found == found_before;
        report.settle_unfinished(unfinished, dir.as_deref(), subject.as_deref());
        if wish.files_only {
            return Ok(report);
        }
        if is_known {
            self.check_memory(subject.as_deref(), &mut report);
        }
        if let Some(subject) = subject {
            report.head = Some(subject.head());
            let indexed = self.check_chain(&subject, threads, &mut report, tell);
            if let Some(indexed) = report.expect_done(Part::Chain, indexed) {
                let checked = self.check_index(&subject, indexed, threads, &mut report, tell);
                report.expect_done(Part::Index, checked);
            }
            let checked = self.check_state(&subject, threads, &mut report, tell);
            report.expect_done(Part::State, checked);
        }
        Ok(report)
    }

    /// What a ledger is held against that was sealed from plaintext, by who keeps the node from starting.
    pub(crate) fn verify_sealed(&self, wish: Wish, tell: Tell<'_>) -> Result<Report, Failure> {
        let mut report = self.verify_held(wish, tell)?;
        report.expect_no_start();
        // No start fetches anything below the mark.
        if std::mem::take(&mut report.is_fetched_anew) {
            let reason = "it ends before the heights that this node has ordered and signed".to_owned();
            report.find(Finding::of_ledger(Part::Ledger, self.ledger.dir.display().to_string(), reason));
        }
        if report.head.is_none() && report.is_whole() {
            // A start would begin a chain among whatever rows there are.
            let place = self.ledger.dir.display().to_string();
            report.find(Finding::of_ledger(Part::Ledger, place, "no chain was begun in this database".to_owned()));
        }
        Ok(report)
    }

    /// Where the ledger is that the next start goes on with, if there is one.
    fn ledger_dir(&self, report: &mut Report) -> Option<PathBuf> {
        let Places { ledger, joined, .. } = Places::around(&self.ledger.dir);
        let look = || -> io::Result<(bool, bool)> { Ok((self.is_begun(&ledger)?, self.storage.exists(&joined)?)) };
        match look() {
            Ok((true, is_waiting)) => {
                report.waiting = is_waiting.then_some(joined);
                Some(ledger)
            }
            // A start was cut off between two renames.
            Ok((false, true)) => Some(joined),
            Ok((false, false)) => None,
            Err(error) => {
                let place = ledger.display().to_string();
                report.find(Finding::of_ledger(Part::Ledger, place, format!("it cannot be looked into: {error}")));
                None
            }
        }
    }

    /// Whether there is a database, and not only what its making left before it had anything.
    fn is_begun(&self, ledger: &Path) -> io::Result<bool> {
        if !self.storage.exists(ledger)? {
            return Ok(false);
        }
        let has_content = |name: &PathBuf| {
            name.as_os_str() == "CURRENT" || name.extension().is_some_and(|kind| kind == "sst" || kind == "log")
        };
        Ok(self.storage.list(ledger)?.iter().any(has_content))
    }

    fn open_ledger(&self, dir: &Path, report: &mut Report) -> Option<Arc<Subject>> {
        match Subject::open(&bixi_ledger::Params { dir: dir.to_owned(), ..self.ledger.clone() }) {
            Ok(subject) => subject.map(Arc::new),
            Err(error) => {
                let place = dir.display().to_string();
                report.find(Finding::of_ledger(Part::Ledger, place, format!("it cannot be opened: {error}")));
                None
            }
        }
    }
}

/// How fast files may be read, by all threads together. What was slower than the rate is not made up for.
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    due: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, due: Mutex::new(Instant::now()) }
    }

    /// How long whoever read these bytes has to wait before it reads on.
    pub(crate) fn did(&self, bytes: u64) -> Duration {
        self.did_at(Instant::now(), bytes)
    }

    fn did_at(&self, now: Instant, bytes: u64) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let mut due = self.due.lock();
        *due = now.max(*due) + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        due.saturating_duration_since(now)
    }
}

/// Has `work` done on threads of its own, each with its number, and hands what they send to `take`, one after the other, here.
fn side_by_side<M: Send + 'static>(
    spawner: &Spawner,
    threads: usize,
    work: impl Fn(usize, &Sender<M>) + Send + Sync + 'static,
    mut take: impl FnMut(M),
) -> Result<(), Failure> {
    let (told, messages) = bounded(MESSAGES);
    let work = Arc::new(work);
    let spawn = |number: usize| {
        let (work, told) = (Arc::clone(&work), told.clone());
        spawner.spawn(Role::Other, &format!("db-verify-{number}"), move || work(number, &told))
    };
    let threads = (0..threads).map(spawn).collect::<Result<Vec<_>, _>>()?;
    drop((told, work));
    messages.iter().for_each(&mut take);
    for thread in threads {
        thread.join().map_err(|_| "a thread that reads panicked; see above")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
