//! The life cycle of a node's keys, by the program that officers use.
#![allow(missing_docs)]

mod bench;
mod guard;
mod initialisation;
mod keys;
mod rotation;
mod trail;
