//! Nonces: functions of the private key, of what is signed *and* of fresh randomness, so they are unpredictable even when one of
//! two guards, the generator or the uniqueness of the message, fails. [`Nonces`] is RFC 6979 3.2 over HMAC-SM3 with the
//! randomness as additional input (3.6); [`NonceKey`] and [`BatchNonces`] are its idea with less work for each nonce.

use super::scalar::Scalar;
use crate::sm3::{self, Hmac};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Keep what is derived for other purposes apart from signatures' nonces.
const EXCHANGE_DOMAIN: &[u8] = b"\x03BIXI-ACCEL-EXCHANGE-V1";
const ENCRYPTION_DOMAIN: &[u8] = b"\x04BIXI-ACCEL-ENCRYPTION-V1";
/// Keeps the key of single signatures' nonces apart from every other use of a private key.
const SINGLE_DOMAIN: &[u8] = b"BIXI-ACCEL-SIGN-V1";
/// Keeps the keys of batches apart from everything else a [`Nonces`] produces.
const BATCH_DOMAIN: &[u8] = b"\x02BIXI-ACCEL-SIGN-BATCH-V1";
/// `attempt ‖ position ‖ e`.
const BATCH_INPUT_BYTES: usize = 4 + 8 + 32;

/// The generator of candidates for one signature.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Nonces {
    key: [u8; 32],
    value: [u8; 32],
}

impl Nonces {
    /// Steps a to g: `entropy` is what RFC 6979 3.6 appends.
    pub(super) fn new(d: &Scalar, e: &[u8; 32], entropy: &[u8; 32]) -> Self {
        let secret = Zeroizing::new(d.to_be_bytes());
        Self::seeded(&secret, e, entropy)
    }

    /// For the ephemeral key of an agreement by the owner of `d`, whose identity digest is `z`.
    pub(super) fn for_exchange(d: &Scalar, z: &[u8; 32], entropy: &[u8; 32]) -> Self {
        let mut nonces = Self::new(d, z, entropy);
        nonces.rekey(&[EXCHANGE_DOMAIN]);
        nonces
    }

    /// For an encryption, where no private key is at hand: the randomness takes its place, recipient and plaintext keep two
    /// messages apart should it repeat.
    pub(super) fn for_encryption(recipient: &[u8; 64], plaintext: &[u8], entropy: &[u8; 32]) -> Self {
        let mut hasher = sm3::Hasher::new();
        hasher.update(recipient);
        hasher.update(plaintext);
        let digest = Zeroizing::new(hasher.finalize());
        let mut nonces = Self::seeded(entropy, &digest, &[]);
        nonces.rekey(&[ENCRYPTION_DOMAIN]);
        nonces
    }

    fn seeded(secret: &[u8; 32], digest: &[u8; 32], additional: &[u8]) -> Self {
        let mut nonces = Self { key: [0; 32], value: [1; 32] };
        let digest = Zeroizing::new(Scalar::reduce_be_bytes(digest).to_be_bytes());
        for separator in [0u8, 1] {
            nonces.rekey(&[&[separator], secret, &*digest, additional]);
        }
        nonces
    }

    /// Step h: the next candidate in `[1, n-1]`. Rejection reveals nothing of the one returned.
    pub(super) fn next(&mut self) -> Scalar {
        loop {
            self.value = self.mac(&[]);
            let candidate = Scalar::from_be_bytes(&self.value).filter(|k| !k.is_zero());
            self.rekey(&[&[0]]);
            if let Some(k) = candidate {
                return k;
            }
        }
    }

    fn rekey(&mut self, input: &[&[u8]]) {
        self.key = self.mac(input);
        self.value = self.mac(&[]);
    }

    fn mac(&self, input: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::new(&self.key);
        mac.update(&self.value);
        input.iter().for_each(|part| mac.update(part));
        mac.finalize()
    }
}

/// The nonces of single signatures by one private key: HMAC-SM3 of attempt, fresh randomness and digest under a key derived from
/// the private one and kept with it, so that a nonce costs three compressions.
///
/// Whoever does not know the key sees a random function: nonces of two signatures are independent unless randomness *and* digest
/// repeat, when the signature itself is the same; a generator that fails reveals nothing. The key reveals no more than the
/// private key beside it does. The inputs have one length, so none is another's prefix.
pub(super) struct NonceKey(Hmac);

impl NonceKey {
    pub(super) fn new(d: &Scalar) -> Self {
        let mut mac = Hmac::new(&*Zeroizing::new(d.to_be_bytes()));
        mac.update(SINGLE_DOMAIN);
        Self(Hmac::new(&*Zeroizing::new(mac.finalize())))
    }

    /// A nonce in `[1, n-1]`, or `None`, once in 2^32, when the next attempt must be made: that reveals nothing of the next one.
    pub(super) fn attempt(&self, attempt: u32, e: &[u8; 32], entropy: &[u8; 32]) -> Option<Zeroizing<Scalar>> {
        let mut mac = self.0.clone();
        mac.update(&attempt.to_be_bytes());
        mac.update(entropy);
        mac.update(e);
        let candidate = Zeroizing::new(mac.finalize());
        Scalar::from_be_bytes(&candidate).filter(|k| !k.is_zero()).map(Zeroizing::new)
    }
}

/// The nonces of one batch: HMAC-SM3 of attempt, position and digest, under a key derived as for one signature from the
/// private key, *all* digests in their order, and fresh randomness. Two places of one batch differ in position; two
/// batches that share a key for lack of randomness are the same batch.
pub(super) struct BatchNonces(Hmac);

impl BatchNonces {
    pub(super) fn new(d: &Scalar, digests: &[[u8; 32]], entropy: &[u8; 32]) -> Self {
        let mut nonces = Nonces::new(d, &digest_of(digests), entropy);
        nonces.rekey(&[BATCH_DOMAIN]);
        Self(Hmac::new(&nonces.key))
    }

    /// First candidates for the digests at `first` and after it, each independent and uniform below 2^256.
    pub(super) fn candidates(&self, first: usize, digests: &[[u8; 32]], out: &mut [[u8; 32]]) {
        let inputs: Vec<_> = digests.iter().enumerate().map(|(i, e)| batch_input(0, first + i, e)).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
        self.0.finalize_many(&inputs, out);
    }

    /// The candidate of one place at a later attempt.
    pub(super) fn candidate(&self, attempt: u32, position: usize, e: &[u8; 32]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(&batch_input(attempt, position, e));
        mac.finalize()
    }
}

/// A digest of all digests in their order: of the digests of each sixteen, which are computed side by side.
fn digest_of(digests: &[[u8; 32]]) -> [u8; 32] {
    let runs: Vec<&[u8]> = digests.chunks(16).map(|run| run.as_flattened()).collect();
    let mut found = vec![[0; 32]; runs.len()];
    sm3::digest_many(&runs, &mut found);
    sm3::digest(found.as_flattened())
}

fn batch_input(attempt: u32, position: usize, e: &[u8; 32]) -> [u8; BATCH_INPUT_BYTES] {
    let mut input = [0; BATCH_INPUT_BYTES];
    input[..4].copy_from_slice(&attempt.to_be_bytes());
    input[4..12].copy_from_slice(&(position as u64).to_be_bytes());
    input[12..].copy_from_slice(e);
    input
}
