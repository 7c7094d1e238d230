//! A stream that has to be done by a moment, however its bytes drip.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How much longer than it has a call may wait: telling the kernel the time anew for every call costs as much as the call.
const SLACK: Duration = Duration::from_millis(50);

/// A connection, and the times that its socket has for reading and writing.
#[derive(Debug)]
pub(crate) struct Timed {
    stream: UnixStream,
    read: Cell<Duration>,
    write: Cell<Duration>,
}

impl Timed {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, read: Cell::default(), write: Cell::default() }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The stream until a moment: every call waits for no longer than what is left.
    pub(crate) fn until(&self, moment: Instant) -> Until<'_> {
        Until { timed: self, moment }
    }
}

/// A stream until a moment.
pub(crate) struct Until<'a> {
    timed: &'a Timed,
    moment: Instant,
}

impl Until<'_> {
    /// Makes a call with a socket that has about as much time as is left.
    fn in_time<T>(
        &self,
        known: &Cell<Duration>,
        set: impl FnOnce(Option<Duration>) -> io::Result<()>,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let left = self.moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if known.get() < left || known.get() - left > SLACK {
            set(Some(left))?;
            known.set(left);
        }
        // A socket's timeout reads as "would block".
        call().map_err(|error| if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error })
    }
}

impl Read for Until<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut stream = &self.timed.stream;
        self.in_time(&self.timed.read, |left| stream.set_read_timeout(left), || stream.read(out))
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = &self.timed.stream;
        self.in_time(&self.timed.write, |left| stream.set_write_timeout(left), || stream.write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut stream = &self.timed.stream;
        self.in_time(&self.timed.write, |left| stream.set_write_timeout(left), || stream.write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_has_passed_ends_reading_and_writing() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"here").unwrap();
        let ours = Timed::new(ours);
        let mut late = ours.until(Instant::now());
        assert_eq!(late.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(late.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
        let mut early = ours.until(Instant::now() + Duration::from_secs(60));
        let mut bytes = [0; 4];
        early.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"here");
    }

    #[test]
    fn silence_ends_with_the_moment() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Timed::new(ours);
        let began = Instant::now();
        for left_ms in [20, 5_000, 20, 2_000, 20] {
            let mut short = ours.until(Instant::now() + Duration::from_millis(left_ms));
            if left_ms < 1_000 {
                assert_eq!(short.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
            } else {
                // A long time that the socket has is no time for those who have less, nor the other way round.
                theirs.write_all(b"x").unwrap();
                short.read_exact(&mut [0; 1]).unwrap();
            }
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
