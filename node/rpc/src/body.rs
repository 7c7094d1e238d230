//! Reads a request's body: bounded in bytes, time and memory, whether its length is announced or not.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::budget::{Account, FREE_BYTES};

/// Why a body is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Longer than allowed.
    TooLong,
    /// The server holds as many bytes as it may.
    Busy,
    /// It did not come in time.
    Late,
    /// The connection or its framing broke.
    Broken(String),
}

/// Collects the body. Its frames are copied together: a client may cut it into frames of one byte, each of which costs more than
/// the byte.
pub(crate) async fn read(
    body: Incoming,
    account: &mut Account,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Vec<u8>, Unread> {
    tokio::time::timeout(timeout, collect(body, account, bytes_max)).await.unwrap_or(Err(Unread::Late))
}

/// A body somewhat too long is read to its end and dropped, because many clients write all of it before they read the refusal, and
/// closing on them would destroy it. One that is far too long is refused at once.
async fn collect(mut body: Incoming, account: &mut Account, bytes_max: usize) -> Result<Vec<u8>, Unread> {
    let tolerated = bytes_max.saturating_mul(2) as u64;
    let announced = body.size_hint().lower();
    if announced > tolerated {
        return Err(Unread::TooLong);
    }
    let mut bytes = Vec::with_capacity(FREE_BYTES.min(announced as usize));
    let mut seen = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Unread::Broken(error.to_string()))?;
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len() as u64;
        if seen > tolerated {
            return Err(Unread::TooLong);
        }
        if seen > bytes_max as u64 {
            bytes = Vec::new();
            continue;
        }
        if !account.hold(data.len()) {
            return Err(Unread::Busy);
        }
        bytes.extend_from_slice(data);
    }
    if seen > bytes_max as u64 { Err(Unread::TooLong) } else { Ok(bytes) }
}
