//! The signing protocol, key references, and what a TLS library hands over to be signed.

use bixi_hsm::protocol::{FrameError, KeyRole, Message, Request, Response, TlsRole, TlsTranscript};
use bixi_hsm::{KeyRef, KeyUri};
use bixi_hsm_broker::frame;

use crate::plan::Decoder;

fn message<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
    let Ok::<M, FrameError>(read) = M::decode(bytes) else { return false };
    assert_eq!(*read.encode(), bytes);
    true
}

/// A frame on the broker's socket, whose stream ends with it.
fn broker_frame(mut bytes: &[u8]) -> bool {
    let whole = bytes;
    let Ok(read) = frame::read(&mut bytes) else { return false };
    let mut written = Vec::new();
    frame::write(&mut written, &read).expect("memory takes it");
    assert_eq!(written, whole[..whole.len() - bytes.len()]);
    bytes.is_empty()
}

/// What is read is shown in one way, which reads the same.
fn key_uri(bytes: &[u8]) -> bool {
    let Some(read) = text(bytes).and_then(|text| text.parse::<KeyUri>().ok()) else { return false };
    let _ = text(bytes).expect("read before").parse::<KeyRef>();
    assert_eq!(read.to_string().parse(), Ok(read));
    true
}

fn tls_transcript(bytes: &[u8]) -> bool {
    let Some(read) = TlsTranscript::from_content(bytes) else { return false };
    assert_eq!(read.content(), bytes);
    true
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// All of them.
pub(crate) fn decoders() -> Vec<Decoder> {
    let transcript = TlsTranscript { role: TlsRole::Server, hash: [5; 32] };
    let requests = [
        Request::SignTls(transcript),
        Request::SignCheckpoint { header: vec![1; 90] },
        Request::Random { len: 32 },
        Request::Attest(KeyRole::Kek),
        Request::Health,
        Request::Settle,
        Request::TellDue,
    ];
    let responses = [Response::PublicKey([7; 64]), Response::Settled];
    let uri = b"pkcs11:token=bixi;object=consensus;type=private;id=%01%02?module-path=/usr/lib/libx.so".to_vec();
    vec![
        Decoder::new(
            "signing-request",
            message::<Request>,
            requests.iter().map(|request| request.encode().to_vec()).collect(),
        ),
        Decoder::new(
            "signing-response",
            message::<Response>,
            responses.iter().map(|one| one.encode().to_vec()).collect(),
        ),
        Decoder::new("broker-frame", broker_frame, vec![[&[5, 0, 0, 0][..], b"frame"].concat()]),
        Decoder::open_ended("key-uri", key_uri, vec![uri]),
        Decoder::new("tls-transcript", tls_transcript, vec![transcript.content()]),
    ]
}
