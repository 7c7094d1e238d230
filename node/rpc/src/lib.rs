//! bixi-rpc.
