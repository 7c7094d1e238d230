//! RPC errors and their JSON-RPC codes.

use jsonrpsee::types::ErrorObjectOwned;

/// Why a call could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A parameter is missing or malformed.
    #[error("{0}")]
    Params(String),
    /// The group is not this node's.
    #[error("group {found:?} does not exist here; this node serves {served:?}")]
    GroupNotExist {
        /// As asked.
        found: String,
        /// As served.
        served: String,
    },
    /// The node name is not this node's.
    #[error("node {found:?} is not here; this is {served:?}")]
    NodeNotExist {
        /// As asked.
        found: String,
        /// As served.
        served: String,
    },
    /// The thing asked for is not on this chain.
    #[error("{0}")]
    NotFound(String),
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
    /// JSON-RPC error code, FISCO BCOS's where it has one.
    pub fn code(&self) -> i32 {
        match self {
            Self::Params(_) => -32602,
            Self::GroupNotExist { .. } => -32005,
            Self::NodeNotExist { .. } => -32000,
            Self::NotFound(_) => -32001,
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
