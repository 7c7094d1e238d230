//! What all tasks of one network share, and the life of a session: entered, run by two tasks, logged, left.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::peers::dialer::Callers;
use crate::peers::gate::Gate;
use crate::peers::limits::Limits;
use crate::peers::status::{Calls, Refusals};
use crate::peers::table::{Event, Table};
use crate::peers::tasks::Tasks;
use crate::peers::{Admission, Inbox};
use crate::session::connection::{Receiver, Session};
use crate::session::{Direction, Door, Local, Opened, Reason, Refusal, Remote, SessionError};
use crate::tls::TrustStore;

/// A peer's clock so far off is a warning.
const SKEW_WARNING_MS: u64 = 1_000;
/// So far off it is an error: proposals of one side are refused by the other.
const SKEW_ERROR_MS: u64 = 60_000;

pub(super) struct Shared {
    pub(super) local: Local,
    pub(super) limits: Limits,
    pub(super) trust: Arc<TrustStore>,
    pub(super) admission: Arc<dyn Admission>,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) gate: Arc<Gate>,
    pub(super) table: Table,
    pub(super) tasks: Tasks,
    pub(super) refusals: Refusals,
    pub(super) calls: Calls,
    pub(super) callers: Callers,
}

impl Shared {
    /// Enters nobody any more and has every task end.
    pub(super) fn stop(&self) {
        self.tasks.stop();
        for session in self.table.close() {
            session.refuse(Refusal::new(Reason::Stopping, "the node stops"));
        }
    }

    /// Enters an open session and starts its tasks.
    pub(super) fn run(self: &Arc<Self>, opened: Opened) -> Result<(), SessionError> {
        let (mut reader, mut writer) = (opened.reader, opened.writer);
        let bounds = self.limits.bounds(opened.remote.channel);
        let session = Arc::new(Session::new(opened.remote, bounds));
        // Rules may have changed since the hello was judged. Whoever changes them looks at the table afterwards, and we look at the
        // rules after entering it: one of the two finds the session.
        let entered = self.table.enter(&session).and_then(|()| self.judge_by_rules_of_now(&session.remote));
        match &entered {
            Ok(()) => {
                self.gate.know(session.remote.address.ip(), Instant::now());
                self.greet(&session.remote);
            }
            // The tasks below tell the peer.
            Err(refusal) => session.refuse(refusal.clone()),
        }
        let writing = Arc::clone(&session);
        self.tasks.spawn(async move { writing.write(&mut writer).await });
        let (shared, reading) = (Arc::clone(self), Arc::clone(&session));
        let stands = entered.is_ok();
        self.tasks.spawn(async move {
            let seat = Seat { shared: &shared, session: &reading };
            let error = reading.read(&mut reader, &*shared).await;
            drop(seat);
            // One that never stood is told of by whoever opened it.
            if stands {
                shared.log(&reading.remote.to_string(), "session ended", &error);
            }
            reading.part(&mut reader, &*shared, &error).await;
        });
        entered.map_err(|refusal| SessionError::Refused { node: Some(session.remote.node), refusal })
    }

    /// Whether such a peer may have a session: its certificates by time and revocation, lists and membership.
    pub(super) fn judge_by_rules_of_now(&self, remote: &Remote) -> Result<(), Refusal> {
        let checked = self.trust.current().recheck(&remote.certificates, remote.direction == Direction::Outbound);
        checked
            .map_err(|error| Refusal::new(Reason::Certificate, format!("the certificate of {remote}: {error}")))
            .and_then(|()| self.judge_node(remote))
    }

    fn judge_node(&self, remote: &Remote) -> Result<(), Refusal> {
        self.admission.admit(&remote.node).map_err(|detail| Refusal::new(Reason::NotAdmitted, detail))
    }

    fn greet(&self, remote: &Remote) {
        tracing::info!(peer = %remote, version = remote.protocol_version, "session open");
        let skew_ms = remote.skew_ms;
        match skew_ms.unsigned_abs() {
            SKEW_ERROR_MS.. => {
                tracing::error!(peer = %remote, skew_ms, "clocks are minutes apart: correct the time on both machines (NTP)");
            }
            SKEW_WARNING_MS.. => {
                tracing::warn!(peer = %remote, skew_ms, "clocks differ: check the time service of both machines");
            }
            _ => {}
        }
    }

    /// Both logs get the same words: what happened, with whom, what to do.
    pub(super) fn log(&self, peer: &str, what: &'static str, error: &SessionError) {
        if error.is_ordinary() {
            tracing::debug!(peer, %error, "{what}");
            return;
        }
        self.refusals.record(peer.to_owned(), error);
        tracing::warn!(peer, node = error.node().map(|node| node.to_hex()), %error, "{what}");
    }
}

impl Door for Shared {
    fn judge(&self, remote: &Remote) -> Result<(), Refusal> {
        self.judge_node(remote).and_then(|()| self.table.judge(remote))
    }
}

impl Receiver for Shared {
    fn receive(&self, remote: &Remote, payload: Vec<u8>) -> Result<(), String> {
        self.inbox.received(remote.node, remote.channel, payload)
    }
}

/// A session's place in the table, left when its reader ends, however it ends.
struct Seat<'a> {
    shared: &'a Shared,
    session: &'a Arc<Session>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.session.refuse(Refusal::new(Reason::Stopping, "its reader has ended"));
        self.shared.table.leave(self.session);
        self.shared.gate.know(self.session.remote.address.ip(), Instant::now());
    }
}

/// Tells the layers above who comes and goes, in order and outside of every lock.
pub(super) async fn announce(inbox: Arc<dyn Inbox>, mut events: mpsc::UnboundedReceiver<Event>) {
    while let Some(event) = events.recv().await {
        tokio::task::block_in_place(|| match event {
            Event::Connected(node) => inbox.connected(node),
            Event::Disconnected(node) => inbox.disconnected(node),
        });
    }
}
