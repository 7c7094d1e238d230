//! The transport of the only validator of a chain: there is nobody to send to.

use bixi_types::ports::{Destination, Transport};

/// Sends nowhere. The runtime uses it only when the validator set is this node alone.
#[derive(Debug, Default)]
pub struct Solitary;

impl Transport for Solitary {
    fn send(&self, _: Destination, _: Vec<u8>) {}
}
