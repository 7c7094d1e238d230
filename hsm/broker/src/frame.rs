//! Frames on a stream: four bytes of length, little endian, then a frame of [`bixi_hsm::protocol`].
//!
//! The length is judged before anything is allocated for it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use bixi_hsm::protocol::FRAME_BYTES_MAX;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes before a frame.
pub const LENGTH_BYTES: usize = 4;

/// Why no frame was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// The stream failed, ended inside the frame, or did not bring it in time.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Longer than any frame.
    #[error("a frame of {0} bytes is announced; at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(u32),
    /// No frame is empty.
    #[error("an empty frame is announced")]
    Empty,
}

/// What has come of a stream and was not given out yet. A frame comes with one call of the system as a rule, its length included.
#[derive(Debug)]
pub struct Inbox {
    bytes: Zeroizing<Vec<u8>>,
    begin: usize,
    end: usize,
}

impl Default for Inbox {
    /// Takes frames of the daily work in one piece.
    fn default() -> Self {
        Self::of(1024)
    }
}

impl Inbox {
    /// Takes no more than `bytes` before they are asked for, at least a length.
    fn of(bytes: usize) -> Self {
        Self { bytes: Zeroizing::new(vec![0; bytes.max(LENGTH_BYTES)]), begin: 0, end: 0 }
    }

    /// Whether nothing of another frame has come.
    pub fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// Waits for bytes; how many came, which is none when the stream has ended.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let held = self.end - self.begin;
        self.bytes.copy_within(self.begin..self.end, 0);
        self.bytes[held..self.end].zeroize();
        (self.begin, self.end) = (0, held);
        loop {
            match source.read(&mut self.bytes[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next frame; a stream that ends before it began is an error.
    ///
    /// # Errors
    /// [`FrameFault`]; the stream is of no use afterwards.
    pub fn frame(&mut self, source: &mut impl Read) -> Result<Zeroizing<Vec<u8>>, FrameFault> {
        while self.end - self.begin < LENGTH_BYTES {
            if self.fill(source)? == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
        }
        let mut length = [0; LENGTH_BYTES];
        self.take(&mut length);
        let announced = u32::from_le_bytes(length);
        match announced as usize {
            0 => Err(FrameFault::Empty),
            bytes if bytes > FRAME_BYTES_MAX => Err(FrameFault::TooLong(announced)),
            bytes => {
                let mut frame = Zeroizing::new(vec![0; bytes]);
                let here = bytes.min(self.end - self.begin);
                self.take(&mut frame[..here]);
                source.read_exact(&mut frame[here..])?;
                Ok(frame)
            }
        }
    }

    /// Gives out bytes that are here, and keeps no copy: they may be secret.
    fn take(&mut self, out: &mut [u8]) {
        let taken = &mut self.bytes[self.begin..self.begin + out.len()];
        out.copy_from_slice(taken);
        taken.zeroize();
        self.begin += out.len();
    }
}

/// Reads a frame and nothing behind it; a stream that ends before it began is an error.
///
/// # Errors
/// [`FrameFault`]; the stream is of no use afterwards.
pub fn read(source: &mut impl Read) -> Result<Zeroizing<Vec<u8>>, FrameFault> {
    Inbox::of(LENGTH_BYTES).frame(source)
}

/// Writes a frame.
///
/// # Errors
/// Those of the stream, which is of no use afterwards.
///
/// # Panics
/// When the frame is longer than any: whoever made it broke the protocol's bound.
pub fn write(sink: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    assert!(frame.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", frame.len());
    let length = (frame.len() as u32).to_le_bytes();
    // In one piece as a rule: the other end is woken once.
    let written = loop {
        match sink.write_vectored(&[IoSlice::new(&length), IoSlice::new(frame)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => break count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    sink.write_all(&length[written.min(LENGTH_BYTES)..])?;
    sink.write_all(&frame[written.saturating_sub(LENGTH_BYTES)..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A stream that brings its bytes in pieces of the given lengths, and is interrupted in between.
    struct Pieces<'a> {
        bytes: &'a [u8],
        lengths: std::iter::Cycle<std::slice::Iter<'a, usize>>,
        is_interrupted: bool,
    }

    impl<'a> Pieces<'a> {
        fn new(bytes: &'a [u8], lengths: &'a [usize]) -> Self {
            Self { bytes, lengths: lengths.iter().cycle(), is_interrupted: false }
        }
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            let length = (*self.lengths.next().expect("endless")).clamp(1, out.len().max(1));
            self.bytes.read(&mut out[..length])
        }
    }

    fn written(frame: &[u8]) -> Vec<u8> {
        let mut stream = Vec::new();
        write(&mut stream, frame).unwrap();
        stream
    }

    #[test]
    fn the_longest_frame_passes_and_a_longer_one_is_refused_before_it_is_read() {
        let longest = vec![7; FRAME_BYTES_MAX];
        assert_eq!(*read(&mut &written(&longest)[..]).unwrap(), longest);
        for announced in [FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let stream = announced.to_le_bytes();
            assert!(matches!(read(&mut &stream[..]), Err(FrameFault::TooLong(told)) if told == announced));
        }
        assert!(matches!(read(&mut &[0; LENGTH_BYTES][..]), Err(FrameFault::Empty)));
        assert_eq!(Inbox::default().fill(&mut &[][..]).unwrap(), 0);
    }

    #[test]
    #[should_panic(expected = "a frame of 262145 bytes")]
    fn nobody_writes_a_longer_one() {
        let _ = write(&mut Vec::new(), &vec![0; FRAME_BYTES_MAX + 1]);
    }

    proptest! {
        #[test]
        fn frames_come_back_in_order_however_they_are_cut(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..6),
            lengths in proptest::collection::vec(1_usize..40, 1..8),
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(|frame| written(frame)).collect();
            for bytes_ahead in [0, 7, 1024] {
                let (mut source, mut inbox) = (Pieces::new(&stream, &lengths), Inbox::of(bytes_ahead));
                for frame in &frames {
                    prop_assert_eq!(&*inbox.frame(&mut source).unwrap(), frame);
                }
                prop_assert!(inbox.is_empty());
                prop_assert_eq!(inbox.fill(&mut source).unwrap(), 0);
                prop_assert!(inbox.bytes.iter().all(|byte| *byte == 0), "what was given out is kept");
            }
            let mut source = Pieces::new(&stream, &lengths);
            for frame in &frames {
                prop_assert_eq!(&*read(&mut source).unwrap(), frame);
            }
        }

        /// Whatever comes is a frame of the announced length or refused; a cut one is never given out.
        #[test]
        fn any_bytes_are_a_whole_frame_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            announced in 0_u32..100,
            is_announced in any::<bool>(),
            lengths in proptest::collection::vec(1_usize..9, 1..8),
        ) {
            let head = if is_announced { announced.to_le_bytes().to_vec() } else { Vec::new() };
            let stream = [head, bytes].concat();
            match read(&mut Pieces::new(&stream, &lengths)) {
                Ok(frame) => {
                    let end = LENGTH_BYTES + frame.len();
                    prop_assert_eq!(&stream[..LENGTH_BYTES], &(frame.len() as u32).to_le_bytes());
                    prop_assert_eq!(&stream[LENGTH_BYTES..end], &frame[..]);
                }
                Err(FrameFault::Io(error)) => prop_assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
                Err(FrameFault::TooLong(_) | FrameFault::Empty) => {}
            }
        }
    }
}
