//! RocksDB's info log, forwarded to `tracing`.

use std::panic::catch_unwind;

use super::Bytes;

/// `rocksdb::InfoLogLevel`.
const LEVEL_DEBUG: i32 = 0;
const LEVEL_WARN: i32 = 2;
const LEVEL_ERROR: i32 = 3;
const LEVEL_FATAL: i32 = 4;

fn forward(level: i32, text: &str) {
    let text = text.trim_end();
    match level {
        LEVEL_DEBUG => tracing::trace!(target: "rocksdb", "{text}"),
        LEVEL_WARN => tracing::warn!(target: "rocksdb", "{text}"),
        LEVEL_ERROR | LEVEL_FATAL => tracing::error!(target: "rocksdb", "{text}"),
        // Information and headers: options and statistics at every start.
        _ => tracing::debug!(target: "rocksdb", "{text}"),
    }
}

/// One line of the info log.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_log(level: i32, text: Bytes) {
    // SAFETY: (P) of the parent module.
    let text = unsafe { text.slice() };
    // A subscriber that panics loses its line; there is nobody to tell.
    let _ = catch_unwind(|| forward(level, &String::from_utf8_lossy(text)));
}
