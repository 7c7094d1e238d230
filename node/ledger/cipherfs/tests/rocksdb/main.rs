//! RocksDB on sealed files: what it may see, and what it must refuse.

mod crash;
mod database;
mod disk_full;
mod driver;
mod power;
mod shim;
mod tamper;
