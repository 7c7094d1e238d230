//! Why bytes from a peer or from the log were refused.

/// Bytes that are not one well-formed, bounded message or log entry. From a peer: drop the message and charge the peer.
/// From the log: the log was written by another version or damaged above the codec; refuse to start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More bytes than one message may have.
    #[error("message of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Bytes received.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes do not follow the encoding, or go on after its end.
    #[error("malformed {what}: {detail}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// The decoder's words.
        detail: String,
    },
    /// A list is longer than the shared limit.
    #[error("{what} has {found} elements, the limit is {limit}")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// Elements found.
        found: usize,
        /// Elements allowed.
        limit: usize,
    },
    /// A log entry of a format this binary does not know.
    #[error("log format {found}, this binary reads {known}")]
    Version {
        /// Version found.
        found: u8,
        /// Version known.
        known: u8,
    },
}
