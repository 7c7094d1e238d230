//! The state a chain begins with.

use bixi_types::genesis::Genesis;
use bixi_types::state::WriteSet;

use crate::system;

/// The rows of block 0: configuration and validators.
pub fn genesis_writes(genesis: &Genesis) -> WriteSet {
    let rows = system::genesis_config_rows(genesis).chain([system::genesis_node_row(genesis)]);
    rows.map(|(key, row)| (key, Some(row))).collect()
}
