//! GHASH (SP 800-38D 6.4) in constant time.
//!
//! Field elements are `u128` as read big endian: the coefficient of `x^0` is the top bit. The carry-less product of two
//! such values is the mirrored product, one bit to the right of its place.

#[cfg(target_arch = "x86_64")]
mod pclmul;
#[cfg(target_arch = "aarch64")]
mod pmull;
#[cfg(target_arch = "x86_64")]
mod vpclmul256;
#[cfg(target_arch = "x86_64")]
mod vpclmul512;
#[cfg(target_arch = "x86_64")]
mod wide;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu;
use crate::memory::Kept;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// The hash key `H`, as the selected kernel wants it; boxed, so that moving a key leaves no copy behind.
pub(super) enum HashKey {
    Portable(Kept<Zeroizing<u128>>),
    #[cfg(target_arch = "aarch64")]
    Pmull(Kept<pmull::Powers>),
    #[cfg(target_arch = "x86_64")]
    Pclmul(Kept<pclmul::Powers>),
    #[cfg(target_arch = "x86_64")]
    Vpclmul256(Kept<vpclmul256::Powers>),
    #[cfg(target_arch = "x86_64")]
    Vpclmul512(Kept<vpclmul512::Powers>),
}

pub(super) fn kernel_name() -> &'static str {
    match HashKey::new(&[0; 16]) {
        HashKey::Portable(_) => "portable",
        #[cfg(target_arch = "aarch64")]
        HashKey::Pmull(_) => "pmull",
        #[cfg(target_arch = "x86_64")]
        HashKey::Pclmul(_) => "pclmul",
        #[cfg(target_arch = "x86_64")]
        HashKey::Vpclmul256(_) => "vpclmul256",
        #[cfg(target_arch = "x86_64")]
        HashKey::Vpclmul512(_) => "vpclmul512",
    }
}

