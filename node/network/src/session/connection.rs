//! An open session: one task reads and hands over, one writes what waits. It ends once, for one reason.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::frame::{Frame, HEAD_BYTES, Kind};
use crate::session::error::SessionError;
use crate::session::link::{self, FAREWELL, Patience, Reader, Writer};
use crate::session::queue::{Echo, Outgoing, Queue};
use crate::session::refusal::{Reason, Refusal};
use crate::session::{Channel, Remote};

/// Takes a whole frame's payload; an error is a protocol offence.
pub(crate) trait Receiver: Send + Sync {
    fn receive(&self, remote: &Remote, payload: Vec<u8>) -> Result<(), String>;
}

/// What a session is allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) queue_bytes_max: usize,
    pub(crate) ping: Duration,
    pub(crate) patience: Patience,
}

/// The part of a session that others see.
pub(crate) struct Session {
    pub(crate) remote: Remote,
    pub(crate) since: SystemTime,
    pub(crate) queue: Queue,
    bounds: Bounds,
    /// Why it ends; the first one counts.
    ending: watch::Sender<Option<SessionError>>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    ping: Mutex<Ping>,
}

/// The last ping and what it told.
#[derive(Default)]
struct Ping {
    number: u64,
    sent: Option<Instant>,
    rtt: Option<Duration>,
}

impl Session {
    pub(crate) fn new(remote: Remote, bounds: Bounds) -> Self {
        Self {
            since: SystemTime::now(),
            queue: Queue::new(remote.channel, bounds.queue_bytes_max),
            remote,
            bounds,
            ending: watch::channel(None).0,
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            ping: Mutex::default(),
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.remote.channel
    }

    /// Ends it, telling the peer why.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.end(SessionError::Refused { node: Some(self.remote.node), refusal });
    }

    fn end(&self, error: SessionError) {
        self.ending.send_if_modified(|ending| {
            let first = ending.is_none();
            ending.get_or_insert(error);
            first
        });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ending.borrow().is_some()
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Relaxed)
    }

    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Relaxed)
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.ping.lock().rtt
    }

    /// Waits until it ends.
    async fn ended(&self) -> SessionError {
        let mut ending = self.ending.subscribe();
        let ended = ending.wait_for(Option::is_some).await.expect("the sender lives as long as we");
        ended.clone().expect("waited for")
    }

    /// Reads until the session ends, and says why it did. The writer is another task, [`Self::write`].
    pub(crate) async fn read(&self, reader: &mut Reader, receiver: &dyn Receiver) -> SessionError {
        tokio::select! {
            // Nothing is handed over of a session that ended before it was read.
            biased;
            error = self.ended() => error,
            error = self.receive_all(reader, receiver) => {
                self.end(error);
                self.ended().await
            }
        }
    }

    /// After its end: waits for the peer to have closed too.
    pub(crate) async fn part(&self, reader: &mut Reader, receiver: &dyn Receiver, why: &SessionError) {
        if why.reason() == Some(Reason::Duplicate) {
            // What the peer sent before it noticed is as good as ever.
            let _ = timeout(FAREWELL, self.receive_all(reader, receiver)).await;
        }
        reader.drain().await;
    }

    async fn receive_all(&self, reader: &mut Reader, receiver: &dyn Receiver) -> SessionError {
        loop {
            match self.receive_one(reader, receiver).await {
                Ok(()) => self.received_bytes.store(reader.bytes, Relaxed),
                Err(error) => return error,
            }
        }
    }

    async fn receive_one(&self, reader: &mut Reader, receiver: &dyn Receiver) -> Result<(), SessionError> {
        let frame = reader.next(self.bounds.patience).await?;
        let Frame { kind, body } = frame.ok_or(SessionError::Closed("without saying why"))?;
        let node = Some(self.remote.node);
        match kind {
            Kind::Message => {
                // A worker of tokio's that the layers above hold up must not hold up other peers.
                let taken = tokio::task::block_in_place(|| receiver.receive(&self.remote, body));
                let offence = |reason| SessionError::Refused { node, refusal: Refusal::new(Reason::Offence, reason) };
                taken.map_err(offence)
            }
            Kind::Ping => echo(&body).map(|echo| self.queue.pong(echo)),
            Kind::Pong => echo(&body).map(|echo| self.ping.lock().answered(echo)),
            Kind::Refusal => Err(SessionError::RefusedByPeer { node, refusal: Refusal::decode(&body) }),
            Kind::Hello | Kind::Proof | Kind::Ready => Err(malformed(format!("{kind:?} in a session that is open"))),
        }
    }

    /// Writes what waits until the session ends, then says why.
    pub(crate) async fn write(&self, writer: &mut Writer) {
        let mut pings = interval(self.bounds.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let last_words = loop {
            let written = tokio::select! {
                biased;
                error = self.ended() => break error.to_tell(),
                _ = pings.tick() => {
                    let echo = self.ping.lock().next();
                    self.write_frame(writer, Kind::Ping, &echo).await
                }
                outgoing = self.queue.next() => match outgoing {
                    Outgoing::Pong(echo) => self.write_frame(writer, Kind::Pong, &echo).await,
                    Outgoing::Message(payload) => self.write_frame(writer, Kind::Message, &payload).await,
                },
            };
            if let Err(error) = written {
                self.end(error);
                // Nothing can follow half a frame.
                break None;
            }
        };
        link::part(writer, last_words.as_ref()).await;
    }

    /// A whole frame, or an error. A session that ends leaves it a little time, so that last words can follow it.
    async fn write_frame(&self, writer: &mut Writer, kind: Kind, body: &[u8]) -> Result<(), SessionError> {
        let limit = self.bounds.patience.frame;
        let ended = async {
            let error = self.ended().await;
            sleep(FAREWELL).await;
            error
        };
        let slow = |_| SessionError::Slow { what: "reading of a frame", limit_ms: limit.as_millis() as u64 };
        tokio::select! {
            written = timeout(limit, link::write(writer, kind, body)) => {
                written.map_err(slow)?.map_err(|error| SessionError::from_io(&error))?;
                self.sent_bytes.fetch_add((HEAD_BYTES + body.len()) as u64, Relaxed);
                Ok(())
            }
            error = ended => Err(error),
        }
    }
}

impl Ping {
    fn next(&mut self) -> Echo {
        self.number += 1;
        self.sent = Some(Instant::now());
        self.number.to_be_bytes()
    }

    fn answered(&mut self, echo: Echo) {
        if echo == self.number.to_be_bytes()
            && let Some(sent) = self.sent.take()
        {
            self.rtt = Some(sent.elapsed());
        }
    }
}

fn echo(body: &[u8]) -> Result<Echo, SessionError> {
    body.try_into().map_err(|_| malformed(format!("a ping or pong of {} bytes", body.len())))
}

fn malformed(detail: String) -> SessionError {
    SessionError::Refused { node: None, refusal: Refusal::new(Reason::Malformed, detail) }
}
