//! Who calls us.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::peers::NetworkError;
use crate::peers::gate::Place;
use crate::peers::shared::Shared;
use crate::session;

/// Pause after the system gave no connection: mostly there is no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Callers closed at the gate are told of in the log this often.
const CLOSED_LOG: Duration = Duration::from_secs(10);

/// Takes the address, and says which one it is.
pub(super) fn bind(address: SocketAddr, runtime: &Handle) -> Result<(TcpListener, SocketAddr), NetworkError> {
    let _entered = runtime.enter();
    let bound = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, address))
    };
    bound().map_err(|source| NetworkError::Listen { address, source })
}

/// Answers callers, each in a task of its own.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let mut closed = ClosedLog::default();
    loop {
        let (tcp, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "p2p accepts nobody; is the limit of open files reached?");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match shared.gate.enter(address.ip(), Instant::now()) {
            Ok(place) => {
                let answering = answer(Arc::clone(&shared), tcp, address, place);
                shared.tasks.spawn_until_stop(answering);
            }
            Err(reason) => closed.count(address, &reason),
        }
    }
}

async fn answer(shared: Arc<Shared>, tcp: TcpStream, address: SocketAddr, place: Place) {
    let answered = session::answer(&shared.local, tcp, &*shared).await;
    drop(place);
    if let Err(error) = answered.and_then(|opened| shared.run(opened)) {
        shared.log(&address.to_string(), "a caller got no session", &error);
    }
}

/// A flood must not fill the log.
#[derive(Default)]
struct ClosedLog {
    told: Option<Instant>,
    since: u64,
}

impl ClosedLog {
    fn count(&mut self, address: SocketAddr, reason: &dyn std::fmt::Display) {
        self.since += 1;
        if self.told.is_none_or(|told| told.elapsed() >= CLOSED_LOG) {
            tracing::warn!(%address, %reason, closed = self.since, "callers closed before the handshake");
            *self = Self { told: Some(Instant::now()), since: 0 };
        }
    }
}
