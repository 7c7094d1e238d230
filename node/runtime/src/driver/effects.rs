//! What the core wants done, done: each effect goes to the thread whose work it is.

use bixi_consensus::{Effect, Evidence, HaltReason, Input, Message, Mode};
use bixi_types::H256;
use bixi_types::ports::{SignError, Signer, Statement};
use crossbeam_channel::{Receiver, Sender};

use super::Driver;
use super::fetch::Purpose;
use crate::event::{Event, Fault};
use crate::evidence::Found;
use crate::exchange::{Asked, ServeJob, tell_head};
use crate::links::Channel;
use crate::log_thread::{Answer, Command};
use crate::ordering_log::Record;
use crate::pipeline::{CommitJob, ExecuteJob};

impl Driver {
    /// Whether heights come without a request of consensus: from a snapshot, which brings more at once than block by block can, or from an
    /// answer that is here. If neither helps, the next status of a peer has it ask again.
    fn comes_unasked(&self) -> bool {
        self.waits_for_snapshot() || self.catch_up.is_delivering(self.clock.now().monotonic_ms)
    }

    pub(super) fn waits_for_snapshot(&self) -> bool {
        self.joining.holds_replay(self.ledger.height(), || self.believed_head())
    }

    pub(super) fn perform(&mut self, effect: Effect) -> Result<(), Fault> {
        match effect {
            Effect::Append(entry) => self.tell_log(Command::Append(Record::Entry(Box::new(entry)))),
            Effect::Flush { id } => self.tell_log(Command::Flush(Answer::Flushed(id))),
            Effect::Sign { id, statement } => {
                let _ = self.lines.signer.send((id, statement));
            }
            Effect::Send { to, message } => {
                if let Message::Status { .. } = message {
                    tell_head(&self.ledger, self.lines.links.as_ref(), to);
                }
                if !matches!(message, Message::Request { .. }) || !self.comes_unasked() {
                    self.lines.links.send_on(Channel::Consensus, to, message.encode());
                }
            }
            Effect::BuildValue { height, round, deadline_ms } => self.begin_building(height, round, deadline_ms),
            Effect::EnsureBatches { id, value, from, is_decided } => {
                let purpose = if is_decided { Purpose::Decision } else { Purpose::Vote };
                self.ensure_batches(id, &value, from, purpose);
            }
            Effect::Decide { height, value, certificate } => {
                self.last_decided_ms = self.clock.now().monotonic_ms;
                self.batches.decided(&value.batches, height);
                self.view.set_decided(height);
                self.work_changed = true;
                let _ = self.lines.execute.send(ExecuteJob { height, value, certificate });
            }
            Effect::CheckpointCertified { height, header_hash, signatures } => {
                let _ = self.lines.commit.send(CommitJob::Certified { height, header_hash, signatures });
            }
            Effect::Serve { to, height } => {
                let asked = Asked::Height(height);
                let _ = self.lines.serve.send(ServeJob::Answer { to, asked, _ticket: None });
            }
            Effect::Forget { height } => self.forget(height),
            Effect::RoundStarted { height, round, proposer } => {
                tracing::debug!(height, round, %proposer, "round started");
                self.view.set_round(round, proposer);
            }
            Effect::ModeChanged(Mode::Follower(reason)) => tracing::warn!(?reason, "this validator only follows"),
            Effect::ModeChanged(mode) => tracing::info!(?mode, "consensus mode"),
            Effect::Evidence(evidence) => {
                if let Evidence::Divergence { vote, is_grave: true, .. } = &evidence {
                    self.keep_result(vote.height);
                }
                let _ = self.lines.evidence.send(Found::Evidence(evidence));
            }
            Effect::Halt(reason) => {
                if let HaltReason::Diverged { height, ours, theirs } = &reason {
                    self.keep_result(*height);
                    let theirs = theirs.clone();
                    let _ = self.lines.evidence.send(Found::Diverged { ours: *ours, theirs });
                }
                return Err(Fault::Consensus(reason.to_string()));
            }
        }
        Ok(())
    }

    /// What we came to at a disputed height is kept: of what was signed there remains a hash only.
    fn keep_result(&self, height: u64) {
        let _ = self.lines.commit.send(CommitJob::Disputed { height });
    }

    pub(super) fn tell_log(&self, command: Command) {
        // A log thread that is gone has sent its fault before: the next event ends this thread.
        let _ = self.lines.log.send(command);
    }

    /// Appends the batches of a value to the ordering log, each once for a height; `false` when some are not here.
    pub(super) fn log_batches(&mut self, digests: &[H256], height: u64) -> bool {
        let Ok(fresh) = self.batches.pin(digests, height) else { return false };
        for batch in fresh {
            self.tell_log(Command::Append(Record::Batch { height, batch: batch.to_batch() }));
        }
        self.work_changed = true;
        true
    }

    fn forget(&mut self, height: u64) {
        self.tell_log(Command::Forget(height));
        self.batches.forget(height);
        // Transactions that only found the block full are back in the pool.
        self.batcher.wake();
        self.work_changed = true;
    }
}

/// The signer thread: one statement after the other, in the order asked. Ends with a fault when the guard or the audit trail
/// cannot be written: after a failed write nobody knows what the disk holds, so nothing may be signed before a new start.
pub(crate) fn sign_all(statements: &Receiver<(u64, Statement)>, signer: &dyn Signer, events: &Sender<Event>) {
    while let Ok((id, statement)) = statements.recv() {
        let result = signer.sign(&statement);
        match &result {
            Ok(_) => {}
            Err(SignError::Storage(detail)) => {
                let fault = Fault::Durability { what: "the record of what was signed", detail: detail.clone() };
                let _ = events.send(Event::Fault(fault));
                return;
            }
            Err(error) => tracing::warn!(%error, "a statement was not signed"),
        }
        let _ = events.send(Event::Input(Box::new(Input::Signed { id, result })));
    }
}
