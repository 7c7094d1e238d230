//! The caller's output buffer under PKCS#11's convention (v2.40 base, 5.2): no buffer asks for the length, a short one
//! is `CKR_BUFFER_TOO_SMALL` with the length needed.

use cryptoki_sys::{CK_ULONG, CKR_BUFFER_TOO_SMALL, CKR_GENERAL_ERROR};

use super::pointers::Place;
use crate::error::{CkResult, refuse};

/// A buffer and the place for its length.
pub(crate) struct Output<'a> {
    buffer: Option<&'a mut [u8]>,
    length: Place<'a, CK_ULONG>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(buffer: Option<&'a mut [u8]>, length: Place<'a, CK_ULONG>) -> Self {
        Self { buffer, length }
    }

    /// Whether up to `bytes` can be written now; otherwise the length was asked for, and has been told.
    pub(crate) fn reserve(&mut self, bytes: usize) -> CkResult<bool> {
        match &self.buffer {
            Some(buffer) if buffer.len() >= bytes => Ok(true),
            Some(_) => {
                self.length.put(bytes as CK_ULONG);
                refuse(CKR_BUFFER_TOO_SMALL)
            }
            None => {
                self.length.put(bytes as CK_ULONG);
                Ok(false)
            }
        }
    }

    /// Write the result, which has at most the reserved length.
    pub(crate) fn put(self, bytes: &[u8]) -> CkResult<()> {
        let room = self.buffer.and_then(|buffer| buffer.get_mut(..bytes.len()));
        let Some(room) = room else { return refuse(CKR_GENERAL_ERROR) };
        room.copy_from_slice(bytes);
        self.length.put(bytes.len() as CK_ULONG);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pointers;
    use super::*;

    #[test]
    fn tells_the_length_without_a_buffer_and_refuses_a_short_one() {
        let mut length = 0;
        // SAFETY: a live number and no buffer.
        let asked = unsafe { pointers::output(std::ptr::null_mut(), &raw mut length) }.unwrap().reserve(64);
        assert_eq!((asked, length), (Ok(false), 64));
        let mut buffer = [0; 80];
        length = 63;
        // SAFETY: a live number that is at most the buffer's length.
        let refused =
            unsafe { pointers::output(buffer.as_mut_ptr(), &raw mut length) }.unwrap().reserve(64).unwrap_err();
        assert_eq!((refused.0, length), (CKR_BUFFER_TOO_SMALL, 64));
        length = 80;
        // SAFETY: as above.
        let mut output = unsafe { pointers::output(buffer.as_mut_ptr(), &raw mut length) }.unwrap();
        assert_eq!(output.reserve(64), Ok(true));
        output.put(b"short").unwrap();
        assert_eq!((length, &buffer[..5]), (5, &b"short"[..]));
    }
}
