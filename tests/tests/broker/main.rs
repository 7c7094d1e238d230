//! Nodes whose keys are held by a broker, a process of its own: what it signs, what happens when its worker dies, hangs or is stopped,
//! who is served, and where the PIN is.
#![allow(missing_docs)]

mod bench;
mod custody;
mod device;
mod files;
mod kills;
mod login;
mod pin;
mod socket;
mod speed;
mod worker;
