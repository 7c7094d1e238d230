//! The plan: any bytes are refused or read, never a panic, and what is read writes back to bytes that read the same.

use crate::{consensus, files, hsm, network, types};

/// Reads bytes, holds what it read to the plan; true when it read them.
pub(crate) type Check = fn(&[u8]) -> bool;

/// One decoder of what somebody else wrote.
pub(crate) struct Decoder {
    pub(crate) name: &'static str,
    pub(crate) check: Check,
    /// Valid encodings: a fuzzer begins with them.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Whether the beginning of one may be one.
    #[allow(dead_code, reason = "the fuzzer does not ask")]
    pub(crate) is_prefix_valid: bool,
}

impl Decoder {
    /// A decoder that reads whole messages only.
    pub(crate) fn new(name: &'static str, check: Check, seeds: Vec<Vec<u8>>) -> Self {
        Self { name, check, seeds, is_prefix_valid: false }
    }

    /// A decoder of what may end earlier and still be whole, such as between two fields of tars or two lines of a file.
    pub(crate) fn open_ended(name: &'static str, check: Check, seeds: Vec<Vec<u8>>) -> Self {
        Self { is_prefix_valid: true, ..Self::new(name, check, seeds) }
    }
}

/// Every decoder of bytes from peers, clients, disks and operators that a room shows.
pub(crate) fn decoders() -> Vec<Decoder> {
    let rooms = [types::decoders(), consensus::decoders(), network::decoders(), hsm::decoders(), files::decoders()];
    rooms.into_iter().flatten().collect()
}
