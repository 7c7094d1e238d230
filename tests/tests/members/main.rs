//! Nodes of a live chain of real processes that come and go.

mod rolling;
