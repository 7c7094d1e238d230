//! The index: its parts are followed side by side, and counted together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bixi_ledger::LedgerError;
use bixi_ledger::verification::{Entries, IndexPart, Indexed, Subject};
use crossbeam_channel::Sender;

use super::report::{Finding, Part};
use super::{Ground, Report, Stage, Tell, side_by_side};
use crate::launch::Failure;

enum Message {
    Read(u64),
    Fault(String),
    Done(Entries),
}

struct Work {
    subject: Arc<Subject>,
    parts: Vec<IndexPart>,
    next: AtomicUsize,
    /// Only whether entries of transactions lead to them.
    follows_back: bool,
}

impl Work {
    fn run(&self, told: &Sender<Message>) {
        while let Some(part) = self.parts.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let (mut did, mut tell) =
                (|more| drop(told.send(Message::Read(more))), |what| drop(told.send(Message::Fault(what))));
            let done: Result<Entries, LedgerError> = match self.follows_back {
                true => self.subject.follow_back(part, &mut did, &mut tell).map(|()| Entries::default()),
                false => self.subject.entries(part, &mut did, &mut tell),
            };
            let _ = told.send(match done {
                Ok(found) => Message::Done(found),
                Err(error) => Message::Fault(format!("a part of it cannot be read: {error}")),
            });
        }
    }
}

impl Ground {
    /// Follows every entry, and counts them against what the heights call for.
    pub(super) fn check_index(
        &self,
        subject: &Arc<Subject>,
        indexed: Indexed,
        threads: usize,
        report: &mut Report,
        tell: Tell<'_>,
    ) -> Result<(), Failure> {
        // By hash of header, by hash of transaction, and each nonce by sender and by height.
        let total = subject.head().0 + 1 + indexed.transactions + 2 * indexed.nonces;
        let found = self.follow(subject, false, total, threads, report, tell)?;
        let mut find = |what: String| report.find(Finding::of_ledger(Part::Index, "index".into(), what));
        subject.strays(&mut find)?;
        if subject.count(&indexed, &found, &mut find) {
            self.follow(subject, true, total, threads, report, tell)?;
        }
        Ok(())
    }

    fn follow(
        &self,
        subject: &Arc<Subject>,
        follows_back: bool,
        total: u64,
        threads: usize,
        report: &mut Report,
        tell: Tell<'_>,
    ) -> Result<Entries, Failure> {
        let next = AtomicUsize::new(0);
        let work = Work { subject: Arc::clone(subject), parts: IndexPart::all(), next, follows_back };
        let (mut found, mut done) = (Entries::default(), 0);
        tell(Stage::Index, 0, Some(total));
        side_by_side(
            &self.spawner,
            threads,
            move |_, told| work.run(told),
            |message| match message {
                Message::Read(more) => {
                    done += more;
                    tell(Stage::Index, done, Some(total.max(done)));
                }
                Message::Fault(what) => report.find(Finding::of_ledger(Part::Index, "index".into(), what)),
                Message::Done(more) => found += more,
            },
        )?;
        Ok(found)
    }
}
