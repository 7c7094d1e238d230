//! What waits to be written on one connection, bounded in bytes.
//!
//! A frame is shared with the queues of other peers, and counted in each. An empty queue takes a frame of any size, so the bound is
//! that of the limit or of one frame, whichever is larger.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::frame::ECHO_BYTES;
use crate::session::Channel;

/// A payload on its way to some peers.
pub(crate) type Payload = Arc<Vec<u8>>;
/// Body of a ping or pong.
pub(crate) type Echo = [u8; ECHO_BYTES];

/// What is to be written next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Pong(Echo),
    Message(Payload),
}

pub(crate) struct Queue {
    channel: Channel,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    /// The writer waits here.
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Payload>,
    bytes: usize,
    /// At most one: a peer that pings faster than it reads gets the last one's answer.
    pong: Option<Echo>,
    dropped: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(channel: Channel, bytes_max: usize) -> Self {
        Self { channel, bytes_max, waiting: Mutex::default(), filled: Notify::new() }
    }

    /// Whether the queue took it. On a full one the consensus channel forgets its oldest, and bulk refuses the newest: votes of
    /// old rounds are worth less than those of now, and whoever sends in bulk can wait.
    pub(crate) fn push(&self, payload: Payload) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return false;
        }
        while !waiting.messages.is_empty() && waiting.bytes + payload.len() > self.bytes_max {
            waiting.dropped += 1;
            if self.channel == Channel::Bulk {
                return false;
            }
            let oldest = waiting.messages.pop_front().expect("not empty");
            waiting.bytes -= oldest.len();
        }
        waiting.bytes += payload.len();
        waiting.messages.push_back(payload);
        self.filled.notify_one();
        true
    }

    pub(crate) fn pong(&self, echo: Echo) {
        self.waiting.lock().pong = Some(echo);
        self.filled.notify_one();
    }

    /// Waits for something to write. Dropping a call loses nothing.
    pub(crate) async fn next(&self) -> Outgoing {
        loop {
            if let Some(outgoing) = self.take() {
                return outgoing;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Outgoing> {
        let mut waiting = self.waiting.lock();
        if let Some(echo) = waiting.pong.take() {
            return Some(Outgoing::Pong(echo));
        }
        let payload = waiting.messages.pop_front()?;
        waiting.bytes -= payload.len();
        Some(Outgoing::Message(payload))
    }

    /// Takes nothing more; what waited goes to the connection that comes instead, if one does.
    pub(crate) fn close(&self, instead: Option<&Self>) {
        let left = {
            let mut waiting = self.waiting.lock();
            waiting.closed = true;
            waiting.bytes = 0;
            std::mem::take(&mut waiting.messages)
        };
        if let Some(queue) = instead {
            for payload in left {
                queue.push(payload);
            }
        }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting.lock().bytes
    }

    /// Frames forgotten or refused because the queue was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.waiting.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(value: u8, bytes: usize) -> Payload {
        Arc::new(vec![value; bytes])
    }

    fn left(queue: &Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.take())
            .map(|outgoing| match outgoing {
                Outgoing::Message(payload) => payload[0],
                Outgoing::Pong(echo) => echo[0],
            })
            .collect()
    }

    #[test]
    fn a_full_queue_forgets_the_oldest_vote_and_refuses_the_newest_batch() {
        for (channel, taken, kept) in [(Channel::Consensus, true, [2, 3]), (Channel::Bulk, false, [1, 2])] {
            let queue = Queue::new(channel, 100);
            assert!(queue.push(payload(1, 50)) && queue.push(payload(2, 50)));
            assert_eq!((queue.push(payload(3, 10)), queue.dropped()), (taken, 1), "{channel:?}");
            assert!(queue.bytes() <= 100);
            assert_eq!(left(&queue), kept, "{channel:?}");
            assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn an_empty_queue_takes_one_frame_of_any_size() {
        for channel in Channel::ALL {
            let queue = Queue::new(channel, 10);
            assert!(queue.push(payload(1, 1_000)), "{channel:?}");
            queue.push(payload(2, 1_000));
            assert_eq!(queue.bytes(), 1_000, "{channel:?}");
        }
    }

    #[test]
    fn answers_to_pings_go_first_and_do_not_pile_up() {
        let queue = Queue::new(Channel::Bulk, 10);
        queue.push(payload(1, 5));
        for value in 7..=9 {
            queue.pong([value; ECHO_BYTES]);
        }
        assert_eq!(left(&queue), [9, 1]);
    }

    #[test]
    fn what_waited_moves_to_the_connection_that_replaces_it() {
        let (old, new) = (Queue::new(Channel::Consensus, 100), Queue::new(Channel::Consensus, 100));
        old.push(payload(1, 5));
        old.push(payload(2, 5));
        old.close(Some(&new));
        assert!(!old.push(payload(3, 5)));
        assert_eq!((left(&old), left(&new)), (vec![], vec![1, 2]));
    }
}
