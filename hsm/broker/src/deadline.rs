//! A stream that has to be done by a moment, however its bytes drip.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A stream until a moment: every call waits for no longer than what is left.
pub(crate) struct Until<'a> {
    stream: &'a UnixStream,
    moment: Instant,
}

impl<'a> Until<'a> {
    pub(crate) fn new(stream: &'a UnixStream, moment: Instant) -> Self {
        Self { stream, moment }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.moment.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

/// A socket's timeout reads as "would block".
fn in_time<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error })
}

impl Read for Until<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        in_time(self.stream.read(out))
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        in_time(self.stream.write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        in_time(self.stream.write_vectored(pieces))
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
        let mut late = Until::new(&ours, Instant::now());
        assert_eq!(late.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(late.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
        let mut early = Until::new(&ours, Instant::now() + Duration::from_secs(60));
        let mut bytes = [0; 4];
        early.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"here");
    }

    #[test]
    fn silence_ends_with_the_moment() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut short = Until::new(&ours, Instant::now() + Duration::from_millis(20));
        assert_eq!(short.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
