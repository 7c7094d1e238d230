//! One caller, from its first frame to its end.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bixi_hsm::protocol::Refusal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zeroize::Zeroizing;

use super::Shared;
use crate::deadline::Timed;
use crate::frame::{self, FrameFault, Inbox};

/// Sends one frame, which must be taken within `limit`.
fn send(stream: &Timed, bytes: &[u8], limit: Duration) -> io::Result<()> {
    frame::write(&mut stream.until(Instant::now() + limit), bytes)
}

/// The last frame of a caller.
pub(super) fn refuse(shared: &Shared, stream: &Timed, refusal: Refusal) {
    // Whoever does not read it, does not.
    let _ = send(stream, &shared.handler.refusal(refusal), shared.params.frame);
}

/// Answers frame after frame, until the caller ends, breaks a bound, or the server stops.
pub(super) fn serve(shared: &Shared, stream: &Timed) {
    let mut inbox = Inbox::default();
    loop {
        let frame = match next(shared, stream, &mut inbox) {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(fault) => {
                tracing::warn!(%fault, "a caller's connection is ended");
                return refuse(shared, stream, refusal(&fault));
            }
        };
        let attended = shared.handler.attend();
        if is_hung_up(stream.stream()) {
            tracing::debug!("a caller hung up before its request was looked at");
            return;
        }
        let Some(_answering) = Answering::begin(shared) else { return };
        let answer = match attended {
            Ok(()) => shared.handler.answer(&frame),
            Err(refusal) => shared.handler.refusal(refusal),
        };
        if let Err(error) = send(stream, &answer, shared.params.frame) {
            tracing::warn!(%error, "a caller did not take its answer");
            return;
        }
    }
}

/// What a caller is told whose connection ends: whether it sent what no frame is, or did not send it in time.
fn refusal(fault: &FrameFault) -> Refusal {
    match fault {
        FrameFault::Io(_) => Refusal::Connection(format!("the frame did not come whole and in time: {fault}")),
        FrameFault::TooLong(_) | FrameFault::Empty => Refusal::Malformed(fault.to_string()),
    }
}

/// Whether nobody waits for the answer any more. One who will send no more may still wait for it.
fn is_hung_up(stream: &UnixStream) -> bool {
    // Neither is asked for: both are always told (poll(2)).
    let (mut asked, at_once) = ([PollFd::new(stream, PollFlags::empty())], Timespec::default());
    let told = poll(&mut asked, Some(&at_once)).is_ok_and(|count| count > 0);
    told && asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// The next frame; `None` when the caller has ended, or said nothing for so long that its place is wanted.
fn next(shared: &Shared, stream: &Timed, inbox: &mut Inbox) -> Result<Option<Zeroizing<Vec<u8>>>, FrameFault> {
    if inbox.is_empty() {
        match inbox.fill(&mut stream.until(Instant::now() + shared.params.idle)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            // It connects again when it has something to ask.
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::ConnectionReset) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    inbox.frame(&mut stream.until(Instant::now() + shared.params.frame)).map(Some)
}

/// A request between its frame and its answer; none begins once the server stops.
struct Answering<'a>(&'a Shared);

impl<'a> Answering<'a> {
    fn begin(shared: &'a Shared) -> Option<Self> {
        let mut open = shared.open();
        if open.is_closing {
            return None;
        }
        open.answering += 1;
        Some(Self(shared))
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.open().answering -= 1;
        self.0.changed.notify_all();
    }
}
