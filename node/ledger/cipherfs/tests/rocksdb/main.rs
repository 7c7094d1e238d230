//! RocksDB on sealed files: what it may see, and what it must refuse.

#![allow(clippy::print_stdout, reason = "seeds and totals are what a campaign reports")]

mod bits;
mod crash;
mod database;
mod disk_full;
mod driver;
mod edits;
#[path = "../support/kill.rs"]
mod kill;
mod plain;
mod power;
mod reseal;
mod shim;
mod tamper;
