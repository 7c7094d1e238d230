//! HKDF (RFC 5869) over HMAC-SM3.

use super::Hmac;
use zeroize::Zeroizing;

/// The longest output of [`expand`], 255 blocks.
pub const OUTPUT_BYTES_MAX: usize = 255 * 32;

/// HKDF-Extract: a pseudorandom key from input keying material. An empty salt stands for 32 zero bytes.
pub fn extract(salt: &[u8], ikm: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::new(salt);
    mac.update(ikm);
    mac.finalize()
}

/// HKDF-Expand: fills `out` from the pseudorandom key; the parts of `info` are concatenated.
///
/// # Panics
/// When `out` is longer than [`OUTPUT_BYTES_MAX`].
pub fn expand(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    assert!(out.len() <= OUTPUT_BYTES_MAX, "hkdf::expand: at most {OUTPUT_BYTES_MAX} bytes");
    let keyed = Hmac::new(prk);
    let mut previous = Zeroizing::new([0u8; 32]);
    for (index, chunk) in out.chunks_mut(32).enumerate() {
        let mut mac = keyed.clone();
        if index > 0 {
            mac.update(&*previous);
        }
        for part in info {
            mac.update(part);
        }
        mac.update(&[index as u8 + 1]);
        *previous = mac.finalize();
        chunk.copy_from_slice(&previous[..chunk.len()]);
    }
}
