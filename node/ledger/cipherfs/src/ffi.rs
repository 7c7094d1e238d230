//! The Rust side of `shim/cipherfs.h`.
//!
//! Every function that the shim calls turns raw parts into safe ones ([`Raw`]), runs safe code under [`guard`] and turns the
//! outcome back; [`exports!`] writes that down once, and its table names the functions. The shim keeps this contract, on which
//! every SAFETY line below rests:
//! - (P) a pointer and length describe memory that stays valid and unaliased during the call; length 0 may come with null;
//! - (H) a handle came from the matching open function and its free function runs once, last;
//! - (O) out-pointers are valid and writable during the call.

use std::any::Any;
use std::ffi::{OsStr, OsString, c_char, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_platform::io::Lock;
use bixi_sealed::SealedError;
use librocksdb_sys::rocksdb_env_t;

use crate::error::CipherFsError;
use crate::file::{Random, Sequential, Writable};
use crate::fs::SealedFs;

mod log;

/// Mirror of `CipherfsCode`.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Ok = 0,
    NotFound = 1,
    IoError = 2,
    NoSpace = 3,
    NotSupported = 4,
    Locked = 5,
}

/// Mirror of `CipherfsBuffer`: a boxed slice given away.
#[repr(C)]
pub(crate) struct Buffer {
    data: *mut u8,
    length: usize,
}

impl Buffer {
    fn from_bytes(bytes: Vec<u8>) -> Self {
        let bytes = bytes.into_boxed_slice();
        let length = bytes.len();
        Self { data: Box::into_raw(bytes).cast(), length }
    }
}

unsafe extern "C" {
    fn cipherfs_env_new(fs: *mut c_void) -> *mut rocksdb_env_t;
}

/// What the shim's file system object owns.
pub(crate) struct SharedFs(Arc<SealedFs>);

/// Makes an environment that shares `fs`.
pub(crate) fn new_env(fs: Arc<SealedFs>) -> Result<rocksdb::Env, CipherFsError> {
    let shared = Box::into_raw(Box::new(SharedFs(fs)));
    // SAFETY: `shared` is a live box; the shim takes it over, also when it fails.
    let env = unsafe { cipherfs_env_new(shared.cast()) };
    if env.is_null() {
        return Err(CipherFsError::OutOfMemory);
    }
    // SAFETY: `env` was made by the shim with the layout of RocksDB's own `rocksdb_env_t` and is given away here, once.
    Ok(unsafe { rocksdb::Env::from_raw(env) })
}

fn code_of(error: &CipherFsError) -> Code {
    let io_code = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
        _ => Code::IoError,
    };
    match error {
        CipherFsError::Io { source, .. } => io_code(source),
        CipherFsError::Sealed(source) => match source.cause() {
            SealedError::Io { source, .. } => io_code(source),
            _ => Code::IoError,
        },
        CipherFsError::Unsupported { .. } => Code::NotSupported,
        CipherFsError::Locked { .. } => Code::Locked,
        _ => Code::IoError,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("internal error in the sealed file system: {}", text.unwrap_or("unknown panic"))
}

/// Runs `body`; an error or a panic becomes a code and a message.
///
/// # Safety
/// `error` is a valid out-pointer (O).
unsafe fn guard(error: *mut Buffer, body: impl FnOnce() -> Result<(), CipherFsError>) -> i32 {
    // A panic may leave a file half updated; its owner sees an error and RocksDB stops writing to it.
    let (code, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return Code::Ok as i32,
        Ok(Err(failure)) => (code_of(&failure), failure.to_string()),
        Err(panic) => (Code::IoError, panic_text(&*panic)),
    };
    // SAFETY: the caller passes a valid out-pointer.
    unsafe { error.write(Buffer::from_bytes(message.into_bytes())) };
    code as i32
}

/// Mirror of `CipherfsBytes`: memory to read. Also a path.
#[repr(C)]
#[derive(Clone, Copy)]
struct Bytes {
    data: *const c_char,
    length: usize,
}

impl Bytes {
    /// # Safety
    /// (P), and the slice is not used after the call.
    unsafe fn slice<'a>(self) -> &'a [u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: (P) from the caller.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.length) }
    }
}

/// A path: bytes without NUL.
#[repr(transparent)]
struct RawPath(Bytes);

/// Mirror of `CipherfsScratch`: memory to fill.
#[repr(C)]
struct Scratch {
    data: *mut c_char,
    length: usize,
}

/// What comes over the boundary, and the safe thing it stands for.
trait Raw {
    type Safe<'a>;
    /// # Safety
    /// The contract of this module, by the kind of the parameter; the result is not used after the call.
    unsafe fn safe<'a>(self) -> Self::Safe<'a>;
}

