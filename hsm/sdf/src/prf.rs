//! A PRF of 32 bytes made of SM4 in the device. Frozen: data at rest hangs on every byte.
//!
//! ```text
//! h = SM3("BIXI-SDF-PRF-V1" ‖ purpose ‖ input)                       the two halves of h are h₁, h₂
//! Tᵢ = E(E(E(Bᵢ) ⊕ h₁) ⊕ h₂),  Bᵢ = "BIXI-SDF-PRF-1" ‖ purpose ‖ i       i = 1, 2
//! PRF(K, purpose, input) = T₁ ‖ T₂
//! ```
//!
//! Each Tᵢ is the CBC-MAC of the three blocks Bᵢ ‖ h₁ ‖ h₂. All messages under the key have this one length, where CBC-MAC is a
//! PRF if E is a pseudorandom permutation (Bellare, Kilian, Rogaway: The Security of the Cipher Block Chaining Message
//! Authentication Code, JCSS 61(3), 2000). The blocks Bᵢ differ, so T₁ and T₂ are two values of that PRF, as in the counter
//! mode of NIST SP 800-108 4.1; and a PRF of a collision-resistant hash of the input is a PRF of the input. The device computes
//! ECB over both chains at once, three calls of two blocks, which every library offers; its own MAC modes differ in padding.

use bixi_accel::sm3;
use bixi_platform::secret::Secret;
use zeroize::Zeroizing;

const DOMAIN: &[u8] = b"BIXI-SDF-PRF-V1";
const FIRST_BLOCK: &[u8; 14] = b"BIXI-SDF-PRF-1";

/// Why the PRF is asked: answers for different purposes have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For callers of the device.
    Answer = 0,
    /// To tell the key that was made from what a device imports instead.
    Binding = 1,
}

/// PRF(key, purpose, input), where `encrypt` is SM4 under the key on two blocks, independently.
pub(crate) fn evaluate<E>(
    mut encrypt: impl FnMut(&[u8; 32]) -> Result<Zeroizing<[u8; 32]>, E>,
    purpose: Purpose,
    input: &[u8],
) -> Result<Secret, E> {
    let mut hasher = sm3::Hasher::new();
    [DOMAIN, &[purpose as u8], input].iter().for_each(|part| hasher.update(part));
    let h = Zeroizing::new(hasher.finalize());
    let mut chains = encrypt(&first_blocks(purpose))?;
    for half in h.chunks_exact(16) {
        chains.iter_mut().zip(half.iter().cycle()).for_each(|(chain, byte)| *chain ^= byte);
        chains = encrypt(&chains)?;
    }
    Ok(Secret::from_wiped(&mut *chains))
}

fn first_blocks(purpose: Purpose) -> [u8; 32] {
    let mut blocks = [0; 32];
    for (index, block) in blocks.chunks_exact_mut(16).enumerate() {
        block[..14].copy_from_slice(FIRST_BLOCK);
        block[14] = purpose as u8;
        block[15] = index as u8 + 1;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bixi_accel::sm4;

    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    fn answer(purpose: Purpose, input: &[u8]) -> [u8; 32] {
        let key = sm4::Key::new(&KEY);
        let encrypt = |blocks: &[u8; 32]| {
            let mut blocks = [*blocks.first_chunk::<16>().unwrap(), *blocks.last_chunk::<16>().unwrap()];
            key.encrypt_blocks(&mut blocks);
            Ok::<_, Infallible>(Zeroizing::new(<[u8; 32]>::try_from(blocks.concat()).unwrap()))
        };
        let Ok(secret) = evaluate(encrypt, purpose, input);
        secret.as_slice().try_into().unwrap()
    }

    /// The same value written as the standard writes CBC-MAC: the last block of CBC with a zero vector.
    #[test]
    fn is_cbc_mac_of_three_blocks_twice() {
        for (purpose, input) in [(Purpose::Answer, &b"input"[..]), (Purpose::Binding, &[7; 256])] {
            let h = sm3::digest(&[DOMAIN, &[purpose as u8], input].concat());
            let mac = |number| {
                let mut first = [0; 16];
                first[..14].copy_from_slice(FIRST_BLOCK);
                first[14..].copy_from_slice(&[purpose as u8, number]);
                let mut blocks = [first, *h.first_chunk::<16>().unwrap(), *h.last_chunk::<16>().unwrap()];
                sm4::cbc::encrypt(&sm4::Key::new(&KEY), &mut [0; 16], &mut blocks);
                blocks[2]
            };
            assert_eq!(answer(purpose, input)[..], [mac(1), mac(2)].concat());
        }
    }

    /// What has been sealed must open for ever. Computed with OpenSSL's SM3 and SM4-CBC.
    #[test]
    fn never_changes() {
        let known = "7cf878416f51eae83e3b5c7cf560e8a1b162edb8998235d652185c5ce57b246e";
        assert_eq!(hex::encode(answer(Purpose::Answer, b"BIXI")), known);
    }

    #[test]
    fn purposes_do_not_meet() {
        assert_ne!(answer(Purpose::Answer, b"x"), answer(Purpose::Binding, b"x"));
        assert_ne!(answer(Purpose::Answer, b"\x01x"), answer(Purpose::Binding, b"x"));
    }
}
