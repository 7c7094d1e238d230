//! Somebody who changes a row of a stopped node's state: with the node's own PIN and keys, through the ledger's own database, in a process
//! of its own, because a token's module finds its token by the environment.

use std::path::{Path, PathBuf};

use bixi_ledger::engine::{Batch, Engine as _};
use bixi_ledger::keys::{self, Column};
use bixi_types::state::StateTable;

use crate::opened::{in_child, ledger_params};

/// The stopped node's directory, and the users whose balance is set.
const NODE: &str = "BIXI_MEDDLER_NODE";
const USERS: &str = "BIXI_MEDDLER_USERS";

/// Gives users a balance that no block gave them.
pub(crate) fn give_balance(config: &Path, users: &[String]) {
    let node = config.parent().expect("a node's directory");
    let users = users.join(" ");
    let variables = [(NODE, node.as_os_str()), (USERS, users.as_ref())];
    in_child("meddler::a_balance_that_no_block_gave", node, &variables);
}

#[test]
#[ignore = "the meddler's process: runs as a child of the tests"]
fn a_balance_that_no_block_gave() {
    let (Some(node), Ok(users)) = (std::env::var_os(NODE).map(PathBuf::from), std::env::var(USERS)) else { return };
    let mut batch = Batch::default();
    for user in users.split(' ') {
        batch.put(Column::State, keys::state(StateTable::DagTransfer, user.as_bytes()), [1; 32]);
    }
    ledger_params(&node).open_engine().expect("the ledger's database").write(batch).expect("written");
}