/// Implements [`Raw`] for what is passed by value and for handles.
macro_rules! raw {
    (values: $($value:ty),*; shared: $($shared:ty),*; exclusive: $($exclusive:ty),*;) => {
        $(impl Raw for $value {
            type Safe<'a> = Self;
            unsafe fn safe<'a>(self) -> Self::Safe<'a> {
                self
            }
        })*
        $(impl Raw for *const $shared {
            type Safe<'a> = &'a $shared;
            unsafe fn safe<'a>(self) -> &'a $shared {
                // SAFETY: (H) from the caller; the type is `Sync`.
                unsafe { &*self }
            }
        })*
        $(impl Raw for *mut $exclusive {
            type Safe<'a> = &'a mut $exclusive;
            unsafe fn safe<'a>(self) -> &'a mut $exclusive {
                // SAFETY: (H) from the caller; one thread at a time uses the handle.
                unsafe { &mut *self }
            }
        })*
    };
}

raw! {
    values: bool, u64;
    shared: SharedFs, Arc<Writable>, Random;
    exclusive: Sequential;
}

impl Raw for Bytes {
    type Safe<'a> = &'a [u8];
    unsafe fn safe<'a>(self) -> &'a [u8] {
        // SAFETY: (P) from the caller.
        unsafe { self.slice() }
    }
}

impl Raw for RawPath {
    type Safe<'a> = &'a Path;
    unsafe fn safe<'a>(self) -> &'a Path {
        // SAFETY: (P) from the caller.
        Path::new(OsStr::from_bytes(unsafe { self.0.slice() }))
    }
}

impl Raw for Scratch {
    type Safe<'a> = &'a mut [u8];
    unsafe fn safe<'a>(self) -> &'a mut [u8] {
        if self.length == 0 {
            return &mut [];
        }
        // SAFETY: (P) from the caller. RocksDB's scratch may be uninitialised: it is zeroed before a reference is made.
        unsafe {
            self.data.cast::<u8>().write_bytes(0, self.length);
            std::slice::from_raw_parts_mut(self.data.cast(), self.length)
        }
    }
}

/// Frees a box given away; panics in a destructor end here.
///
/// # Safety
/// (H): `handle` came from `Box::into_raw` and is not used again.
unsafe fn free<T>(handle: *mut T) {
    // SAFETY: (H) from the caller.
    let owned = unsafe { Box::from_raw(handle) };
    if catch_unwind(AssertUnwindSafe(move || drop(owned))).is_err() {
        tracing::error!("a sealed file panicked while it was freed");
    }
}

/// Declares the fallible functions of the ABI: parameters, the output if there is one, and the safe code for it. An output is
/// written only on success.
macro_rules! exports {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? = $body:expr;)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type,)* $(out: *mut $out,)? error: *mut Buffer) -> i32 {
            // SAFETY: (P), (H) and (O).
            unsafe {
                guard(error, || {
                    $(let $arg = $arg.safe();)*
                    let value = $body?;
                    exports!(@give value $(, out: $out)?);
                    Ok(())
                })
            }
        }
    )* };
    (@give $value:ident) => { let () = $value; };
    (@give $value:ident, $out:ident: $type:ty) => { <*mut $type>::write($out, $value) };
}

/// Gives a value away as a handle.
fn handle<T>(opened: Result<T, CipherFsError>) -> Result<*mut T, CipherFsError> {
    opened.map(|value| Box::into_raw(Box::new(value)))
}

fn text(path: Result<PathBuf, CipherFsError>) -> Result<Buffer, CipherFsError> {
    path.map(|path| Buffer::from_bytes(path.into_os_string().into_encoded_bytes()))
}

fn each_with_nul(names: Result<Vec<OsString>, CipherFsError>) -> Result<Buffer, CipherFsError> {
    names.map(|names| {
        let bytes = names.into_iter().flat_map(|name| name.into_encoded_bytes().into_iter().chain([0]));
        Buffer::from_bytes(bytes.collect())
    })
}

