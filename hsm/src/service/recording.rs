//! Nothing is answered before the audit trail has it.

use std::time::Instant;

use super::answered::Untold;
use super::{SigningService, statement};
use crate::audit::{AuditError, Durability, Event, Outcome};
use crate::protocol::{Refusal, Request, Response};

/// An answer and what the audit trail says about it.
pub(super) struct Done {
    pub(super) response: Response,
    pub(super) outcome: Outcome,
    pub(super) digest: Option<[u8; 32]>,
}

impl Done {
    pub(super) fn plain(response: Response) -> Self {
        Self { response, outcome: Outcome::Answered, digest: None }
    }
}

/// A refusal and the digest it refused to sign, if the request got that far.
pub(super) struct Denied {
    pub(super) refusal: Box<Refusal>,
    pub(super) digest: Option<[u8; 32]>,
}

impl<E: Into<Refusal>> From<E> for Denied {
    fn from(error: E) -> Self {
        Self { refusal: Box::new(error.into()), digest: None }
    }
}

impl SigningService {
    /// Answers one request. Nothing leaves before the audit trail has it, but whether the device is well and counts; refusals and what manages
    /// keys are durable there before they are answered.
    pub fn handle(&self, request: &Request) -> Response {
        self.handle_at(request, Instant::now())
    }

    /// The time counts for the trail only.
    pub(super) fn handle_at(&self, request: &Request, now: Instant) -> Response {
        match request {
            // Says nothing of a key, and is asked again and again.
            Request::Health | Request::Counter => response(self.decide(request)),
            _ if request.is_caused_by_strangers() => self.answer_stranger(request, now),
            Request::Settle => {
                let told = self.answer_telling(request, self.decide(request), self.answered.take());
                self.sealed_after(told, now, true)
            }
            Request::TellDue => {
                let told = match self.answered.due(now) {
                    Some(untold) => self.answer_telling(request, self.decide(request), untold),
                    None => Response::Settled,
                };
                self.sealed_after(told, now, false)
            }
            _ => {
                let decided = self.decide(request);
                self.answer(&entry(request, &decided), request, decided)
            }
        }
    }

    /// The answer, after the device has counted and the head of the trail was signed where that is due. A guard that is refused by the count
    /// keeps the trail, which tells of it, from nothing.
    fn sealed_after(&self, told: Response, now: Instant, is_end: bool) -> Response {
        if told != Response::Settled {
            return told;
        }
        let counted = self.count_if_due(now, is_end);
        match self.seal_trail(now, is_end) {
            Err(error) => unrecorded(&error),
            Ok(()) => counted.map_or_else(Response::Refused, |()| told),
        }
    }

    /// One of the handshakes of which an entry a minute tells, signed or not: strangers have the disk synced no oftener. A trail that
    /// takes no entries would never tell of it, so the device is not asked then.
    fn answer_stranger(&self, request: &Request, now: Instant) -> Response {
        if let Err(error) = self.audit.check() {
            return unrecorded(&error);
        }
        let decided = self.decide(request);
        let failure = decided.as_ref().err().map(|denied| denied.refusal.to_string());
        let Some(untold) = self.answered.one_more(failure.clone(), now) else { return response(decided) };
        let response = self.answer_telling(request, decided, untold);
        if is_unrecorded(&response) {
            self.answered.give_back(Untold::one(failure));
        }
        response
    }

    /// The entry tells of handshakes besides. They are told of later when it cannot be written.
    fn answer_telling(&self, request: &Request, decided: Result<Done, Denied>, untold: Untold) -> Response {
        let mut event = entry(request, &decided);
        event.subject.push_str(&format!(", and {untold}"));
        let response = self.answer(&event, request, decided);
        if is_unrecorded(&response) {
            self.answered.give_back(untold);
        }
        response
    }

    fn answer(&self, event: &Event, request: &Request, decided: Result<Done, Denied>) -> Response {
        let at_once = decided.is_err() || request.is_durable_at_once();
        let durability = if at_once { Durability::AtOnce } else { Durability::Grouped };
        match self.audit.record(event, durability) {
            Ok(()) => response(decided),
            Err(error) => unrecorded(&error),
        }
    }
}

fn response(decided: Result<Done, Denied>) -> Response {
    decided.map_or_else(|denied| Response::Refused(*denied.refusal), |done| done.response)
}

/// What the trail says of a request.
fn entry(request: &Request, decided: &Result<Done, Denied>) -> Event {
    let (outcome, digest) = match decided {
        Ok(done) => (done.outcome.clone(), done.digest),
        Err(denied) => (Outcome::Refused(denied.refusal.to_string()), denied.digest),
    };
    Event { request: request.name().to_owned(), subject: statement::subject(request), digest, outcome }
}

pub(super) fn unrecorded(error: &AuditError) -> Response {
    Response::Refused(Refusal::Audit(error.to_string()))
}

fn is_unrecorded(response: &Response) -> bool {
    matches!(response, Response::Refused(Refusal::Audit(_)))
}
