//! Whom we call: each address on its own, for as long as the network runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::peers::pause::Pause;
use crate::peers::shared::Shared;
use crate::session::{self, Channel, Reason, SessionError};

/// The addresses that are called. Dropping a caller's end of the channel ends it.
#[derive(Default)]
pub(super) struct Callers(Mutex<BTreeMap<String, oneshot::Sender<()>>>);

/// Calls these addresses, and no others any more.
pub(super) fn call_only(shared: &Arc<Shared>, addresses: &[String]) {
    let mut callers = shared.callers.0.lock();
    callers.retain(|address, _| addresses.contains(address));
    for address in addresses.iter().filter(|address| !callers.contains_key(*address)).collect::<Vec<_>>() {
        let (end, ended) = oneshot::channel::<()>();
        callers.insert(address.clone(), end);
        let (shared, address) = (Arc::clone(shared), address.clone());
        let tasks = Arc::clone(&shared);
        tasks.tasks.spawn_until_stop(async move {
            tokio::select! {
                _ = ended => {}
                () = keep_calling(Arc::clone(&shared), address.clone()) => {}
            }
            shared.calls.forget(&address);
        });
    }
}

/// Calls `address` whenever the node that answered there lacks a session. While it is ourselves, now and then only: who answered has
/// not proven who it is.
async fn keep_calling(shared: Arc<Shared>, address: String) {
    let longest = Duration::from_millis(shared.limits.pause_max_ms);
    let mut pause = Pause::new(Duration::from_millis(shared.limits.pause_first_ms), longest);
    let mut known: Option<NodeId> = None;
    let mut changes = shared.table.changes();
    loop {
        if call_all(&shared, &address, &mut known).await.is_err_and(|error| error.reason() == Some(Reason::OwnNode)) {
            shared.calls.forget(&address);
            sleep(longest).await;
            continue;
        }
        let stands = Instant::now();
        while shared.table.missing(known.as_ref()).is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
        }
        // A session that breaks at once is as bad as one that does not open.
        if stands.elapsed() >= longest {
            pause.reset();
        }
        sleep(pause.next()).await;
    }
}

/// Calls on each missing channel, until one call fails.
async fn call_all(shared: &Arc<Shared>, address: &str, known: &mut Option<NodeId>) -> Result<(), SessionError> {
    for channel in shared.table.missing(known.as_ref()) {
        match call(shared, address, channel).await {
            Ok(node) => *known = Some(node),
            Err(error) => {
                if error.reason() == Some(Reason::Duplicate) {
                    *known = error.node().or(*known);
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

async fn call(shared: &Arc<Shared>, address: &str, channel: Channel) -> Result<NodeId, SessionError> {
    let called = async {
        let tcp = session::connect(&shared.local, address).await?;
        session::call(&shared.local, tcp, channel, &**shared).await
    };
    let called = called.await;
    let entered = called.and_then(|opened| {
        let node = opened.remote.node;
        shared.run(opened).map(|()| node)
    });
    match &entered {
        Ok(node) => shared.calls.answered(address, *node),
        Err(
            SessionError::Refused { node: Some(node), refusal }
            | SessionError::RefusedByPeer { node: Some(node), refusal },
        ) if refusal.reason == Reason::Duplicate => {
            shared.calls.answered(address, *node);
        }
        Err(error) if error.is_ordinary() => tracing::debug!(address, %error, "a call opened no session"),
        Err(error) if shared.calls.failed(address, error) => shared.log(address, "a call opened no session", error),
        Err(error) => tracing::debug!(address, %error, "a call opened no session, as before"),
    }
    entered
}
