//! The ordering lane's signature: one at a time, tried again, and given up by following.

use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::SignError;

use super::*;

#[derive(Debug)]
struct Pending {
    id: u64,
    statement: Statement,
    /// The device failed for too long; we follow, and this statement only finds out when it is back.
    probing: bool,
}

/// The pending signature and the ids of all.
#[derive(Debug, Default)]
pub(super) struct Signing {
    last_id: u64,
    pending: Option<Pending>,
}

impl Signing {
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn forget(&mut self, timers: &mut Timers) {
        self.pending = None;
        timers.cancel(Timer::SignDeadline);
        timers.cancel(Timer::SignRetry);
    }

    pub(super) fn forget_unless_probing(&mut self, timers: &mut Timers) {
        if self.pending.as_ref().is_some_and(|pending| !pending.probing) {
            self.forget(timers);
        }
    }
}

impl Core {
    /// Asks for a signature once everything the statement follows from is durable.
    pub(super) fn sign(&mut self, statement: Statement) {
        let id = self.signing.next_id();
        self.signing.pending = Some(Pending { id, statement: statement.clone(), probing: false });
        self.timers.cancel(Timer::SignRetry);
        self.timers.set(Timer::SignDeadline, self.now.monotonic_ms + self.params.sign_deadline_ms);
        #[cfg(test)]
        if self.mutated(crate::simulator::Mutation::SignBeforeFlush) {
            return self.out.push(Effect::Sign { id, statement });
        }
        self.outbox.after_flush(Effect::Sign { id, statement });
    }

    pub(super) fn signed(&mut self, id: u64, result: Result<SignatureBytes, SignError>) {
        if self.checkpoints.is_signing(id) {
            return self.checkpoint_signed(result);
        }
        let Some(pending) = self.signing.pending.as_ref().filter(|pending| pending.id == id) else { return };
        let probing = pending.probing;
        match result {
            Ok(_) if probing => self.signer_is_back(),
            Ok(signature) => {
                self.signing.forget(&mut self.timers);
                self.engine_input(EngineInput::Signature(signature));
            }
            Err(SignError::Conflict(_)) => {
                let height = self.head.height + 1;
                self.signing.forget(&mut self.timers);
                self.change_mode(Mode::Follower(Reason::Conflict { height }));
            }
            Err(SignError::Storage(_)) => {
                self.signing.forget(&mut self.timers);
                self.change_mode(Mode::Follower(Reason::GuardStorage));
            }
            Err(_) => {
                let pause_ms = if probing { self.params.sign_probe_ms } else { self.params.sign_retry_ms };
                self.timers.set(Timer::SignRetry, self.now.monotonic_ms + pause_ms);
            }
        }
    }

    pub(super) fn sign_again(&mut self) {
        let Some(pending) = &self.signing.pending else { return };
        let (id, statement, probing) = (pending.id, pending.statement.clone(), pending.probing);
        self.outbox.after_flush(Effect::Sign { id, statement });
        if probing {
            self.timers.set(Timer::SignRetry, self.now.monotonic_ms + self.params.sign_probe_ms);
        }
    }

    /// Too long without a signature: follow, and keep trying the same statement until the device answers.
    pub(super) fn sign_overdue(&mut self) {
        let Some(pending) = &mut self.signing.pending else { return };
        pending.probing = true;
        self.timers.set(Timer::SignRetry, self.now.monotonic_ms + self.params.sign_probe_ms);
        self.change_mode(Mode::Follower(Reason::SignerUnavailable));
    }

    /// Replaying the height derives the statements we owe; the guard gives stored signatures for those it made.
    fn signer_is_back(&mut self) {
        self.signing.forget(&mut self.timers);
        if self.mode == Mode::Follower(Reason::SignerUnavailable) {
            self.change_mode(Mode::Voting);
        }
    }
}
