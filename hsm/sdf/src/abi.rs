//! What GM/T 0018 lays out in memory and numbers: structures, algorithm identifiers, answers. Facts, no code.
//!
//! The structures are those of GM/T 0018-2012 and -2023 with natural alignment, as every known library has them. One has no
//! fixed length: `ECCCipher` ends in an array whose declared length differs from vendor to vendor, so its header is described
//! here and the whole is never taken by `size_of`.

use std::ffi::c_void;

/// An opaque handle of the library: device, session or key.
pub type RawHandle = *mut c_void;

/// `SDR_OK`.
pub const SDR_OK: u32 = 0;
/// First of the standard's error codes is this plus 1, the last plus 0x1E (GM/T 0018 annex A).
pub const SDR_BASE: u32 = 0x0100_0000;
/// Errors of Sansec's library; its card's are [`SWR_CARD_BASE`].
pub const SWR_BASE: u32 = 0x0101_0000;
/// Errors of Sansec's card.
pub const SWR_CARD_BASE: u32 = 0x0102_0000;

/// Coordinates are right-aligned in fields of this many bytes (`ECCref_MAX_LEN`, 512 bits).
pub const COORDINATE_BYTES: usize = 64;
/// Bits of an SM2 key.
pub const SM2_BITS: u32 = 256;
/// Bits of an SM4 key.
pub const SM4_BITS: u32 = 128;
/// `ECCCipher` before its ciphertext: x, y, M, L.
pub const CIPHER_HEADER_BYTES: usize = 2 * COORDINATE_BYTES + 32 + 4;
/// Highest key index a device may have.
pub const INDEX_MAX: u32 = 4096;

/// `DEVICEINFO`. Texts are padded with NUL or spaces.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawDeviceInfo {
    /// Maker.
    pub issuer: [u8; 40],
    /// Model.
    pub name: [u8; 16],
    /// Date, batch and number.
    pub serial: [u8; 16],
    /// The vendor's version.
    pub device_version: u32,
    /// Which edition of the standard it follows.
    pub standard_version: u32,
    /// Asymmetric algorithms: identifiers, largest modulus.
    pub asymmetric: [u32; 2],
    /// Symmetric algorithms.
    pub symmetric: u32,
    /// Hashes.
    pub hash: u32,
    /// Bytes of its file store.
    pub buffer_bytes: u32,
}

/// `ECCrefPublicKey`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawPublicKey {
    /// Bits of the key.
    pub bits: u32,
    /// Right-aligned.
    pub x: [u8; COORDINATE_BYTES],
    /// Right-aligned.
    pub y: [u8; COORDINATE_BYTES],
}

/// `ECCSignature`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawSignature {
    /// Right-aligned.
    pub r: [u8; COORDINATE_BYTES],
    /// Right-aligned.
    pub s: [u8; COORDINATE_BYTES],
}

// A layout that differs would be written past its end by the library.
const _: () = assert!(size_of::<RawDeviceInfo>() == 100 && align_of::<RawDeviceInfo>() == 4);
const _: () = assert!(size_of::<RawPublicKey>() == 132 && align_of::<RawPublicKey>() == 4);
const _: () = assert!(size_of::<RawSignature>() == 128 && CIPHER_HEADER_BYTES == 164);

/// The low 32 bytes of a right-aligned field; `None` if the others are not zero.
pub fn right_aligned(field: &[u8; COORDINATE_BYTES]) -> Option<[u8; 32]> {
    let (padding, value) = field.split_first_chunk::<32>().expect("64 bytes");
    (padding == &[0; 32]).then(|| value.try_into().expect("32 bytes"))
}

/// A field with `value` at its right end.
pub fn align_right(value: &[u8; 32]) -> [u8; COORDINATE_BYTES] {
    let mut field = [0; COORDINATE_BYTES];
    field[32..].copy_from_slice(value);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_at_the_right_end_of_their_field() {
        let field = align_right(&[7; 32]);
        assert_eq!((field[31], field[32], right_aligned(&field)), (0, 7, Some([7; 32])));
        let mut left = field;
        left[0] = 1;
        assert_eq!(right_aligned(&left), None, "a value at the left end is another number");
    }
}
