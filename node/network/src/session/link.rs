//! Frames over one TLS connection, with the limits in time that a slow peer meets.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsStream;

use crate::frame::{self, Decoder, Frame, HEAD_BYTES, Kind};
use crate::session::error::SessionError;
use crate::session::refusal::Refusal;

/// Bytes of a whole TLS record (RFC 8446 5.1): what is read at once, and what a frame begins with.
const RECORD_BYTES: usize = 16 * 1024;
/// How long a side that has said why it leaves waits for the other one to have read it. A socket closed over unread bytes is
/// reset, and a reset overtakes what was said.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// Longer than any deadline that may surround a read.
pub(crate) const NO_LIMIT: Duration = Duration::from_secs(24 * 3600);

pub(crate) type Reader = FrameReader<ReadHalf<TlsStream<TcpStream>>>;
pub(crate) type Writer = WriteHalf<TlsStream<TcpStream>>;

/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the first byte of a frame.
    pub(crate) silence: Duration,
    /// From a frame's first byte to its last.
    pub(crate) frame: Duration,
}

/// Reads frames. Dropping a call of [`Self::next`] loses nothing.
pub(crate) struct FrameReader<R> {
    io: R,
    decoder: Decoder,
    buffer: Box<[u8]>,
    /// What of the buffer is not decoded yet.
    pending: std::ops::Range<usize>,
    /// When the frame in the decoder began.
    began: Option<Instant>,
    /// Bytes read.
    pub(crate) bytes: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(io: R) -> Self {
        let buffer = vec![0; RECORD_BYTES].into_boxed_slice();
        Self { io, decoder: Decoder::default(), buffer, pending: 0..0, began: None, bytes: 0 }
    }

    /// The next frame; `None` when the peer has closed between two of them.
    pub(crate) async fn next(&mut self, patience: Patience) -> Result<Option<Frame>, SessionError> {
        let called = Instant::now();
        loop {
            if let Some(frame) = self.decode()? {
                return Ok(Some(frame));
            }
            let (began, limit, what) = match self.began {
                Some(began) => (began, patience.frame, "end of a frame that had begun"),
                None => (called, patience.silence, "frame"),
            };
            let read = timeout_at(began + limit, self.io.read(&mut self.buffer)).await;
            let slow = |_| SessionError::Slow { what, limit_ms: limit.as_millis() as u64 };
            match read.map_err(slow)?.map_err(|error| SessionError::from_io(&error))? {
                0 if self.decoder.is_inside() => return Err(SessionError::Closed("in the middle of a frame")),
                0 => return Ok(None),
                bytes => {
                    self.pending = 0..bytes;
                    self.bytes += bytes as u64;
                }
            }
        }
    }

    fn decode(&mut self) -> Result<Option<Frame>, SessionError> {
        let mut input = &self.buffer[self.pending.clone()];
        let frame = self.decoder.next(&mut input)?;
        self.pending.start = self.pending.end - input.len();
        self.began = if self.decoder.is_inside() { self.began.or_else(|| Some(Instant::now())) } else { None };
        Ok(frame)
    }

    /// Reads and forgets until the peer has closed too, for a while.
    pub(crate) async fn drain(&mut self) {
        drain(&mut self.io, &mut self.buffer).await;
    }
}

async fn drain(io: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) {
    let until_closed = async { while matches!(io.read(buffer).await, Ok(1..)) {} };
    let _ = timeout(FAREWELL, until_closed).await;
}

/// Leaves a connection whose TLS handshake failed: what rustls has said of it (RFC 8446 6.2) shall arrive.
pub(crate) async fn leave(mut tcp: TcpStream) {
    let _ = tcp.shutdown().await;
    drain(&mut tcp, &mut [0; 1024]).await;
}

/// Writes a frame and has it go. Every write becomes a record and a packet of its own, so the head travels with the body.
pub(crate) async fn write(io: &mut (impl AsyncWrite + Unpin), kind: Kind, body: &[u8]) -> std::io::Result<()> {
    let (first, rest) = body.split_at(body.len().min(RECORD_BYTES - HEAD_BYTES));
    io.write_all(&[&frame::head(kind, body.len())[..], first].concat()).await?;
    io.write_all(rest).await?;
    io.flush().await
}

/// The last words: why, and the end of what we write.
pub(crate) async fn part(io: &mut (impl AsyncWrite + Unpin), refusal: Option<&Refusal>) {
    let words = async {
        if let Some(refusal) = refusal {
            write(io, Kind::Refusal, &refusal.encode()).await?;
        }
        io.shutdown().await
    };
    // Whoever does not read them is not waited for.
    let _ = timeout(FAREWELL, words).await;
}

/// Both directions, before the session is open.
pub(crate) struct Link {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// What the peer showed, its own certificate first.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Link {
    pub(crate) fn new(tls: TlsStream<TcpStream>) -> Self {
        let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let certificates = certificates.iter().map(|der| der.clone().into_owned()).collect();
        let (reader, writer) = tokio::io::split(tls);
        Self { reader: FrameReader::new(reader), writer, certificates }
    }

    pub(crate) async fn send(&mut self, kind: Kind, body: &[u8]) -> Result<(), SessionError> {
        write(&mut self.writer, kind, body).await.map_err(|error| SessionError::from_io(&error))
    }

    /// Tells the peer why, and waits until it has read it.
    pub(crate) async fn refuse(&mut self, refusal: &Refusal) {
        part(&mut self.writer, Some(refusal)).await;
        self.reader.drain().await;
    }
}
