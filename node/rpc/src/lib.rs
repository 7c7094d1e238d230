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
mod checksum;
mod dispatch;
mod error;
mod json;
mod methods;
mod params;
mod server;

pub use api::{
    BoxFuture, CallOutput, ChainInfo, ConnectionId, ConsensusStatus, Health, HealthCheck, Located, LocatedReceipt,
    NodeApi, NodeInfo, SealerInfo, SubmitError, Submitted, SyncStatus, TransactionCounts,
};
pub use error::ApiError;
pub use server::{Params, Server, ServerError, serve};