exports! {
    /// Makes names in a directory durable.
    fn cipherfs_sync_dir(fs: *const SharedFs, path: RawPath) = fs.0.sync_dir(path);
    /// Makes a closed file durable.
    fn cipherfs_sync_file(fs: *const SharedFs, path: RawPath) = fs.0.sync_file(path);
    /// Whether a name exists.
    fn cipherfs_exists(fs: *const SharedFs, path: RawPath) = fs.0.require(path);
    /// Removes a file.
    fn cipherfs_delete(fs: *const SharedFs, path: RawPath) = fs.0.delete(path);
    /// Makes a directory.
    fn cipherfs_create_dir(fs: *const SharedFs, path: RawPath, may_exist: bool) = fs.0.create_dir(path, may_exist);
    /// Removes an empty directory.
    fn cipherfs_delete_dir(fs: *const SharedFs, path: RawPath) = fs.0.delete_dir(path);
    /// Renames atomically.
    fn cipherfs_rename(fs: *const SharedFs, from: RawPath, to: RawPath) = fs.0.rename(from, to);
    /// Gives a file a second name.
    fn cipherfs_link(fs: *const SharedFs, from: RawPath, to: RawPath) = fs.0.link(from, to);
    /// Whether two names are one file.
    fn cipherfs_same_file(fs: *const SharedFs, first: RawPath, second: RawPath) -> bool = fs.0.same_file(first, second);
    /// Plaintext length.
    fn cipherfs_file_size(fs: *const SharedFs, path: RawPath) -> u64 = fs.0.file_size(path);
    /// Seconds since the Unix epoch.
    fn cipherfs_modified_s(fs: *const SharedFs, path: RawPath) -> u64 = fs.0.modified_s(path);
    /// Hard links.
    fn cipherfs_link_count(fs: *const SharedFs, path: RawPath) -> u64 = fs.0.link_count(path);
    /// Whether it is a directory.
    fn cipherfs_is_dir(fs: *const SharedFs, path: RawPath) -> bool = fs.0.is_dir(path);
    /// Free bytes of the file system.
    fn cipherfs_free_bytes(fs: *const SharedFs, path: RawPath) -> u64 = fs.0.free_bytes(path);
    /// Names in a directory, each followed by NUL.
    fn cipherfs_children(fs: *const SharedFs, path: RawPath) -> Buffer = each_with_nul(fs.0.children(path));
    /// The absolute form of a path.
    fn cipherfs_absolute_path(fs: *const SharedFs, path: RawPath) -> Buffer = text(fs.0.absolute(path));
    /// A directory for RocksDB's own tests.
    fn cipherfs_test_dir(fs: *const SharedFs) -> Buffer = text(fs.0.test_dir());
    /// Takes the lock file.
    fn cipherfs_lock(fs: *const SharedFs, path: RawPath) -> *mut Box<dyn Lock> = handle(fs.0.lock(path));

    /// Opens a new file for writing.
    fn cipherfs_create(fs: *const SharedFs, path: RawPath) -> *mut Arc<Writable> = handle(fs.0.create(path));
    /// Opens the end of an old file for writing.
    fn cipherfs_reopen(fs: *const SharedFs, path: RawPath) -> *mut Arc<Writable> = handle(fs.0.reopen(path));
    /// Appends to a file.
    fn cipherfs_writable_append(file: *const Arc<Writable>, data: Bytes) = file.append(data);
    /// Hands what was appended to the system.
    fn cipherfs_writable_flush(file: *const Arc<Writable>) = file.flush();
    /// Has the system begin to write what it was handed.
    fn cipherfs_writable_begin_write_back(file: *const Arc<Writable>) = file.begin_write_back();
    /// Makes what was appended durable.
    fn cipherfs_writable_sync(file: *const Arc<Writable>) = file.sync();
    /// Keeps room until the file has that size.
    fn cipherfs_writable_reserve(file: *const Arc<Writable>, size: u64) = file.reserve(size);
    /// Accepts the present length only.
    fn cipherfs_writable_truncate(file: *const Arc<Writable>, size: u64) = file.truncate(size);
    /// Ends a file.
    fn cipherfs_writable_close(file: *const Arc<Writable>) = file.close();

    /// Opens for sequential reading.
    fn cipherfs_open_sequential(fs: *const SharedFs, path: RawPath) -> *mut Sequential = handle(fs.0.sequential(path));
    /// Reads on.
    fn cipherfs_sequential_read(file: *mut Sequential, scratch: Scratch) -> usize = file.read(scratch);
    /// Reads elsewhere, without moving.
    fn cipherfs_sequential_read_at(file: *mut Sequential, offset: u64, scratch: Scratch) -> usize =
        file.read_at(offset, scratch);
    /// Moves on without reading.
    fn cipherfs_sequential_skip(file: *mut Sequential, count: u64) = file.skip(count);

    /// Opens for random reading.
    fn cipherfs_open_random(fs: *const SharedFs, path: RawPath) -> *mut Random = handle(fs.0.random(path));
    /// Reads at an offset.
    fn cipherfs_random_read(file: *const Random, offset: u64, scratch: Scratch) -> usize = file.read_at(offset, scratch);
}

/// Declares the functions that free a handle.
macro_rules! frees {
    ($($(#[$doc:meta])* fn $name:ident($type:ty);)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(handle: *mut $type) {
            // SAFETY: (H).
            unsafe { free(handle) }
        }
    )* };
}

frees! {
    /// Frees the file system.
    fn cipherfs_fs_free(SharedFs);
    /// Frees a writable file.
    fn cipherfs_writable_free(Arc<Writable>);
    /// Frees a sequential file.
    fn cipherfs_sequential_free(Sequential);
    /// Frees a random-access file.
    fn cipherfs_random_free(Random);
    /// Releases the lock file.
    fn cipherfs_unlock(Box<dyn Lock>);
}

/// Frees a buffer.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_buffer_free(buffer: Buffer) {
    // SAFETY: (H): the buffer came from `Buffer::from_bytes` and is freed once.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(buffer.data, buffer.length)) });
}

/// Plaintext length, what is not flushed included.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_writable_size(file: *const Arc<Writable>) -> u64 {
    // SAFETY: (H); reading an atomic cannot panic.
    unsafe { (*file).size() }
}

/// Plaintext length.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_random_size(file: *const Random) -> u64 {
    // SAFETY: (H); returning a field cannot panic.
    unsafe { (*file).len() }
}

/// What the ABI relies on: files may be used and freed on any of RocksDB's threads.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<SharedFs>();
    shared::<Arc<Writable>>();
    shared::<Random>();
    sent::<Sequential>();
};

#[cfg(test)]
mod tests;
