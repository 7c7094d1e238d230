//! The engine in memory, for simulators and tests. Nothing is durable.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Batch, Engine, EngineError, Reader, Visit, Watch};
use crate::keys::Column;

type Tables = [BTreeMap<Vec<u8>, Vec<u8>>; Column::ALL.len()];

/// A store of ordered maps.
#[derive(Default)]
pub struct MemoryEngine {
    tables: RwLock<Arc<Tables>>,
}

impl MemoryEngine {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> Frozen {
        Frozen(Arc::clone(&self.tables.read()))
    }
}

impl Reader for MemoryEngine {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.state().get(column, key)
    }

    fn multi_get(&self, column: Column, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.state().multi_get(column, keys)
    }

    fn scan(&self, column: Column, prefix: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.state().scan(column, prefix, visit)
    }

    fn walk(&self, column: Column, first: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.state().walk(column, first, visit)
    }
}

impl Engine for MemoryEngine {
    /// Nothing is on disk.
    fn reseal(&self, _watch: Watch<'_>) -> Result<bool, EngineError> {
        Ok(true)
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut guard = self.tables.write();
        let tables = Arc::make_mut(&mut guard);
        for (column, key, value) in batch.writes {
            let table = &mut tables[column.index()];
            match value {
                Some(value) => table.insert(key, value),
                None => table.remove(&key),
            };
        }
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Reader + '_> {
        Box::new(self.state())
    }
}

struct Frozen(Arc<Tables>);

impl Reader for Frozen {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.0[column.index()].get(key).cloned())
    }

    fn multi_get(&self, column: Column, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        keys.iter().map(|key| self.get(column, key)).collect()
    }

    fn scan(&self, column: Column, prefix: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.walk(column, prefix, &mut |key, value| {
            if key.starts_with(prefix) { visit(key, value) } else { ControlFlow::Break(()) }
        })
    }

    fn walk(&self, column: Column, first: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        let range = (Bound::Included(first), Bound::Unbounded);
        for (key, value) in self.0[column.index()].range::<[u8], _>(range) {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}
