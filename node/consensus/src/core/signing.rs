//! The ordering lane's signature: one at a time, tried again, and given up by following.

use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::SignError;

use super::*;
use crate::certificate;

#[derive(Debug)]
struct Pending {
    id: u64,
    statement: Statement,
    /// The device failed for too long; we follow, and this statement only finds out when it is back.
    probing: bool,
    /// Requests since the last answer: a device that hangs is asked ever more rarely, so that few requests wait for it.
    unanswered: u32,
}

/// Pause before the next of `unanswered` requests: doubled with each, up to 64 times `pause_ms`.
pub(super) fn backed_off_ms(pause_ms: u64, unanswered: u32) -> u64 {
    pause_ms << unanswered.min(6)
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
        self.signing.pending = Some(Pending { id, statement: statement.clone(), probing: false, unanswered: 0 });
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
        let Some(pending) = self.signing.pending.as_mut().filter(|pending| pending.id == id) else { return };
        pending.unanswered = 0;
        let probing = pending.probing;
        match result {
            Ok(_) if probing => self.signer_is_back(),
            Ok(signature) => {
                self.signing.forget(&mut self.timers);
                self.engine_input(EngineInput::Signature(signature));
            }
            Err(SignError::Conflict(detail)) => {
                let height = self.head.height + 1;
                self.signing.forget(&mut self.timers);
                if certificate::quorum(&self.rules[&height].validators, [&self.params.node]).is_ok() {
                    return self.halt(HaltReason::SignedBefore { height, detail });
                }
                self.change_mode(Mode::Follower(Reason::Conflict { height }));
            }
            Err(SignError::Refused(detail)) => {
                let height = self.head.height + 1;
                self.signing.forget(&mut self.timers);
                self.change_mode(Mode::Follower(Reason::Refused { height, detail }));
            }
            Err(SignError::Storage(_)) => self.guard_failed(),
            Err(_) => {
                let pause_ms = if probing { self.params.sign_probe_ms } else { self.params.sign_retry_ms };
                self.timers.set(Timer::SignRetry, self.now.monotonic_ms + pause_ms);
            }
        }
    }

    /// The guard's record is not durable: nothing is signed any more, in either lane, until a restart.
    pub(super) fn guard_failed(&mut self) {
        self.signing.forget(&mut self.timers);
        self.timers.cancel(Timer::Marks);
        self.change_mode(Mode::Follower(Reason::GuardStorage));
    }

    pub(super) fn sign_again(&mut self) {
        let Some(pending) = &mut self.signing.pending else { return };
        pending.unanswered += 1;
        let (id, statement) = (pending.id, pending.statement.clone());
        if pending.probing {
            let pause_ms = backed_off_ms(self.params.sign_probe_ms, pending.unanswered);
            self.timers.set(Timer::SignRetry, self.now.monotonic_ms + pause_ms);
        }
        self.outbox.after_flush(Effect::Sign { id, statement });
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
