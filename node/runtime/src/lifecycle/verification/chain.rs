//! Every height: its rows by the ledger's own eyes, who signed it, what was decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bixi_accel::sm2::Registry;
use bixi_execution::genesis_writes;
use bixi_hsm::verify::SmVerifier;
use bixi_ledger::verification::{Indexed, Subject};
use bixi_types::header::BlockHeader;
use bixi_types::limits::VALIDATORS_MAX;
use bixi_types::ports::{Check, Verifier as _};
use bixi_types::{CryptoSuite, H256};
use crossbeam_channel::Sender;

use super::report::{Finding, Part};
use super::{Ground, Report, Stage, Tell, side_by_side};
use crate::launch::{Failure, genesis_header};
use crate::snapshot::{BlockChecks, Signed, follow};

/// Heights whose signatures are checked in one batch.
const HEIGHTS_AT_ONCE: u64 = 64;

enum Message {
    Fault(u64, String),
    Done(u64, Indexed),
}

struct Work {
    subject: Arc<Subject>,
    suite: CryptoSuite,
    genesis: H256,
    checks: BlockChecks,
    next: AtomicU64,
}

impl Work {
    fn run(&self, told: &Sender<Message>) {
        let (head, _) = self.subject.head();
        loop {
            let first = self.next.fetch_add(HEIGHTS_AT_ONCE, Ordering::Relaxed);
            if first > head {
                return;
            }
            let last = head.min(first + HEIGHTS_AT_ONCE - 1);
            let indexed = self.check(first, last, &mut |number, what| drop(told.send(Message::Fault(number, what))));
            let _ = told.send(Message::Done(last - first + 1, indexed));
        }
    }

    fn check(&self, first: u64, last: u64, tell: &mut dyn FnMut(u64, String)) -> Indexed {
        let before = first.checked_sub(1).map(|number| self.subject.header(number));
        let mut before = before.and_then(Result::ok).flatten();
        let (mut signed, mut indexed) = (Vec::new(), Indexed::default());
        for number in first..=last {
            let height = match self.subject.height(number, &mut |what| tell(number, what)) {
                Ok(height) => height,
                Err(error) => {
                    tell(number, format!("it cannot be read: {error}"));
                    indexed.unread += 1;
                    before = None;
                    continue;
                }
            };
            indexed += height.indexed;
            if let Some(header) = &height.header {
                match self.signatures(number, before.as_ref(), header) {
                    Ok(more) => signed.extend(more.into_iter().map(|one| (number, one))),
                    Err(what) => tell(number, what),
                }
            }
            if let Some(block) = height.block.filter(|_| number > 0)
                && let Err(what) = self.checks.check_own(&block)
            {
                tell(number, what);
            }
            before = height.header;
        }
        self.check_signatures(&signed, tell);
        indexed
    }

    fn signatures(
        &self,
        number: u64,
        before: Option<&BlockHeader>,
        header: &BlockHeader,
    ) -> Result<Vec<Signed>, String> {
        if number > 0 {
            return follow(self.suite, before, header);
        }
        match header.hash(self.suite) == self.genesis {
            true => Ok(Vec::new()),
            false => Err("its header is not the one that the configured genesis makes".into()),
        }
    }

    fn check_signatures(&self, signed: &[(u64, Signed)], tell: &mut dyn FnMut(u64, String)) {
        let checks: Vec<Check<'_>> =
            signed.iter().map(|(_, (node, hash, signature))| Check { node, message: &hash.0, signature }).collect();
        for ((number, (node, ..)), holds) in signed.iter().zip(self.checks.verifier.verify(&checks)) {
            if !holds {
                tell(*number, format!("the signature of {node} over its header does not hold"));
            }
        }
    }
}

impl Ground {
    /// Checks every height and returns what must be in the index.
    pub(super) fn check_chain(
        &self,
        subject: &Arc<Subject>,
        threads: usize,
        report: &mut Report,
        tell: Tell<'_>,
    ) -> Result<Indexed, Failure> {
        let (suite, total) = (self.genesis.suite, subject.head().0 + 1);
        let verifier = SmVerifier::new(Arc::new(Registry::new(VALIDATORS_MAX)));
        let (number, _) = subject.head();
        if let Ok(Some(header)) = subject.header(number) {
            verifier.pin(&header.sealer_list, &[]);
        }
        let root = subject.genesis_state_root(&genesis_writes(&self.genesis));
        let work = Work {
            subject: Arc::clone(subject),
            suite,
            genesis: genesis_header(&self.genesis, root).hash(suite),
            checks: BlockChecks { suite, chain: self.genesis.hash(), verifier },
            next: AtomicU64::new(0),
        };
        let (mut done, mut indexed) = (0, Indexed::default());
        tell(Stage::Chain, 0, Some(total));
        side_by_side(
            &self.spawner,
            threads,
            move |_, told| work.run(told),
            |message| match message {
                Message::Fault(number, what) => {
                    report.find(Finding::of_ledger(Part::Chain, format!("height {number}"), what));
                }
                Message::Done(heights, more) => {
                    done += heights;
                    indexed += more;
                    tell(Stage::Chain, done, Some(total));
                }
            },
        )?;
        Ok(indexed)
    }
}
