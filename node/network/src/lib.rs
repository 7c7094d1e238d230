//! bixi-network.
