//! What this node decided and signed, by its ordering log and its guard, against what the ledger holds: one that is gone, or was put back,
//! holds nothing that is wrong by itself.

use bixi_consensus::LogEntry;
use bixi_hsm::Guard;
use bixi_hsm::guard::{GuardError, Position};
use bixi_ledger::snapshot::Places;
use bixi_ledger::verification::Subject;
use bixi_types::header::HeaderExtension;

use super::report::{Finding, GUARD_GONE_ADVICE, LEDGER_ADVICE, MEMORY_ADVICE, Part, advice_for};
use super::{Ground, Report};
use crate::launch::{Failure, forgotten};
use crate::ordering_log::{self, Record, Recovered};

impl Ground {
    pub(super) fn check_memory(&self, subject: Option<&Subject>, report: &mut Report) {
        let (Some(log), Some(signed)) = (self.ordering_log(report), self.signed(report)) else { return };
        let entries = log.records.iter().filter_map(|record| match record {
            Record::Entry(entry) => Some(entry.as_ref()),
            Record::Batch { .. } => None,
        });
        let heights = || entries.clone().map(LogEntry::height);
        report.decided =
            entries.clone().filter(|entry| matches!(entry, LogEntry::Decided { .. })).map(LogEntry::height).max();
        let head = subject.map_or(0, |subject| subject.head().0);
        if let Some(lowest) = heights().min().filter(|lowest| *lowest > head + 1) {
            report.is_fetched_anew = self.is_fetched_anew(head);
            if !report.is_fetched_anew {
                let reason = format!(
                    "the ordering log begins at height {lowest}, and the ledger ends at {head}: it is an older one than the log was written with, or gone"
                );
                report.find(self.of_memory(reason, LEDGER_ADVICE));
            }
            return;
        }
        if let Some(forgotten) = forgotten(head, &log, &signed) {
            report.find(self.of_memory(forgotten.reason, MEMORY_ADVICE));
        }
        let Some(subject) = subject else { return };
        for entry in entries.filter(|entry| entry.height() <= head) {
            let what = self.differs(subject, entry).unwrap_or_else(|error| Some(error.to_string()));
            if let Some(reason) = what {
                let place = format!("height {}", entry.height());
                report.find(Finding { part: Part::OrderingLog, place, reason, advice: LEDGER_ADVICE });
            }
        }
    }

    fn of_memory(&self, reason: String, advice: &'static str) -> Finding {
        Finding { part: Part::OrderingLog, place: self.data.join("ordering").display().to_string(), reason, advice }
    }

    fn ordering_log(&self, report: &mut Report) -> Option<Recovered> {
        let dir = self.data.join("ordering");
        let read = match self.storage.exists(&dir) {
            Ok(false) => return Some(Recovered::default()),
            Ok(true) => {
                ordering_log::read_all(self.storage.as_ref(), &dir, &self.ring).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        read.map_err(|reason| report.find(self.of_memory(reason, advice_for("ordering".as_ref())))).ok()
    }

    /// What any key of this node has signed.
    fn signed(&self, report: &mut Report) -> Option<Vec<Position>> {
        let path = self.data.join("guard");
        match Guard::marks_at(self.storage.as_ref(), &path, &self.ring, self.genesis.hash()) {
            Ok(signed) => Some(signed),
            Err(error) => {
                let is_told = report.findings.iter().any(|finding| finding.place.starts_with(&*path.to_string_lossy()));
                if !(is_told && matches!(error, GuardError::Damaged { .. })) {
                    let advice = match error {
                        GuardError::Missing { .. } => GUARD_GONE_ADVICE,
                        _ => advice_for("guard".as_ref()),
                    };
                    let (place, reason) = (path.display().to_string(), error.to_string());
                    report.find(Finding { part: Part::Guard, place, reason, advice });
                }
                None
            }
        }
    }

    /// Whether a node that starts gets the heights before its log from others: an officer had it begin anew.
    fn is_fetched_anew(&self, head: u64) -> bool {
        let joining = Places::around(&self.ledger.dir).joining;
        self.genesis.validators.len() > 1 && (head == 0 || self.storage.exists(&joining).unwrap_or(false))
    }

    fn differs(&self, subject: &Subject, entry: &LogEntry) -> Result<Option<String>, Failure> {
        let Some(header) = subject.header(entry.height())? else { return Ok(None) };
        Ok(match entry {
            LogEntry::Decided { value, .. } => {
                let executed = HeaderExtension::decode(&header.extra_data).ok().map(|extension| extension.value_id);
                (executed != Some(value.id(self.genesis.suite)))
                    .then(|| "what was decided is not what the ledger's header executes".to_owned())
            }
            LogEntry::Checkpoint(vote) if vote.header_hash != header.hash(self.genesis.suite) => {
                Some(format!("this node signed header {}, and the ledger holds another one", vote.header_hash))
            }
            _ => None,
        })
    }
}
