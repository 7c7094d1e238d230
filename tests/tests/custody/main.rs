//! The life cycle of a node's keys, by the program that officers use.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "what was skipped is the test's report")]

mod bench;
mod guard;
mod initialisation;
mod keys;
mod rotation;
mod trail;
