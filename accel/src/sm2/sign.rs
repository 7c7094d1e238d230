//! Signature generation, GB/T 32918.2-2016 6.1.

use super::comb;
use super::limbs::Limbs;
use super::scalar::Scalar;
use super::{PrivateKey, Signature, identity_digest, message_digest};
use crate::{Random, RandomError, ct};
use zeroize::Zeroizing;

/// No signature was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The random source failed; try again when it works.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// More than the deepest frames of one signature take.
const STACK_BYTES: usize = 16 << 10;

/// Signs `message` for `id`. Panics as [`identity_digest`] does.
pub fn sign(key: &PrivateKey, id: &[u8], message: &[u8], rng: &mut dyn Random) -> Result<Signature, SignError> {
    // A1, A2.
    let z = identity_digest(id, &key.public_key());
    sign_digest(key, &message_digest(&z, message), rng)
}

/// Signs the digest `e` made of `Z` and the message.
pub fn sign_digest(key: &PrivateKey, e: &[u8; 32], rng: &mut dyn Random) -> Result<Signature, SignError> {
    ct::on_wiped_stack::<STACK_BYTES, _>(|| sign_digest_on_stack(key, e, rng))
}

fn sign_digest_on_stack(key: &PrivateKey, e: &[u8; 32], rng: &mut dyn Random) -> Result<Signature, SignError> {
    let mut entropy = Zeroizing::new([0; 32]);
    rng.fill(&mut *entropy)?;
    // A3, and A4 to A7 with that k; again where one of them says so.
    let attempt = |attempt| sign_with_nonce(key, e, &*key.secret.nonces.attempt(attempt, e, &entropy)?);
    Ok((0..).find_map(attempt).expect("one of 2^32 candidates is a nonce"))
}

/// Steps A4 to A7 for one `k`; `None` sends the caller back to A3.
pub(super) fn sign_with_nonce(key: &PrivateKey, e: &[u8; 32], k: &Scalar) -> Option<Signature> {
    // A4: (x1, y1) = [k]G.
    let x1 = comb::base_multiple(k).x.to_limbs();
    finish(key, e, k, &x1)
}

/// Steps A5 to A7.
pub(super) fn finish(key: &PrivateKey, e: &[u8; 32], k: &Scalar, x1: &Limbs) -> Option<Signature> {
    // A5: r = (e + x1) mod n; again if r = 0 or r + k = n.
    let r = Scalar::reduce_be_bytes(e).add(&Scalar::reduce(x1));
    let sum = Zeroizing::new(r.add(k));
    if r.is_zero() || sum.is_zero() {
        return None;
    }
    // A6: s = (1 + d)⁻¹ (k - r d) = (1 + d)⁻¹ (k + r) - r mod n; again if s = 0.
    let s = key.secret.inverse.montgomery_multiply(&sum).sub(&r);
    if s.is_zero() {
        return None;
    }
    // A7.
    Some(Signature::from_scalars(&r, &s))
}

/// A4 to A7 with a published nonce, for known-answer tests. Never for a key in use: one reused nonce reveals the key.
pub(crate) fn sign_with_known_nonce(key: &PrivateKey, e: &[u8; 32], k: &[u8; 32]) -> Option<Signature> {
    sign_with_nonce(key, e, &Scalar::from_be_bytes(k)?)
}
