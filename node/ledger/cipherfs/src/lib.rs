//! RocksDB's files, sealed: a RocksDB `FileSystem` on [`bixi_platform::io`] and [`bixi_sealed`].
//!
//! ```text
//! RocksDB ─ rocksdb::FileSystem ─► shim/cipherfs.cc ─ C ABI ─► ffi ─► fs ─► file ─► bixi_sealed ─► bixi_platform::io
//! ```
//!
//! Every byte RocksDB writes is encrypted and authenticated: logs, tables, MANIFEST, CURRENT, OPTIONS, IDENTITY and temporary
//! files; its info log goes to `tracing`. What fails to authenticate is an I/O error that names the file and the offset;
//! it is never served and never skipped. Only the end of a log that was never synced may be dropped.
//!
//! The C++ part derives from RocksDB's abstract classes: an operation it does not know is refused, never forwarded to the plain
//! file system. Neither a panic nor a C++ exception crosses the boundary.

mod env;
mod error;
mod ffi;
mod file;
mod fs;
mod kind;
mod open_files;
mod plain;
mod reseal;
mod scrub;

pub use env::CipherFs;
pub use error::CipherFsError;
pub use kind::FileKind;
pub use plain::{PlainStage, Sealing, SealingWatch, expect_sealable, plain_stage};
pub use reseal::{Resealing, Watch};
pub use scrub::scrub;
