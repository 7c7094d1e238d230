//! Reading the state at one height while the chain moves on.

use std::sync::Arc;

use bixi_types::H256;
use bixi_types::state::{StateError, StateTable, StateView};

use crate::ledger::Core;

/// The state after one block. Holding it keeps the undo rows of later blocks in memory: hold it for one block or one call.
pub(crate) struct View {
    core: Arc<Core>,
    height: u64,
}

impl View {
    /// The state after the newest prepared block, or the head.
    pub(crate) fn newest(core: &Arc<Core>) -> Self {
        let mut layers = core.layers.write();
        let committed = core.committed_number();
        let height = layers.top(committed).map_or(committed, |layer| layer.number);
        layers.enter(height);
        Self { core: Arc::clone(core), height }
    }

    /// The state after the head.
    pub(crate) fn committed(core: &Arc<Core>) -> Self {
        // Under the lock, because a commit retires layers under it: the undo rows above this height are still there.
        let mut layers = core.layers.write();
        let height = core.committed_number();
        layers.enter(height);
        Self { core: Arc::clone(core), height }
    }

    /// The height whose state it shows.
    pub(crate) fn height(&self) -> u64 {
        self.height
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.core.layers.write().leave(self.height);
    }
}

impl StateView for View {
    fn get(&self, table: StateTable, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let row = self.core.row_at(self.height, table, key).map_err(|error| StateError(error.to_string()))?;
        Ok(row.map(|value| value.to_vec()))
    }

    fn block_hash(&self, number: u64) -> Result<Option<H256>, StateError> {
        if number > self.height {
            return Ok(None);
        }
        self.core.hash_at(number).map_err(|error| StateError(error.to_string()))
    }
}
