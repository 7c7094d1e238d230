//! Every sealed file below the data directory.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bixi_ledger::engine;
use bixi_platform::io::{OpenMode, Storage};
use bixi_sealed::scrub::{self, Place, Scrubbed};
use bixi_sealed::{KeyRing, Layout, Purpose, SealedError, inspect_path, reseal};
use crossbeam_channel::Sender;

use super::report::{Finding, Part, Torn, UNREAD_ADVICE, Unfinished, advice_for};
use super::{Ground, Listing, Pace, Report, Stage, Tell, list, side_by_side};
use crate::data_keys::files::is_sealed_name;
use crate::launch::Failure;

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A file of a database, which says the rest.
    Database,
    /// A log.
    Log(Purpose),
    /// What its header says, if it is sealed at all.
    Other { is_sealed: bool },
    /// Left by a crash, read by nobody.
    Spare,
}

/// What the file at `below`, counted from the data directory, is to be.
pub(crate) fn expected_of(below: &Path) -> Kept {
    let first = below.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned());
    let is_inside = below.components().count() > 1;
    let ends_in = |ending: &str| below.extension().is_some_and(|extension| extension == ending);
    if reseal::is_copy(below) || ends_in("tmp") || ends_in("dbtmp") {
        return Kept::Spare;
    }
    match first.as_deref() {
        Some("guard") if !is_inside => Kept::Log(Purpose::Guard),
        Some("ordering") if ends_in("log") => Kept::Log(Purpose::ConsensusLog),
        Some("audit") if ends_in("log") => Kept::Log(Purpose::Audit),
        Some("ledger" | "ledger.joining" | "ledger.joined" | "ledger.replaced") if is_inside => Kept::Database,
        _ => Kept::Other { is_sealed: is_sealed_name(below) },
    }
}

/// Whether a file goes, or is begun anew, whatever is in it: of a snapshot on its way, or of a ledger that another took the place of.
fn is_passing(below: &Path) -> bool {
    below.starts_with("ledger.joining") || below.starts_with("ledger.replaced")
}

/// Reads a file; `None` where nothing in it is sealed, nor is to be.
///
/// # Errors
/// The system's, when it cannot be opened.
pub(crate) fn look(
    storage: &dyn Storage,
    ring: &KeyRing,
    kept: Kept,
    path: &Path,
    pace: reseal::Pace<'_>,
) -> io::Result<Option<Scrubbed>> {
    let (layout, purpose) = match kept {
        Kept::Spare => return Ok(None),
        // A lock has no content.
        Kept::Database if path.ends_with("LOCK") => return Ok(None),
        Kept::Database => return engine::scrub(storage, ring, path, pace).map(Some),
        Kept::Log(purpose) => (Layout::Frames, purpose),
        Kept::Other { is_sealed } => match bixi_sealed::inspect(&*storage.open(path, OpenMode::Read)?) {
            Ok(header) => (header.layout, header.purpose),
            Err(SealedError::NotSealed) if !is_sealed => return Ok(None),
            Err(error) => {
                let mut found = Scrubbed::default();
                found.tell(Place::Header, 0, error);
                return Ok(Some(found));
            }
        },
    };
    Ok(Some(scrub::scrub(storage.open(path, OpenMode::Read)?, ring, layout, purpose, pace)))
}

/// What became of one file.
enum Message {
    Read(u64),
    Done(PathBuf, Kept, io::Result<Option<Scrubbed>>),
}

struct Work {
    storage: Arc<dyn Storage>,
    ring: KeyRing,
    data: PathBuf,
    /// The largest first, so that no thread is left with one at the end.
    files: Vec<(PathBuf, u64)>,
    next: AtomicUsize,
    pace: Arc<Pace>,
}

impl Work {
    fn run(&self, told: &Sender<Message>) {
        while let Some((path, _)) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let kept = expected_of(path.strip_prefix(&self.data).unwrap_or(path));
            let mut pace = |bytes| {
                std::thread::sleep(self.pace.did(bytes));
                let _ = told.send(Message::Read(bytes));
                ControlFlow::Continue(())
            };
            let found = look(self.storage.as_ref(), &self.ring, kept, path, &mut pace);
            let _ = told.send(Message::Done(path.clone(), kept, found));
        }
    }
}

impl Ground {
    /// Reads every file. Tables that were never finished are left in `unfinished`: whether they are damage is for the database to say.
    pub(super) fn read_files(
        &self,
        threads: usize,
        pace: &Arc<Pace>,
        report: &mut Report,
        unfinished: &mut Vec<Unfinished>,
        tell: Tell<'_>,
    ) -> Result<(), Failure> {
        let Listing { mut files, unlisted } = list(self.storage.as_ref(), &self.data);
        for (path, error) in unlisted {
            let (place, reason) = (path.display().to_string(), format!("it cannot be looked into: {error}"));
            report.find(Finding { part: Part::File, place, reason, advice: UNREAD_ADVICE });
        }
        files.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let (mut done, total) = (0, files.iter().map(|(_, bytes)| bytes).sum());
        let (storage, ring, data) = (Arc::clone(&self.storage), self.ring.clone(), self.data.clone());
        let work = Work { storage, ring, data, files, next: AtomicUsize::new(0), pace: Arc::clone(pace) };
        tell(Stage::Files, 0, Some(total));
        side_by_side(
            &self.spawner,
            threads,
            move |_, told| work.run(told),
            |message| match message {
                Message::Read(bytes) => {
                    done += bytes;
                    tell(Stage::Files, done.min(total), Some(total));
                }
                Message::Done(path, kept, found) => unfinished.extend(self.judge(path, kept, found, report)),
            },
        )
    }

    fn judge(
        &self,
        path: PathBuf,
        kept: Kept,
        found: io::Result<Option<Scrubbed>>,
        report: &mut Report,
    ) -> Option<Unfinished> {
        let below = path.strip_prefix(&self.data).unwrap_or(&path);
        let advice = advice_for(below);
        let found = match found {
            Ok(Some(found)) => found,
            Ok(None) => {
                if kept == Kept::Spare {
                    report.left.push(path);
                }
                return None;
            }
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                let (place, reason) = (path.display().to_string(), format!("it cannot be opened: {error}"));
                report.find(Finding { part: Part::File, place, reason, advice: UNREAD_ADVICE });
                return None;
            }
        };
        report.files += 1;
        report.bytes += found.bytes;
        // A header that cannot be read was found to be damaged.
        if let Ok(header) = inspect_path(self.storage.as_ref(), &path) {
            *report.ciphers.entry((header.suite.name(), header.epoch)).or_default() += 1;
        }
        if !found.is_whole() && is_passing(below) {
            report.left.push(path);
            return None;
        }
        if let Some((offset, bytes)) = found.torn {
            report.torn.push(Torn { file: path.clone(), offset, bytes });
        }
        let findings: Vec<Finding> = found
            .damage
            .iter()
            .map(|damage| Finding {
                part: Part::File,
                place: format!("{}, {} at byte {}", path.display(), damage.place, damage.offset),
                reason: damage.reason.clone(),
                advice,
            })
            .collect();
        // Also one whose length came to the disk before its content did.
        let is_table = path.extension().is_some_and(|extension| extension == "sst");
        if kept == Kept::Database && (found.is_unfinished || (is_table && found.damaged > 0)) {
            return Some(Unfinished { findings, path, damaged: found.damaged });
        }
        report.find_of_file(findings, found.damaged);
        None
    }
}
