//! Memory for keys and PINs.
//!
//! A [`Secret`] owns anonymous pages of its own: locked into RAM (`mlock`), left out of core dumps (`MADV_DONTDUMP`),
//! zero in a forked child (`MADV_WIPEONFORK`), fenced by an inaccessible page on each side, and overwritten before they
//! are given back. It cannot be cloned, printed or serialised.
//!
//! Cost: one locked page (4 KiB) and two unmapped guard pages for every secret up to a page. With the usual
//! `RLIMIT_MEMLOCK` of 8 MiB that is about 2,000 secrets, far above what a node holds (epoch keys, PINs, device keys).
//! When the limit is reached the secret still works, but may be swapped: [`Secret::is_locked`] says so, the first case
//! is logged, and [`unlocked_secrets`] counts them for `doctor`.

use std::{
    fmt, io,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering},
};

use zeroize::Zeroize;

pub mod arena;

static UNLOCKED: AtomicUsize = AtomicUsize::new(0);

/// Number of secrets made in this process whose pages the kernel refused to lock.
pub fn unlocked_secrets() -> usize {
    UNLOCKED.load(Ordering::Relaxed)
}

/// A secret of fixed length in locked, undumpable, wiped pages.
pub struct Secret {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    data: NonNull<u8>,
    len: usize,
    locked: bool,
}

// SAFETY: the pages belong to this value alone, like a `Box<[u8]>`; shared access only reads, `&mut` access is exclusive.
unsafe impl Send for Secret {}
// SAFETY: as above: no interior mutability.
unsafe impl Sync for Secret {}

impl Secret {
    /// A secret of `len` zero bytes, to be filled through [`Secret::as_mut_slice`].
    ///
    /// # Panics
    /// If the kernel gives no memory at all, as an ordinary allocation would.
    pub fn zeroed(len: usize) -> Self {
        let page = page_bytes();
        let body_bytes = len.max(1).div_ceil(page) * page;
        let mapping_bytes = body_bytes + 2 * page;
        let mapping = map_fenced(mapping_bytes, page, body_bytes)
            .unwrap_or_else(|error| panic!("no memory for a secret of {len} bytes: {error}"));
        // SAFETY: `map_fenced` returned a mapping of `mapping_bytes` > `page` bytes, so the offset stays inside it.
        let body = unsafe { mapping.add(page) };
        // SAFETY: `body..body + body_bytes` is the accessible middle of a mapping this function has just made.
        let locked = unsafe { guard_pages_of_secret(body, body_bytes) };
        if !locked && UNLOCKED.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the kernel refuses to lock memory for secrets (RLIMIT_MEMLOCK): they may reach swap");
        }
        Self { mapping, mapping_bytes, data: body, len, locked }
    }

    /// Copies `bytes` into a new secret. The caller wipes its own copy.
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut secret = Self::zeroed(bytes.len());
        secret.as_mut_slice().copy_from_slice(bytes);
        secret
    }

    /// Moves `bytes` into a new secret and wipes the original.
    pub fn from_wiped(bytes: &mut [u8]) -> Self {
        let secret = Self::from_slice(bytes);
        bytes.zeroize();
        secret
    }

    /// A secret of `len` random bytes of the operating system.
    ///
    /// # Errors
    /// If the kernel refuses `getrandom(2)`.
    pub fn random(len: usize) -> io::Result<Self> {
        let mut secret = Self::zeroed(len);
        crate::random::OsRandom.fill(secret.as_mut_slice())?;
        Ok(secret)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `data` points at `len` initialised (zero-filled by mmap) bytes owned by `self` until drop.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    /// The bytes, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the secret holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the kernel keeps the pages out of swap.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Compares with `other` in time that depends on the lengths only.
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        let mut difference = self.len ^ other.len();
        for (left, right) in self.as_slice().iter().zip(other) {
            difference |= usize::from(std::hint::black_box(left ^ right));
        }
        std::hint::black_box(difference) == 0
    }
}

impl PartialEq for Secret {
    /// Constant time: see [`Secret::ct_eq`].
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other.as_slice())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({})", self.len)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.as_mut_slice().zeroize();
        // SAFETY: `mapping` and `mapping_bytes` are what mmap returned in `zeroed`, unmapped once, here.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
    }
}

fn page_bytes() -> usize {
    // SAFETY: sysconf takes no pointer.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("the kernel reports a page size")
}

/// Maps `mapping_bytes` inaccessible bytes and opens the `body_bytes` after the first page.
fn map_fenced(mapping_bytes: usize, page: usize, body_bytes: usize) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), mapping_bytes, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mapping = NonNull::new(start.cast::<u8>()).expect("mmap without MAP_FIXED never returns null");
    // SAFETY: `page + body_bytes` < `mapping_bytes`: the range lies inside the mapping made above.
    let opened = unsafe { libc::mprotect(start.byte_add(page), body_bytes, libc::PROT_READ | libc::PROT_WRITE) };
    if opened != 0 {
        let error = io::Error::last_os_error();
        // SAFETY: unmaps exactly the mapping made above, to which nothing points yet.
        unsafe { libc::munmap(start, mapping_bytes) };
        return Err(error);
    }
    Ok(mapping)
}

/// Keeps pages out of dumps, children and swap; returns whether they are locked.
///
/// # Safety
/// `body` must point at `body_bytes` mapped bytes, page-aligned, owned by the caller.
unsafe fn guard_pages_of_secret(body: NonNull<u8>, body_bytes: usize) -> bool {
    let start = body.as_ptr().cast::<libc::c_void>();
    // SAFETY: the caller owns the mapped range; this advice changes no content in this process.
    let undumped = unsafe { libc::madvise(start, body_bytes, libc::MADV_DONTDUMP) } == 0;
    // SAFETY: as above; the wipe happens in forked children only.
    let unforked = unsafe { libc::madvise(start, body_bytes, libc::MADV_WIPEONFORK) } == 0;
    if !(undumped && unforked) {
        tracing::debug!(undumped, unforked, "the kernel ignores part of the advice for secret pages");
    }
    // SAFETY: locking pages the caller owns changes no content.
    unsafe { libc::mlock(start, body_bytes) == 0 }
}

/// Forbids core dumps and attaching of other unprivileged processes, for the life of this process, and leaves all of its memory out of
/// dumps that a privileged user forces (core(5), `coredump_filter`, which gdb's `gcore` goes by, too): rows in plaintext are in
/// ordinary memory.
///
/// # Errors
/// If the kernel refuses one of them; a node should refuse to start then.
pub fn harden_process() -> io::Result<()> {
    // Before the process is closed to its own user. A kernel without dumps has no such file.
    match std::fs::write("/proc/self/coredump_filter", "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a valid rlimit for the duration of the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: PR_SET_DUMPABLE takes an integer argument only.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
