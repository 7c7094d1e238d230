//! The key derivation function of SM2 (GB/T 32918.3-2016 5.4.3, GB/T 32918.4-2016 5.4.3).

use super::Hasher;
use zeroize::Zeroizing;

/// Fills `out` with `SM3(z ‖ 1) ‖ SM3(z ‖ 2) ‖ …`, counters of 32 bits, big endian.
///
/// # Panics
/// When `out` has `(2^32 - 1) * 32` bytes or more, the standard's bound.
pub fn kdf(z: &[u8], out: &mut [u8]) {
    assert!(out.len().div_ceil(32) < u32::MAX as usize, "kdf: the output is beyond the standard's bound");
    let mut prefix = Hasher::new();
    prefix.update(z);
    for (chunk, counter) in out.chunks_mut(32).zip(1u32..) {
        let mut hasher = prefix.clone();
        hasher.update(&counter.to_be_bytes());
        let block = Zeroizing::new(hasher.finalize());
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}
