//! What RocksDB has open, by name: a file that is sealed anew is exchanged below it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::file::{Table, Writable};

/// Nothing here keeps a file open.
#[derive(Default)]
pub(crate) struct OpenFiles {
    tables: Mutex<HashMap<PathBuf, Vec<Weak<Table>>>>,
    written: Mutex<HashMap<PathBuf, Weak<Writable>>>,
}

impl OpenFiles {
    pub(crate) fn written(&self, path: &Path, file: Writable) -> Arc<Writable> {
        let file = Arc::new(file);
        let mut written = self.written.lock();
        written.retain(|_, file| file.strong_count() > 0);
        written.insert(path.to_owned(), Arc::downgrade(&file));
        file
    }

    pub(crate) fn read(&self, path: &Path, table: &Arc<Table>) {
        let mut tables = self.tables.lock();
        let open = tables.entry(path.to_owned()).or_default();
        open.retain(|table| table.strong_count() > 0);
        open.push(Arc::downgrade(table));
    }

    /// Whoever writes that file.
    pub(crate) fn writer(&self, path: &Path) -> Option<Arc<Writable>> {
        self.written.lock().get(path)?.upgrade()
    }

    /// Whoever reads that table.
    pub(crate) fn readers(&self, path: &Path) -> Vec<Arc<Table>> {
        self.tables.lock().get(path).map_or_else(Vec::new, |open| open.iter().filter_map(Weak::upgrade).collect())
    }

    /// The name is gone.
    pub(crate) fn forget(&self, path: &Path) {
        self.tables.lock().remove(path);
        self.written.lock().remove(path);
    }
}
