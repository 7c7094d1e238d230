//! The key derivation function of SM2 (GB/T 32918.3-2016 5.4.3, GB/T 32918.4-2016 5.4.3).

use super::lanes::{Cut, Start};
use super::{BLOCK_BYTES, IV, many, single, wipe};

/// Counter blocks hashed together.
const AT_ONCE: usize = 48;
/// As many for a short output, such as a key.
const AT_ONCE_SHORT: usize = 2;
/// Up to here an output is short: no lanes are filled, whose frames are deep.
pub(crate) const SHORT_BYTES: usize = AT_ONCE_SHORT * 32;

/// Fills `out` with `SM3(z ‖ 1) ‖ SM3(z ‖ 2) ‖ …`, counters of 32 bits, big endian.
///
/// # Panics
/// When `out` has more than `(2^32 - 2) * 32` bytes, a counter less than the standard's bound.
pub fn kdf(z: &[u8], out: &mut [u8]) {
    assert!(out.len().div_ceil(32) < u32::MAX as usize, "kdf: the output is beyond the standard's bound");
    let (blocks, rest) = z.as_chunks::<BLOCK_BYTES>();
    let mut start = Start { state: IV, bytes: (blocks.len() * BLOCK_BYTES) as u64 };
    single::compress(&mut start.state, blocks);
    if out.len() <= SHORT_BYTES {
        fill::<AT_ONCE_SHORT>(&start, rest, 1, out);
    } else {
        for (out, first) in out.chunks_mut(AT_ONCE * 32).zip((1u32..).step_by(AT_ONCE)) {
            fill::<AT_ONCE>(&start, rest, first, out);
        }
    }
}

/// Fills `out`, at most `N` digests, from counter `first` on.
fn fill<const N: usize>(start: &Start, rest: &[u8], first: u32, out: &mut [u8]) {
    let counters: [[u8; 4]; N] = core::array::from_fn(|i| first.wrapping_add(i as u32).to_be_bytes());
    let messages = counters.each_ref().map(|counter| [rest, &counter[..]]);
    let count = out.len().div_ceil(32);
    let mut digests = [[0; 32]; N];
    many::digests(start, &Cut::new(&messages[..count]), &mut digests[..count]);
    out.copy_from_slice(&digests.as_flattened()[..out.len()]);
    wipe(digests.as_flattened_mut(), 0);
}
