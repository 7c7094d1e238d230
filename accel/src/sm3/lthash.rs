//! The expansion of LtHash, a homomorphic hash of sets (Bellare–Micciancio's AdHash over `Z_{2^16}^1024`): every row of the set has
//! a seed, a digest of its own, and a seed expands to 1,024 lanes of 16 bits,
//! `SM3(seed ‖ 0) ‖ SM3(seed ‖ 1) ‖ … ‖ SM3(seed ‖ 63)`, indices and lanes little-endian. The set's value is the lane-wise sum.
//!
//! Seeds are public: nothing here is wiped.

#[cfg(target_arch = "x86_64")]
use super::avx512;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Int512;

/// Lanes of a sum.
pub const LANES: usize = 1024;
/// Messages a seed expands to.
pub(super) const INDICES: usize = 64;

/// A seed and an index.
const MESSAGE_BYTES: usize = 36;

/// Takes the expansions of `removed` out of `sum` and adds those of `added`.
pub fn update(sum: &mut [u16; LANES], removed: &[[u8; 32]], added: &[[u8; 32]]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = Int512::selected() {
        return avx512::lthash::update(token, sum, removed, added);
    }
    update_by_digests(sum, removed, added);
}

/// [`update`] by its definition.
pub(super) fn update_by_digests(sum: &mut [u16; LANES], removed: &[[u8; 32]], added: &[[u8; 32]]) {
    for seed in removed {
        fold(sum, seed, u16::wrapping_sub);
    }
    for seed in added {
        fold(sum, seed, u16::wrapping_add);
    }
}

fn fold(sum: &mut [u16; LANES], seed: &[u8; 32], operation: fn(u16, u16) -> u16) {
    let messages: [[u8; MESSAGE_BYTES]; INDICES] = core::array::from_fn(|index| {
        let mut message = [0; MESSAGE_BYTES];
        message[..32].copy_from_slice(seed);
        message[32..].copy_from_slice(&(index as u32).to_le_bytes());
        message
    });
    let mut digests = [[0; 32]; INDICES];
    super::digest_many(&messages.each_ref().map(|message| &message[..]), &mut digests);
    for (lane, bytes) in sum.iter_mut().zip(digests.as_flattened().as_chunks().0) {
        *lane = operation(*lane, u16::from_le_bytes(*bytes));
    }
}
