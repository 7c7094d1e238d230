//! Key derivation and hiding of parameters (part 1, 11.4 and 21), with SHA-256 as the session's hash.

use ring::{digest, hmac};
use zeroize::Zeroizing;

/// Bytes of a SHA-256 digest.
pub(crate) const DIGEST_BYTES: usize = 32;

pub(crate) type Digest = [u8; DIGEST_BYTES];

/// SHA-256 of the parts in a row.
pub(crate) fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// HMAC-SHA-256 of the parts in a row.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

/// KDFa (part 1, 11.4.10): HMAC(key, counter ‖ label ‖ 00 ‖ U ‖ V ‖ bits), block after block.
pub(crate) fn kdf_a(key: &[u8], label: &str, context_u: &[u8], context_v: &[u8], bytes: usize) -> Zeroizing<Vec<u8>> {
    let bits = (u32::try_from(bytes).expect("shorter than a message") * 8).to_be_bytes();
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.next_multiple_of(DIGEST_BYTES)));
    for counter in 1u32.. {
        if out.len() >= bytes {
            break;
        }
        let parts = [&counter.to_be_bytes()[..], label.as_bytes(), &[0], context_u, context_v, &bits];
        out.extend_from_slice(&*Zeroizing::new(hmac_sha256(key, &parts)));
    }
    out.truncate(bytes);
    out
}

/// KDFe (part 1, 11.4.10) for one block: H(1 ‖ Z ‖ label ‖ 00 ‖ U ‖ V).
pub(crate) fn kdf_e(z: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Zeroizing<Digest> {
    Zeroizing::new(sha256(&[&1u32.to_be_bytes(), z, label.as_bytes(), &[0], party_u, party_v]))
}

/// XOR obfuscation (part 1, 11.4.7): its own inverse.
pub(crate) fn obfuscate(data: &mut [u8], key: &[u8], nonce_newer: &[u8], nonce_older: &[u8]) {
    let mask = kdf_a(key, "XOR", nonce_newer, nonce_older, data.len());
    data.iter_mut().zip(mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counter mode of SP 800-108 with a zero byte after the label is KDFa: its blocks written out by hand.
    #[test]
    fn blocks_differ_by_their_counter_only() {
        let long = kdf_a(b"key", "ATH", b"u", b"v", 40);
        let block = |counter: u32| hmac_sha256(b"key", &[&counter.to_be_bytes(), b"ATH\0uv", &320u32.to_be_bytes()]);
        assert_eq!(long[..32], block(1));
        assert_eq!(long[32..], block(2)[..8]);
        assert_ne!(kdf_a(b"key", "ATH", b"u", b"v", 32)[..], long[..32], "the length belongs to the input");
    }

    #[test]
    fn obfuscation_is_its_own_inverse_and_bound_to_both_nonces() {
        let plain = [7u8; 50];
        let mut hidden = plain;
        obfuscate(&mut hidden, b"key", b"new", b"old");
        assert_ne!(hidden, plain);
        let mut other = plain;
        obfuscate(&mut other, b"key", b"old", b"new");
        assert_ne!(other, hidden);
        obfuscate(&mut hidden, b"key", b"new", b"old");
        assert_eq!(hidden, plain);
    }
}
