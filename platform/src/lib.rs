//! What Bixi takes from the operating system, in one place: locked memory for secrets, huge pages, randomness, files,
//! the machine's topology, the placement of threads, credentials and the service manager.
//!
//! Invariants
//! - Secrets live in [`secret::Secret`]: locked, excluded from core dumps, wiped in forked children and on drop.
//! - Files are reached through [`io::Storage`] and [`io::File`], so that every room can be tested against a disk that
//!   fails, fills up, or loses what was not synced.
//! - Threads are made by [`threads::Spawner`] only: named, placed and listed.
//!
//! ```text
//! topology ──► placement ──► threads ──► every other room's workers
//! secret ◄── credentials      io ◄── sealed ◄── ledger, hsm, consensus log
//! ```
//!
//! Unsafe code is confined to the calls of the C library, `mmap` and io_uring, each with its SAFETY line.

#![cfg(target_os = "linux")]

pub mod clock;
pub mod credentials;
pub mod descriptors;
pub mod host;
pub mod huge_pages;
pub mod inherited;
pub mod io;
pub mod notify;
pub mod peer;
pub mod placement;
pub mod random;
pub mod secret;
#[cfg(test)]
mod smaps;
pub mod threads;
pub mod topology;