impl HashKey {
    /// Powers are made on the stack before they go to key memory: the caller wipes it.
    pub(super) fn new(h: &[u8; 16]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = cpu::Vpclmul512::selected() {
            return Self::Vpclmul512(Kept::key(vpclmul512::Powers::new(token, u128::from_be_bytes(*h))));
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = cpu::Vpclmul256::selected() {
            return Self::Vpclmul256(Kept::key(vpclmul256::Powers::new(token, u128::from_be_bytes(*h))));
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = cpu::Pclmul::selected() {
            return Self::Pclmul(Kept::key(pclmul::Powers::new(token, u128::from_be_bytes(*h))));
        }
        #[cfg(target_arch = "aarch64")]
        if let Some(token) = cpu::NeonAes::selected() {
            return Self::Pmull(Kept::key(pmull::Powers::new(token, u128::from_be_bytes(*h))));
        }
        Self::portable(h)
    }

    /// A key for the portable kernel.
    pub(super) fn portable(h: &[u8; 16]) -> Self {
        Self::Portable(Kept::key(Zeroizing::new(u128::from_be_bytes(*h))))
    }

    /// A running hash starting at zero.
    pub(super) fn start(&self) -> GHash<'_> {
        GHash { key: self, y: 0 }
    }

    /// The whole hash of a message that kernels reduce at once; `None` for a longer one.
    pub(super) fn of_short(&self, aad: &[u8], data: &[u8]) -> Option<[u8; 16]> {
        const BLOCKS: usize = 32;
        let (aad_blocks, data_blocks) = (aad.len().div_ceil(16), data.len().div_ceil(16));
        let count = aad_blocks.checked_add(data_blocks)?.checked_add(1)?;
        let mut message = [[0; 16]; BLOCKS];
        let blocks = message.get_mut(..count)?;
        blocks.as_flattened_mut()[..aad.len()].copy_from_slice(aad);
        blocks[aad_blocks..].as_flattened_mut()[..data.len()].copy_from_slice(data);
        blocks[count - 1] = lengths(aad.len(), data.len());
        Some(self.absorb(0, blocks).to_be_bytes())
    }

    /// The hash `y` after `blocks`.
    fn absorb(&self, y: u128, blocks: &[[u8; 16]]) -> u128 {
        match self {
            Self::Portable(h) => blocks.iter().fold(y, |y, block| multiply(y ^ u128::from_be_bytes(*block), ***h)),
            #[cfg(target_arch = "aarch64")]
            Self::Pmull(powers) => powers.absorb(y, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Pclmul(powers) => powers.absorb(y, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Vpclmul256(powers) => powers.absorb(y, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Vpclmul512(powers) => powers.absorb(y, blocks),
        }
    }
}

// Each wipes itself.
impl ZeroizeOnDrop for HashKey {}

/// A running GHASH.
pub(super) struct GHash<'a> {
    key: &'a HashKey,
    y: u128,
}

impl GHash<'_> {
    /// Absorbs `data`, the last block padded with zeros.
    pub(super) fn update_padded(&mut self, data: &[u8]) {
        let (blocks, rest) = data.as_chunks::<16>();
        self.y = self.key.absorb(self.y, blocks);
        if !rest.is_empty() {
            let mut block = [0; 16];
            block[..rest.len()].copy_from_slice(rest);
            self.y = self.key.absorb(self.y, &[block]);
        }
    }

    /// Absorbs the two lengths and returns the hash.
    pub(super) fn finalize(self, aad_bytes: usize, data_bytes: usize) -> [u8; 16] {
        self.key.absorb(self.y, &[lengths(aad_bytes, data_bytes)]).to_be_bytes()
    }
}

/// The last block of a GCM hash: both lengths in bits.
fn lengths(aad_bytes: usize, data_bytes: usize) -> [u8; 16] {
    (((aad_bytes as u128 * 8) << 64) | (data_bytes as u128 * 8)).to_be_bytes()
}

/// Product in GF(2^128) modulo `x^128 + x^7 + x^2 + x + 1`.
fn multiply(a: u128, b: u128) -> u128 {
    let (a1, a0) = ((a >> 64) as u64, a as u64);
    let (b1, b0) = ((b >> 64) as u64, b as u64);
    let high = carryless(a1, b1);
    let low = carryless(a0, b0);
    let middle = carryless(a1 ^ a0, b1 ^ b0) ^ high ^ low;
    reduce(high, middle, low)
}

/// `h / x`: a carry-less product with it stands in its place. `x^-1 = x^127 + x^6 + x + 1`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn divided_by_x(h: u128) -> u128 {
    (h << 1) ^ ((h >> 127).wrapping_neg() & 0xc200_0000_0000_0000_0000_0000_0000_0001)
}

/// The field element of a carry-less product `high·2^128 + middle·2^64 + low` in mirrored form.
fn reduce(high: u128, middle: u128, low: u128) -> u128 {
    let (high, low) = (high ^ (middle >> 64), low ^ (middle << 64));
    // One bit to the left puts x^0 at the top again; `low` then holds degrees 128 and above.
    let (high, low) = ((high << 1) | (low >> 127), low << 1);
    let spilled = (low << 127) ^ (low << 126) ^ (low << 121);
    let fold = |x: u128| x ^ (x >> 1) ^ (x >> 2) ^ (x >> 7);
    high ^ fold(low ^ spilled)
}

/// Carry-less 64×64 product by integer products of operands with holes.
///
/// Every fourth bit is kept, so that a column of an integer product sums at most 15 ones (60 bits of `b`: 15 per class)
/// and its parity is never reached by a neighbour's carry. The top four bits of `b` are added by masked shifts.
fn carryless(a: u64, b: u64) -> u128 {
    const CLASS: u64 = 0x1111_1111_1111_1111;
    let top = (0..4).fold(0, |acc, i| {
        let mask = u128::from(b >> (60 + i) & 1).wrapping_neg();
        acc ^ (mask & u128::from(a) << (60 + i))
    });
    let b = b & (u64::MAX >> 4);
    let a: [u64; 4] = core::array::from_fn(|i| a & CLASS << i);
    let b: [u64; 4] = core::array::from_fn(|i| b & CLASS << i);
    (0..4).fold(top, |acc, class| {
        let sum = (0..4).fold(0, |sum, i| sum ^ (u128::from(a[i]) * u128::from(b[(4 + class - i) % 4])));
        acc ^ (sum & u128::from_ne_bytes([0x11; 16]) << class)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn carryless_by_bits(a: u64, b: u64) -> u128 {
        (0..64).filter(|i| b >> i & 1 == 1).fold(0, |acc, i| acc ^ (u128::from(a) << i))
    }

    /// SP 800-38D algorithm 1.
    fn multiply_by_bits(x: u128, y: u128) -> u128 {
        let (mut z, mut v) = (0, y);
        for i in (0..128).rev() {
            if x >> i & 1 == 1 {
                z ^= v;
            }
            v = v >> 1 ^ if v & 1 == 1 { 0xe1 << 120 } else { 0 };
        }
        z
    }

    #[test]
    fn columns_do_not_overflow_on_full_operands() {
        for (a, b) in [(u64::MAX, u64::MAX), (u64::MAX, 1 << 63), (1, u64::MAX), (0x1111_1111_1111_1111, u64::MAX)] {
            assert_eq!(carryless(a, b), carryless_by_bits(a, b));
        }
        assert_eq!(multiply(u128::MAX, u128::MAX), multiply_by_bits(u128::MAX, u128::MAX));
    }

    proptest! {
        #[test]
        fn carryless_matches_its_definition(a: u64, b: u64) {
            prop_assert_eq!(carryless(a, b), carryless_by_bits(a, b));
        }

        #[test]
        fn every_kernel_matches_portable(h: [u8; 16], y: u128, blocks in prop::collection::vec(any::<[u8; 16]>(), 0..100)) {
            let expected = HashKey::portable(&h).absorb(y, &blocks);
            prop_assert_eq!(HashKey::new(&h).absorb(y, &blocks), expected);
            #[cfg(target_arch = "x86_64")]
            if let Some(token) = cpu::Vpclmul512::new() {
                prop_assert_eq!(vpclmul512::Powers::new(token, u128::from_be_bytes(h)).absorb(y, &blocks), expected);
            }
            #[cfg(target_arch = "aarch64")]
            if let Some(token) = cpu::NeonAes::new() {
                prop_assert_eq!(pmull::Powers::new(token, u128::from_be_bytes(h)).absorb(y, &blocks), expected);
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(token) = cpu::Vpclmul256::new() {
                prop_assert_eq!(vpclmul256::Powers::new(token, u128::from_be_bytes(h)).absorb(y, &blocks), expected);
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(token) = cpu::Pclmul::new() {
                prop_assert_eq!(pclmul::Powers::new(token, u128::from_be_bytes(h)).absorb(y, &blocks), expected);
            }
        }

        #[test]
        fn a_short_message_hashed_at_once_is_hashed_right(h: [u8; 16], aad in prop::collection::vec(any::<u8>(), 0..300), data in prop::collection::vec(any::<u8>(), 0..400)) {
            let key = HashKey::new(&h);
            let mut running = key.start();
            running.update_padded(&aad);
            running.update_padded(&data);
            let blocks = aad.len().div_ceil(16) + data.len().div_ceil(16) + 1;
            let expected = running.finalize(aad.len(), data.len());
            prop_assert_eq!(key.of_short(&aad, &data), (blocks <= 32).then_some(expected));
        }

        #[test]
        fn multiply_matches_the_standard_algorithm(a: u128, b: u128) {
            prop_assert_eq!(multiply(a, b), multiply_by_bits(a, b));
        }
    }
}
