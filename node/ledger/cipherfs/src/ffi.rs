//! The Rust side of `shim/cipherfs.h`.
//!
//! Every function that the shim calls turns raw parts into safe ones, runs safe code under [`guard`] and turns the outcome
//! back. The shim keeps this contract, on which every SAFETY line below rests:
//! - (P) a pointer and length describe memory that stays valid and unaliased during the call; length 0 may come with null;
//! - (H) a handle came from the matching open function and its free function runs once, last;
//! - (O) out-pointers are valid and writable during the call.

use std::any::Any;
use std::ffi::{OsStr, c_char, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
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

/// # Safety
/// (P), and the slice is not used after the call.
unsafe fn bytes<'a>(data: *const c_char, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: (P) from the caller.
    unsafe { std::slice::from_raw_parts(data.cast(), length) }
}

/// # Safety
/// As [`bytes`], and the memory is initialised or only written: RocksDB's scratch buffers are plain `char` arrays.
unsafe fn bytes_mut<'a>(data: *mut c_char, length: usize) -> &'a mut [u8] {
    if length == 0 {
        return &mut [];
    }
    // SAFETY: (P) from the caller. The bytes may be uninitialised for C++; they are zeroed before a reference is made.
    unsafe {
        data.cast::<u8>().write_bytes(0, length);
        std::slice::from_raw_parts_mut(data.cast(), length)
    }
}

/// # Safety
/// As [`bytes`].
unsafe fn path<'a>(data: *const c_char, length: usize) -> &'a Path {
    // SAFETY: (P) from the caller.
    Path::new(OsStr::from_bytes(unsafe { bytes(data, length) }))
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

/// Frees a buffer.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_buffer_free(buffer: Buffer) {
    // SAFETY: (H): the buffer came from `Buffer::from_bytes` and is freed once.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(buffer.data, buffer.length)) });
}

/// Frees the file system.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_fs_free(fs: *mut SharedFs) {
    // SAFETY: (H).
    unsafe { free(fs) }
}

/// Declares an operation on a path: `fn name(path; outputs…) = method`. The method's value goes to the output.
macro_rules! path_operations {
    ($($(#[$doc:meta])* fn $name:ident(fs, path $(, $arg:ident: $arg_type:ty)*) -> $out:ty = $body:expr;)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            fs: *const SharedFs,
            path_data: *const c_char,
            path_length: usize,
            $($arg: $arg_type,)*
            out: *mut $out,
            error: *mut Buffer,
        ) -> i32 {
            // SAFETY: (P), (H) and (O); `out` is written only on success.
            unsafe {
                guard(error, || {
                    let body: fn(&SealedFs, &Path $(, $arg_type)*) -> Result<$out, CipherFsError> = $body;
                    out.write(body(&(*fs).0, path(path_data, path_length) $(, $arg)*)?);
                    Ok(())
                })
            }
        }
    )* };
}

/// Declares an operation on a path without an output.
macro_rules! path_actions {
    ($($(#[$doc:meta])* fn $name:ident = $body:expr;)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            fs: *const SharedFs,
            path_data: *const c_char,
            path_length: usize,
            error: *mut Buffer,
        ) -> i32 {
            // SAFETY: (P), (H) and (O).
            unsafe {
                guard(error, || {
                    let body: fn(&SealedFs, &Path) -> Result<(), CipherFsError> = $body;
                    body(&(*fs).0, path(path_data, path_length))
                })
            }
        }
    )* };
}

/// Declares an operation on two paths.
macro_rules! pair_actions {
    ($($(#[$doc:meta])* fn $name:ident = $body:expr;)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            fs: *const SharedFs,
            from_data: *const c_char,
            from_length: usize,
            to_data: *const c_char,
            to_length: usize,
            error: *mut Buffer,
        ) -> i32 {
            // SAFETY: (P), (H) and (O).
            unsafe {
                guard(error, || {
                    let body: fn(&SealedFs, &Path, &Path) -> Result<(), CipherFsError> = $body;
                    body(&(*fs).0, path(from_data, from_length), path(to_data, to_length))
                })
            }
        }
    )* };
}

