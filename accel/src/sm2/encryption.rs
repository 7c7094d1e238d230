//! Public-key encryption, GB/T 32918.4-2016 (GM/T 0003.4): for keys and other short secrets.
//!
//! * Encryption is constant time in the plaintext and in `k`, decryption in the private key and the plaintext. What shows is the
//!   length, the verdict, and how often A5 asked for another `k` (which for a text of `n` bytes happens once in `2^8n`).
//! * `k` is derived from fresh randomness, recipient and plaintext together: a generator that repeats itself does not make two
//!   plaintexts share a key stream.
//! * Decryption has one error, whatever was wrong. A ciphertext's point is checked when it is decoded, which needs no key.

#[cfg(test)]
mod tests;

use super::nonce::Nonces;
use super::scalar::Scalar;
use super::{PrivateKey, PublicKey, comb, on_wiped_stack_for, variable_base};
use crate::sm3::{self, Hasher};
use crate::{Random, RandomError, ct};
use zeroize::Zeroizing;

pub use super::codec::Layout;

/// Longest plaintext. Longer data belong under a symmetric key, and that key in here.
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 20;
/// More than the deepest frames of a batch take.
const BATCH_STACK_BYTES: usize = 64 << 10;

/// No ciphertext was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// Empty, or above [`PLAINTEXT_BYTES_MAX`].
    #[error("SM2 encryption: {0} bytes; it takes 1 to {PLAINTEXT_BYTES_MAX}")]
    Length(usize),
    /// The random source failed; try again when it works.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// The ciphertext is not one for this key, or was changed. Deliberately without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SM2 decryption: the ciphertext is refused")]
pub struct DecryptError;

/// A well-formed ciphertext; whether it is authentic, decryption tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphertext {
    /// `[k]G`.
    pub(super) c1: PublicKey,
    /// The digest of the plaintext between the halves of the shared point.
    pub(super) c3: [u8; 32],
    /// The plaintext under the key stream; of 1 to [`PLAINTEXT_BYTES_MAX`] bytes.
    pub(super) c2: Vec<u8>,
}

/// Encrypts `plaintext` to the owner of `key`.
pub fn encrypt(key: &PublicKey, plaintext: &[u8], rng: &mut dyn Random) -> Result<Ciphertext, EncryptError> {
    if !(1..=PLAINTEXT_BYTES_MAX).contains(&plaintext.len()) {
        return Err(EncryptError::Length(plaintext.len()));
    }
    on_wiped_stack_for(plaintext.len(), || encrypt_on_stack(key, plaintext, rng))
}

fn encrypt_on_stack(key: &PublicKey, plaintext: &[u8], rng: &mut dyn Random) -> Result<Ciphertext, EncryptError> {
    let mut entropy = Zeroizing::new([0; 32]);
    rng.fill(&mut *entropy)?;
    let mut nonces = Nonces::for_encryption(&key.to_bytes(), plaintext, &entropy);
    loop {
        // A1: k in [1, n-1].
        let k = Zeroizing::new(nonces.next());
        if let Some(ciphertext) = encrypt_with_nonce(key, plaintext, &k) {
            return Ok(ciphertext);
        }
    }
}

/// Steps A2 to A7 for one `k`; `None` sends the caller back to A1.
fn encrypt_with_nonce(key: &PublicKey, plaintext: &[u8], k: &Scalar) -> Option<Ciphertext> {
    // A2: C1 = [k]G.
    let c1 = PublicKey { point: comb::base_multiple(k) };
    // A3: [h]P is finite for every `PublicKey`, the cofactor h being 1.
    // A4: (x2, y2) = [k]P.
    let shared = variable_base::secret_multiple(&key.point, k);
    // A5: t = KDF(x2 ‖ y2, klen); again if it is zero.
    let mut c2 = vec![0; plaintext.len()];
    sm3::kdf(&*shared, &mut c2);
    if is_zero(&c2) {
        return None;
    }
    // A6: C2 = M ⊕ t.
    c2.iter_mut().zip(plaintext).for_each(|(t, m)| *t ^= m);
    // A7: C3 = SM3(x2 ‖ M ‖ y2).
    Some(Ciphertext { c1, c3: digest_between(&shared, plaintext), c2 })
}

/// Decrypts with the private key, steps B1 to B7. The plaintext is wiped when dropped.
pub fn decrypt(key: &PrivateKey, ciphertext: &Ciphertext) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    on_wiped_stack_for(ciphertext.c2.len(), || decrypt_on_stack(key, ciphertext))
}

fn decrypt_on_stack(key: &PrivateKey, ciphertext: &Ciphertext) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    // B1, B2: C1 is on the curve and [h]C1 finite, as every `PublicKey` is.
    // B3: (x2, y2) = [d]C1.
    open(&variable_base::secret_multiple(&ciphertext.c1.point, &key.secret.d), ciphertext)
}

/// [`decrypt`] of each ciphertext, and each its own verdict; many points are multiplied at once.
pub fn decrypt_batch(key: &PrivateKey, ciphertexts: &[Ciphertext]) -> Vec<Result<Zeroizing<Vec<u8>>, DecryptError>> {
    ct::on_wiped_stack::<BATCH_STACK_BYTES, _>(|| {
        let pairs: Vec<_> = ciphertexts.iter().map(|ciphertext| (&ciphertext.c1.point, &key.secret.d)).collect();
        let shared = variable_base::secret_multiples(&pairs);
        shared.iter().zip(ciphertexts).map(|(shared, ciphertext)| open(shared, ciphertext)).collect()
    })
}

/// Steps B4 to B7 for the shared point.
fn open(shared: &[u8; 64], ciphertext: &Ciphertext) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    // B4: t = KDF(x2 ‖ y2, klen), not zero.
    let mut text = Zeroizing::new(vec![0; ciphertext.c2.len()]);
    sm3::kdf(shared, &mut text);
    let zero = is_zero(&text);
    // B5: M' = C2 ⊕ t.
    text.iter_mut().zip(&ciphertext.c2).for_each(|(t, c2)| *t ^= c2);
    // B6: C3 = SM3(x2 ‖ M' ‖ y2).
    let authentic = ct::eq(&digest_between(shared, &text), &ciphertext.c3);
    // B7; both findings become one verdict before anything depends on either.
    let accepted = core::hint::black_box(u8::from(authentic) & u8::from(!zero));
    if accepted == 1 { Ok(text) } else { Err(DecryptError) }
}

/// `SM3(x2 ‖ M ‖ y2)`.
fn digest_between(shared: &[u8; 64], text: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(&shared[..32]);
    hasher.update(text);
    hasher.update(&shared[32..]);
    hasher.finalize()
}

fn is_zero(bytes: &[u8]) -> bool {
    ct::mask_is_zero(u64::from(bytes.iter().fold(0, |acc, byte| acc | byte))) != 0
}

/// A2 to A8 with a published nonce, for known-answer tests. Never for a message that matters.
pub(crate) fn encrypt_with_known_nonce(key: &PublicKey, plaintext: &[u8], k: &[u8; 32]) -> Option<Ciphertext> {
    encrypt_with_nonce(key, plaintext, &Scalar::from_be_bytes(k)?)
}
