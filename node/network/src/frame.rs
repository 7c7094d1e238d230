//! What goes over a session: frames, one after the other.
//!
//! ```text
//! frame = length of what follows (4 bytes, big endian) ‖ kind (1 byte) ‖ body
//! ```
//!
//! [`Decoder`] is pure: bytes in, frames out, however the bytes are cut. A length is judged as soon as it is there, and a body grows
//! with what arrives (at most to twice of it), so that nobody makes a node allocate by promising.

#[cfg(test)]
mod tests;

use bixi_types::limits::{MESSAGE_BYTES_MAX, SESSION_FRAME_BYTES_MAX};

/// Bytes before a body.
pub const HEAD_BYTES: usize = LENGTH_BYTES + 1;
const LENGTH_BYTES: usize = 4;
/// Bytes of a ping's and a pong's body.
pub const ECHO_BYTES: usize = 8;

/// Declares the kinds with their codes on the wire.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $bytes_max:expr;)+) => {
        /// What a frame is.
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $name = $code,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Longest body.
            pub const fn body_bytes_max(self) -> usize {
                match self {
                    $(Self::$name => $bytes_max,)+
                }
            }
        }
    };
}

kinds! {
    /// Who speaks; the server begins.
    Hello = 1, SESSION_FRAME_BYTES_MAX;
    /// Signature that binds node and connection.
    Proof = 2, SESSION_FRAME_BYTES_MAX;
    /// The server's proof was accepted: the session is open.
    Ready = 3, 0;
    /// The last frame of whoever ends the session: why.
    Refusal = 4, SESSION_FRAME_BYTES_MAX;
    /// Asks for a pong.
    Ping = 5, ECHO_BYTES;
    /// A ping's body, returned.
    Pong = 6, ECHO_BYTES;
    /// A payload of the layers above.
    Message = 7, MESSAGE_BYTES_MAX;
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == code)
    }
}

/// Why bytes are no frames. The connection cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame without even a kind.
    #[error("a frame of length 0")]
    Empty,
    /// A kind this version does not know.
    #[error("a frame of kind {0}, which this version does not know")]
    Kind(u8),
    /// Longer than its kind may be, or than any may be.
    #[error("a frame of {bytes} bytes; at most {bytes_max} are allowed")]
    TooLong {
        /// Length announced, kind included.
        bytes: usize,
        /// Longest allowed, kind included.
        bytes_max: usize,
    },
}

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its body.
    pub body: Vec<u8>,
}

/// The bytes before a body of `body_bytes`.
///
/// # Panics
/// When the body is longer than its kind allows: whoever sends checks that first.
pub fn head(kind: Kind, body_bytes: usize) -> [u8; HEAD_BYTES] {
    assert!(body_bytes <= kind.body_bytes_max(), "{kind:?} of {body_bytes} bytes");
    let length = u32::try_from(body_bytes + 1).expect("bounded far below 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    [a, b, c, d, kind as u8]
}

/// A whole frame as bytes.
pub fn encode(kind: Kind, body: &[u8]) -> Vec<u8> {
    [&head(kind, body.len())[..], body].concat()
}

/// Cuts a stream of bytes into frames. After an error it must not be used again.
#[derive(Debug, Default)]
pub struct Decoder {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    body: Vec<u8>,
}

impl Decoder {
    /// Takes from the front of `input` until a frame is whole or nothing is left.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        let Some((kind, body_bytes)) = self.take_head(input)? else { return Ok(None) };
        let missing = body_bytes - self.body.len();
        self.body.extend_from_slice(take(input, missing));
        if self.body.len() < body_bytes {
            return Ok(None);
        }
        self.head_bytes = 0;
        Ok(Some(Frame { kind, body: std::mem::take(&mut self.body) }))
    }

    /// Whether a frame has begun and is not whole.
    pub fn is_inside(&self) -> bool {
        self.head_bytes > 0
    }

    fn take_head(&mut self, input: &mut &[u8]) -> Result<Option<(Kind, usize)>, FrameError> {
        let piece = take(input, HEAD_BYTES - self.head_bytes);
        self.head[self.head_bytes..][..piece.len()].copy_from_slice(piece);
        self.head_bytes += piece.len();
        if self.head_bytes < LENGTH_BYTES {
            return Ok(None);
        }
        let [a, b, c, d, code] = self.head;
        let bytes = u32::from_be_bytes([a, b, c, d]) as usize;
        let body_bytes = bytes.checked_sub(1).ok_or(FrameError::Empty)?;
        check(bytes, MESSAGE_BYTES_MAX)?;
        if self.head_bytes < HEAD_BYTES {
            return Ok(None);
        }
        let kind = Kind::from_code(code).ok_or(FrameError::Kind(code))?;
        check(bytes, kind.body_bytes_max())?;
        Ok(Some((kind, body_bytes)))
    }
}

fn check(bytes: usize, body_bytes_max: usize) -> Result<(), FrameError> {
    let bytes_max = body_bytes_max + 1;
    if bytes > bytes_max { Err(FrameError::TooLong { bytes, bytes_max }) } else { Ok(()) }
}

fn take<'a>(input: &mut &'a [u8], bytes_max: usize) -> &'a [u8] {
    let (piece, rest) = input.split_at(bytes_max.min(input.len()));
    *input = rest;
    piece
}