path_actions! {
    /// Makes names in a directory durable.
    fn cipherfs_sync_dir = |fs, path| fs.sync_dir(path);
    /// Makes a closed file durable.
    fn cipherfs_sync_file = |fs, path| fs.sync_file(path);
    /// Whether a name exists.
    fn cipherfs_exists = |fs, path| fs.require(path);
    /// Removes a file.
    fn cipherfs_delete = |fs, path| fs.delete(path);
    /// Removes an empty directory.
    fn cipherfs_delete_dir = |fs, path| fs.delete_dir(path);
}

pair_actions! {
    /// Renames atomically.
    fn cipherfs_rename = |fs, from, to| fs.rename(from, to);
    /// Gives a file a second name.
    fn cipherfs_link = |fs, from, to| fs.link(from, to);
}

path_operations! {
    /// Opens for sequential reading.
    fn cipherfs_open_sequential(fs, path) -> *mut Sequential = |fs, path| Ok(Box::into_raw(Box::new(fs.sequential(path)?)));
    /// Opens for random reading.
    fn cipherfs_open_random(fs, path) -> *mut Random = |fs, path| Ok(Box::into_raw(Box::new(fs.random(path)?)));
    /// Opens for writing: a new file, or the end of an old one.
    fn cipherfs_open_writable(fs, path, reopen: bool) -> *mut Writable = |fs, path, reopen| {
        Ok(Box::into_raw(Box::new(if reopen { fs.reopen(path)? } else { fs.create(path)? })))
    };
    /// Plaintext length.
    fn cipherfs_file_size(fs, path) -> u64 = |fs, path| fs.file_size(path);
    /// Seconds since the Unix epoch.
    fn cipherfs_modified_s(fs, path) -> u64 = |fs, path| fs.modified_s(path);
    /// Hard links.
    fn cipherfs_link_count(fs, path) -> u64 = |fs, path| fs.link_count(path);
    /// Whether it is a directory.
    fn cipherfs_is_dir(fs, path) -> bool = |fs, path| fs.is_dir(path);
    /// Free bytes of the file system.
    fn cipherfs_free_bytes(fs, path) -> u64 = |fs, path| fs.free_bytes(path);
    /// Names in a directory, each followed by NUL.
    fn cipherfs_children(fs, path) -> Buffer = |fs, path| {
        let mut names = Vec::new();
        for name in fs.children(path)? {
            names.extend_from_slice(name.as_os_str().as_bytes());
            names.push(0);
        }
        Ok(Buffer::from_bytes(names))
    };
    /// The absolute form of a path.
    fn cipherfs_absolute_path(fs, path) -> Buffer = |fs, path| {
        Ok(Buffer::from_bytes(fs.absolute(path)?.into_os_string().into_encoded_bytes()))
    };
    /// Takes the lock file.
    fn cipherfs_lock(fs, path) -> *mut Box<dyn Lock> = |fs, path| Ok(Box::into_raw(Box::new(fs.lock(path)?)));
}

/// Makes a directory.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_create_dir(
    fs: *const SharedFs,
    path_data: *const c_char,
    path_length: usize,
    may_exist: bool,
    error: *mut Buffer,
) -> i32 {
    // SAFETY: (P), (H) and (O).
    unsafe { guard(error, || (*fs).0.create_dir(path(path_data, path_length), may_exist)) }
}

/// Whether two names are one file.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_same_file(
    fs: *const SharedFs,
    first_data: *const c_char,
    first_length: usize,
    second_data: *const c_char,
    second_length: usize,
    same: *mut bool,
    error: *mut Buffer,
) -> i32 {
    // SAFETY: (P), (H) and (O).
    unsafe {
        guard(error, || {
            same.write((*fs).0.same_file(path(first_data, first_length), path(second_data, second_length))?);
            Ok(())
        })
    }
}

/// A directory for RocksDB's own tests.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_test_dir(fs: *const SharedFs, out: *mut Buffer, error: *mut Buffer) -> i32 {
    // SAFETY: (H) and (O).
    unsafe {
        guard(error, || {
            out.write(Buffer::from_bytes((*fs).0.test_dir()?.into_os_string().into_encoded_bytes()));
            Ok(())
        })
    }
}

