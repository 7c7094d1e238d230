//! RocksDB on sealed files: what it may see, and what it must refuse.

mod crash;
mod database;
mod disk_full;
mod driver;
#[path = "../support/kill.rs"]
mod kill;
mod power;
mod reseal;
mod shim;
mod tamper;
