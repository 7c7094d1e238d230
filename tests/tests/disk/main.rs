//! Faults of the disk under a whole node: full in the middle of commits, bytes changed at rest, bytes changed under a live node.
//!
//! `BIXI_DISK_ROUNDS` sets how often the disk fills up (2 in the ordinary run), `BIXI_FLIP_OFFSETS` the flipped bytes in each
//! kind of file (2), `BIXI_DISK_SEED` the seed.

#![allow(clippy::print_stdout, reason = "seeds, offsets and totals are the tests' report")]

mod flipped_at_rest;
mod flipped_live;
mod full;
mod load;
mod verified;