/// Releases the lock file.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_unlock(lock: *mut Box<dyn Lock>) {
    // SAFETY: (H).
    unsafe { free(lock) }
}

/// Appends to a file.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_writable_append(
    file: *const Writable,
    data: *const c_char,
    length: usize,
    error: *mut Buffer,
) -> i32 {
    // SAFETY: (P), (H) and (O).
    unsafe { guard(error, || (*file).append(bytes(data, length))) }
}

/// Hands what was appended to the system.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_writable_flush(file: *const Writable, error: *mut Buffer) -> i32 {
    // SAFETY: (H) and (O).
    unsafe { guard(error, || (*file).flush()) }
}

/// Makes what was appended durable.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_writable_sync(file: *const Writable, error: *mut Buffer) -> i32 {
    // SAFETY: (H) and (O).
    unsafe { guard(error, || (*file).sync()) }
}

/// Accepts the present length only.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_writable_truncate(file: *const Writable, size: u64, error: *mut Buffer) -> i32 {
    // SAFETY: (H) and (O).
    unsafe { guard(error, || (*file).truncate(size)) }
}

/// Ends a file.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_writable_close(file: *const Writable, error: *mut Buffer) -> i32 {
    // SAFETY: (H) and (O).
    unsafe { guard(error, || (*file).close()) }
}

/// Plaintext length, what is not flushed included.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_writable_size(file: *const Writable) -> u64 {
    // SAFETY: (H); reading an atomic cannot panic.
    unsafe { (*file).size() }
}

/// Frees a writable file.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_writable_free(file: *mut Writable) {
    // SAFETY: (H).
    unsafe { free(file) }
}

/// Reads on.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_sequential_read(
    file: *mut Sequential,
    out: *mut c_char,
    length: usize,
    filled: *mut usize,
    error: *mut Buffer,
) -> i32 {
    // SAFETY: (P), (H) and (O); one thread at a time uses a sequential file.
    unsafe {
        guard(error, || {
            filled.write((*file).read(bytes_mut(out, length))?);
            Ok(())
        })
    }
}

/// Reads elsewhere, without moving.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_sequential_read_at(
    file: *mut Sequential,
    offset: u64,
    out: *mut c_char,
    length: usize,
    filled: *mut usize,
    error: *mut Buffer,
) -> i32 {
    // SAFETY: (P), (H) and (O); one thread at a time uses a sequential file.
    unsafe {
        guard(error, || {
            filled.write((*file).read_at(offset, bytes_mut(out, length))?);
            Ok(())
        })
    }
}

/// Moves on without reading.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_sequential_skip(file: *mut Sequential, count: u64, error: *mut Buffer) -> i32 {
    // SAFETY: (H) and (O); one thread at a time uses a sequential file.
    unsafe { guard(error, || (*file).skip(count)) }
}

/// Frees a sequential file.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_sequential_free(file: *mut Sequential) {
    // SAFETY: (H).
    unsafe { free(file) }
}

/// Reads at an offset.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_random_read(
    file: *const Random,
    offset: u64,
    out: *mut c_char,
    length: usize,
    filled: *mut usize,
    error: *mut Buffer,
) -> i32 {
    // SAFETY: (P), (H) and (O); `Random` is `Sync`.
    unsafe {
        guard(error, || {
            filled.write((*file).read_at(offset, bytes_mut(out, length))?);
            Ok(())
        })
    }
}

/// Plaintext length.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_random_size(file: *const Random) -> u64 {
    // SAFETY: (H); returning a field cannot panic.
    unsafe { (*file).len() }
}

/// Frees a random-access file.
#[unsafe(no_mangle)]
unsafe extern "C" fn cipherfs_random_free(file: *mut Random) {
    // SAFETY: (H).
    unsafe { free(file) }
}

/// What the ABI relies on: files may be used and freed on any of RocksDB's threads.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<SharedFs>();
    shared::<Writable>();
    shared::<Random>();
    sent::<Sequential>();
};

#[cfg(test)]
mod tests;
