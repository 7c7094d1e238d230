//! libcrypto's errors in words.

use std::ffi::{CStr, c_char, c_int, c_ulong};
use std::ptr::null_mut;

use crate::Failure;

/// Entries told; the rest of the queue is dropped.
const ENTRIES_MAX: usize = 4;
const LINE_BYTES: usize = 256;
/// `ERR_TXT_STRING`: an entry's data are text.
const IS_TEXT: c_int = 2;

unsafe extern "C" {
    fn ERR_error_string_n(code: c_ulong, line: *mut c_char, bytes: usize);
}

/// What this thread's queue says about `call`, oldest entry first; the queue is empty afterwards.
pub(crate) fn failure(call: &str) -> Failure {
    let entries: Vec<String> = std::iter::from_fn(next_entry).take(ENTRIES_MAX).collect();
    clear();
    if entries.is_empty() {
        format!("{call} failed and gave no reason")
    } else {
        format!("{call}: {}", entries.join("; "))
    }
}

/// Forgets what others left in this thread's queue.
pub(crate) fn clear() {
    // SAFETY: concerns the calling thread's queue only and has no precondition.
    unsafe { openssl_sys::ERR_clear_error() }
}

fn next_entry() -> Option<String> {
    let (mut line, mut data, mut flags) = ([0; LINE_BYTES], std::ptr::null::<c_char>(), 0);
    // SAFETY: null skips what is not asked for; `data` is set to null or to a string that lives until the entry is overwritten.
    #[cfg(libcrypto3)]
    let code =
        unsafe { openssl_sys::ERR_get_error_all(null_mut(), null_mut(), null_mut(), &raw mut data, &raw mut flags) };
    // SAFETY: as above.
    #[cfg(not(libcrypto3))]
    let code = unsafe { openssl_sys::ERR_get_error_line_data(null_mut(), null_mut(), &raw mut data, &raw mut flags) };
    if code == 0 {
        return None;
    }
    // SAFETY: at most `LINE_BYTES` bytes are written, the last of them a zero.
    let words = unsafe {
        ERR_error_string_n(code, line.as_mut_ptr(), LINE_BYTES);
        CStr::from_ptr(line.as_ptr())
    };
    let mut words = words.to_string_lossy().into_owned();
    if !data.is_null() && flags & IS_TEXT != 0 {
        // SAFETY: flagged as text, so it ends with a zero byte; nothing was put into this thread's queue since.
        let data = unsafe { CStr::from_ptr(data) }.to_string_lossy();
        if !data.is_empty() {
            words = format!("{words} ({data})");
        }
    }
    Some(words)
}
