//! Nothing is answered before the audit trail has it.

use std::time::Instant;

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
    /// Answers one request. Nothing leaves before the audit trail has it; refusals and what manages keys are durable there
    /// before they are answered.
    pub fn handle(&self, request: &Request) -> Response {
        match self.decide(request) {
            Ok(done) if request.is_caused_by_strangers() => self.answer_counted(request, done),
            Ok(done) if *request == Request::Settle => self.answer_telling(request, done, self.answered.take()),
            decided => self.answer(&entry(request, &decided), request, decided),
        }
    }

    /// One of the handshakes of which an entry a minute tells. A trail that takes no entries would never tell of it.
    fn answer_counted(&self, request: &Request, done: Done) -> Response {
        if let Err(error) = self.audit.check() {
            return unrecorded(&error);
        }
        match self.answered.one_more(Instant::now()) {
            None => done.response,
            Some(more) => self.answer_telling(request, done, more),
        }
    }

    /// The entry tells of so many handshakes more. They are told of later when it cannot be written.
    fn answer_telling(&self, request: &Request, done: Done, more: u64) -> Response {
        let decided = Ok(done);
        let mut event = entry(request, &decided);
        event.subject.push_str(&format!(", and {more} more TLS handshakes answered since the last entry"));
        let response = self.answer(&event, request, decided);
        if matches!(response, Response::Refused(_)) {
            self.answered.give_back(more);
        }
        response
    }

    fn answer(&self, event: &Event, request: &Request, decided: Result<Done, Denied>) -> Response {
        let at_once = decided.is_err() || request.is_durable_at_once();
        let durability = if at_once { Durability::AtOnce } else { Durability::Grouped };
        match (self.audit.record(event, durability), decided) {
            (Err(error), _) => unrecorded(&error),
            (Ok(()), Ok(done)) => done.response,
            (Ok(()), Err(denied)) => Response::Refused(*denied.refusal),
        }
    }
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
