//! FISCO BCOS 3.x JSON-RPC over HTTP, `/healthz` and `/metrics`: decode, limit, forward.
//!
//! The room knows the node only through [`NodeApi`]; it holds no state of its own but open connections. Every size and count
//! is bounded before anything is allocated: connections, header time, body bytes, calls in a batch.
//!
//! ```text
//! socket → hyper → body limit → envelope(s) → method table (jsonrpsee) → NodeApi → JSON
//! ```

#![forbid(unsafe_code)]

mod api;
mod body;
mod budget;
mod checksum;
mod dispatch;
mod error;
mod http;
mod json;
mod limits;
mod methods;
mod params;
mod request;
mod server;
mod socket;

pub use api::{
    BoxFuture, CallOutput, ChainInfo, ConnectionId, ConsensusStatus, Head, Health, HealthCheck, Joining, Located,
    LocatedReceipt, NodeApi, NodeInfo, NodeStatus, Peer, SealerInfo, SubmitError, Submitted, SyncStatus,
    TransactionCounts,
};
pub use error::ApiError;
pub use limits::{Bounds, Params, WRITE_BYTES_PER_SECOND_MIN};
pub use server::{Server, ServerError, serve};
