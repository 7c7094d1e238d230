//! Signatures of many messages under one key.

#[cfg(target_arch = "x86_64")]
use super::ifma;
use super::limbs::Limbs;
use super::nonce::BatchNonces;
use super::scalar::Scalar;
use super::sign::{finish, sign_with_nonce};
use super::verify::message_digests;
use super::{PrivateKey, SignError, Signature, comb, field, identity_digest};
#[cfg(target_arch = "x86_64")]
use crate::cpu::Ifma512;
use crate::{Random, ct};
use zeroize::Zeroizing;

/// More than the deepest frames of a batch take.
const STACK_BYTES: usize = 64 << 10;
/// Signatures computed together.
const CHUNK: usize = 128;
/// Up to here one after the other is faster than lanes that stay empty (29 k cycles each against 80 k for a vector).
#[cfg(target_arch = "x86_64")]
const ALONE_MAX: usize = 2;

/// Signs every message for `id`; the result has one signature per message, in their order. Panics as
/// [`identity_digest`] does.
pub fn sign_batch(
    key: &PrivateKey,
    id: &[u8],
    messages: &[&[u8]],
    rng: &mut dyn Random,
) -> Result<Vec<Signature>, SignError> {
    // A1, A2.
    let z = identity_digest(id, &key.public_key());
    let digests = message_digests(messages.iter().map(|message| (&z, *message)));
    sign_digest_batch(key, &digests, rng)
}

/// Signs every digest `e` made of `Z` and a message. Each has its own nonce, derived from the key, the batch, the place
/// in it, the digest and randomness drawn once for this call.
pub fn sign_digest_batch(
    key: &PrivateKey,
    digests: &[[u8; 32]],
    rng: &mut dyn Random,
) -> Result<Vec<Signature>, SignError> {
    ct::on_wiped_stack::<STACK_BYTES, _>(|| sign_on_stack(key, digests, rng))
}

fn sign_on_stack(key: &PrivateKey, digests: &[[u8; 32]], rng: &mut dyn Random) -> Result<Vec<Signature>, SignError> {
    let mut entropy = Zeroizing::new([0; 32]);
    rng.fill(&mut *entropy)?;
    let nonces = BatchNonces::new(&key.secret.d, digests, &entropy);
    let mut signatures = Vec::with_capacity(digests.len());
    for (chunk, digests) in digests.chunks(CHUNK).enumerate() {
        sign_chunk(key, &nonces, CHUNK * chunk, digests, &mut signatures);
    }
    Ok(signatures)
}

fn sign_chunk(
    key: &PrivateKey,
    nonces: &BatchNonces,
    first: usize,
    digests: &[[u8; 32]],
    signatures: &mut Vec<Signature>,
) {
    let mut candidates = Zeroizing::new([[0; 32]; CHUNK]);
    nonces.candidates(first, digests, &mut candidates[..digests.len()]);
    // A3; a candidate out of range, once in 2^32, is drawn again below. Which one is public, its value is not used.
    let in_range: Vec<bool> = candidates.iter().map(|candidate| parse(candidate).is_some()).collect();
    let mut scalars = Zeroizing::new([Scalar::ONE; CHUNK]);
    for (scalar, candidate) in scalars.iter_mut().zip(candidates.iter()) {
        *scalar = parse(candidate).unwrap_or(Scalar::ONE);
    }
    // A4.
    let mut xs = [None; CHUNK];
    x_coordinates(&scalars[..digests.len()], &mut xs[..digests.len()]);
    for (i, e) in digests.iter().enumerate() {
        // A5 to A7.
        let signature = xs[i].filter(|_| in_range[i]).and_then(|x1| finish(key, e, &scalars[i], &x1));
        signatures.push(signature.unwrap_or_else(|| sign_again(key, nonces, first + i, e)));
    }
}

/// A3 to A7 with later candidates, one by one.
fn sign_again(key: &PrivateKey, nonces: &BatchNonces, position: usize, e: &[u8; 32]) -> Signature {
    let attempt = |attempt| {
        let candidate = Zeroizing::new(nonces.candidate(attempt, position, e));
        let k = Zeroizing::new(parse(&candidate)?);
        sign_with_nonce(key, e, &k)
    };
    (1..).find_map(attempt).expect("one of 2^32 candidates is a nonce")
}

/// A scalar in `[1, n-1]`.
fn parse(candidate: &[u8; 32]) -> Option<Scalar> {
    Scalar::from_be_bytes(candidate).filter(|k| !k.is_zero())
}

/// The x coordinate of `[k]G` for each scalar, `None` where the caller must take another.
pub(super) fn x_coordinates(scalars: &[Scalar], out: &mut [Option<Limbs>]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = Ifma512::selected().filter(|_| scalars.len() > ALONE_MAX) {
        ifma::base_x_coordinates(token, scalars, out);
        return;
    }
    for (k, out) in scalars.iter().zip(out) {
        *out = Some(comb::base_multiple(k).x.to_limbs());
    }
}

/// A4 to A7 for published nonces, for known-answer tests. Never for a key in use.
pub(crate) fn sign_batch_with_known_nonces(
    key: &PrivateKey,
    e: &[u8; 32],
    nonces: &[[u8; 32]],
) -> Option<Vec<Signature>> {
    let scalars = nonces.iter().map(parse).collect::<Option<Vec<_>>>()?;
    let mut xs = vec![None; scalars.len()];
    x_coordinates(&scalars, &mut xs);
    scalars.iter().zip(xs).map(|(k, x1)| finish(key, e, k, &x1?)).collect()
}

/// The name of the kernel that serves [`sign_batch`], and batches of decryptions and of agreements.
pub(crate) fn kernel_name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if Ifma512::selected().is_some() {
        return "ifma512";
    }
    field::kernel_name()
}
