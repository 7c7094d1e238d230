//! Hostile transactions against a running node, over JSON-RPC: each is refused with its reason, leaves no trace, and does not
//! stand in the way of the honest transaction it was made from.
//!
//! `BIXI_HOSTILE_REQUESTS` sets the junk requests of the flood (3,000 in the ordinary run), `BIXI_HOSTILE_SEED` the seed.

#![allow(clippy::print_stdout, reason = "seeds and totals are the tests' report")]

mod cases;
mod claims;
mod flood;
mod replays;
mod signatures;
mod splits;
