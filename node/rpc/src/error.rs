//! RPC errors and their JSON-RPC codes.

use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::types::error::{OVERSIZED_RESPONSE_CODE, SERVER_IS_BUSY_CODE};

/// Characters of a client's own text that an error repeats: enough to recognise it, too little to be worth sending.
const QUOTED_CHARS_MAX: usize = 64;

/// Why a call could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A parameter is missing or malformed.
    #[error("{0}")]
    Params(String),
    /// The group is not this node's.
    #[error("group {found} does not exist here; this node serves {served:?}")]
    GroupNotExist {
        /// As asked, quoted and cut short.
        found: String,
        /// As served.
        served: String,
    },
    /// The node name is not this node's.
    #[error("node {found} is not here; this is {served:?}, and so is an empty name")]
    NodeNotExist {
        /// As asked, quoted and cut short.
        found: String,
        /// As served.
        served: String,
    },
    /// The thing asked for is not on this chain.
    #[error("{0}")]
    NotFound(String),
    /// The answer is larger than the server sends.
    #[error("{0}")]
    TooLarge(String),
    /// The server has no room for this call now.
    #[error("{0}")]
    Busy(String),
    /// A transaction was refused.
    #[error("{message}")]
    Refused {
        /// FISCO BCOS status code.
        code: i32,
        /// Why.
        message: String,
    },
    /// The node failed.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// JSON-RPC error code: FISCO BCOS's where it has one (3008 is its ledger's answer for what is not there), jsonrpsee's where
    /// the server refuses for its own sake.
    pub fn code(&self) -> i32 {
        match self {
            Self::Params(_) => -32602,
            Self::GroupNotExist { .. } => -32005,
            Self::NodeNotExist { .. } => -32000,
            Self::NotFound(_) => 3008,
            Self::TooLarge(_) => OVERSIZED_RESPONSE_CODE,
            Self::Busy(_) => SERVER_IS_BUSY_CODE,
            Self::Refused { code, .. } => *code,
            Self::Internal(_) => -32603,
        }
    }
}

impl From<ApiError> for ErrorObjectOwned {
    fn from(error: ApiError) -> Self {
        ErrorObjectOwned::owned(error.code(), error.to_string(), None::<()>)
    }
}

/// A client's text in quotes, cut short: errors must not grow with what was sent.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

/// Characters of a refusal that are sent: the node's own words are shorter, and what they quote of a transaction is cut.
const MESSAGE_CHARS_MAX: usize = 512;

/// A message from behind the port, cut short.
pub(crate) fn clipped(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_little_of_a_long_text() {
        assert_eq!(quoted("group1"), "\"group1\"");
        assert_eq!(quoted(&"é".repeat(64)), format!("\"{}\"", "é".repeat(64)));
        let long = quoted(&"\u{1}".repeat(1_000_000));
        assert!(long.len() < 500 && long.ends_with("… (1000000 bytes)"), "{long}");
    }
}
