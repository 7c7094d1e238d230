//! Key agreement, GB/T 32918.3-2016 (GM/T 0003.3).
//!
//! ```text
//! A: Initiator::start ──── R_A ────▶ B: Responder::respond
//! A: Initiator::finish… ◀─ R_B, S_B ─ B
//! A ────────────────────── S_A ────▶ B: Responder::finish…
//! ```
//!
//! * Each state is consumed by its next step, so an ephemeral key serves one agreement only; all secrets are wiped.
//! * Peers' points are [`PublicKey`]s and therefore on the curve and finite; a shared point at infinity is refused.
//! * Without the confirmations `S_B` and `S_A` (B8, A9, A10, B10) a side knows that nobody *else* has the key, not that the
//!   peer has it.
//! * [`diffie_hellman`] is the plain form that TLS 1.3 wants.
//! * Constant time in private keys, ephemeral keys and everything computed from them.

mod batch;
#[cfg(test)]
mod tests;

use super::nonce::Nonces;
use super::scalar::Scalar;
use super::{IdentifiedKey, PrivateKey, PublicKey, comb, identity_digest, on_wiped_stack_for, variable_base};
use crate::sm3::{self, Hasher};
use crate::{Random, RandomError, ct};
use zeroize::Zeroizing;

/// No key was agreed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The random source failed; try again when it works.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The peer's points cancel out, which does not happen by chance (A7, B6).
    #[error("SM2 key agreement: the shared point is at infinity; refuse this peer")]
    Infinity,
    /// The peer's confirmation is not the expected one: another key, or a changed message (A9, B10).
    #[error("SM2 key agreement: the peer's confirmation is wrong; refuse this peer")]
    Confirmation,
}

/// More than the deepest frames of one step take.
const STACK_BYTES: usize = 16 << 10;

/// `(r, [r]G)`; `r` stays in its place when this is moved.
struct Ephemeral {
    r: Box<Zeroizing<Scalar>>,
    public: PublicKey,
}

impl Ephemeral {
    /// A1 and A2, B1 and B2. Hedged as a signature's nonce is, so that a weak generator alone does not reveal `r`.
    fn generate(key: &PrivateKey, z: &[u8; 32], rng: &mut dyn Random) -> Result<Self, ExchangeError> {
        ct::on_wiped_stack::<STACK_BYTES, _>(|| {
            let mut entropy = Zeroizing::new([0; 32]);
            rng.fill(&mut *entropy)?;
            Ok(Self::from_scalar(Nonces::for_exchange(&key.secret.d, z, &entropy).next()))
        })
    }

    fn from_scalar(r: Scalar) -> Self {
        Self { public: PublicKey { point: comb::base_multiple(&r) }, r: Box::new(Zeroizing::new(r)) }
    }

    /// `x ‖ y` of the shared point: A4 to A7, B3 to B6.
    fn agree(
        &self,
        key: &PrivateKey,
        peer: &PublicKey,
        peer_ephemeral: &PublicKey,
    ) -> Result<Box<Zeroizing<[u8; 64]>>, ExchangeError> {
        ct::on_wiped_stack::<STACK_BYTES, _>(|| shared_point(&self.implicit_scalar(key), peer, peer_ephemeral))
    }

    /// `t = d + x̄·r mod n`: A4 and A5, B3 and B4.
    fn implicit_scalar(&self, key: &PrivateKey) -> Zeroizing<Scalar> {
        let product = Zeroizing::new(associate(&self.public).multiply(&self.r));
        Zeroizing::new(product.add(&key.secret.d))
    }
}

/// `x̄ = 2^w + (x mod 2^w)` with `w = ⌈⌈log2 n⌉ / 2⌉ - 1 = 127`.
fn associate(point: &PublicKey) -> Scalar {
    let [x0, x1, ..] = point.point.x.to_limbs();
    Scalar::reduce(&[x0, x1 | 1 << 63, 0, 0])
}

/// `[h·t](P + [x̄]R)` with the cofactor `h = 1`: A6 and A7, B5 and B6. The sum is of public points.
fn shared_point(
    t: &Scalar,
    peer: &PublicKey,
    peer_ephemeral: &PublicKey,
) -> Result<Box<Zeroizing<[u8; 64]>>, ExchangeError> {
    let sum = variable_base::public_sum(&peer.point, associate(peer_ephemeral).limbs(), &peer_ephemeral.point);
    let sum = sum.filter(|_| !t.is_zero()).ok_or(ExchangeError::Infinity)?;
    Ok(Box::new(variable_base::secret_multiple(&sum, t)))
}

/// Plain Diffie-Hellman: the x coordinate of `[d]P`, big endian. It authenticates nobody; TLS 1.3 uses it with ephemeral keys on
/// both sides (RFC 8446 7.4.2, RFC 8998 3.1). Constant time in the private key; the curve's order is prime, so the point is
/// finite.
pub fn diffie_hellman(key: &PrivateKey, peer: &PublicKey) -> Zeroizing<[u8; 32]> {
    ct::on_wiped_stack::<STACK_BYTES, _>(|| {
        let point = variable_base::secret_multiple(&peer.point, &key.secret.d);
        let mut x = Zeroizing::new([0; 32]);
        x.copy_from_slice(&point[..32]);
        x
    })
}

/// What both sides hash, the initiator's part first.
struct Transcript {
    z: [[u8; 32]; 2],
    ephemeral: [PublicKey; 2],
}

/// `x ‖ y` of the shared point with what both sides hash beside it.
struct Agreed {
    point: Box<Zeroizing<[u8; 64]>>,
    transcript: Transcript,
}

/// Which side a confirmation comes from (B8, A10).
#[derive(Clone, Copy)]
enum By {
    Responder = 2,
    Initiator = 3,
}

impl Agreed {
    /// `SM3(by ‖ y ‖ SM3(x ‖ Z_A ‖ Z_B ‖ x1 ‖ y1 ‖ x2 ‖ y2))`: B8 and A9, A10 and B10.
    fn confirmation(&self, by: By) -> [u8; 32] {
        ct::on_wiped_stack::<STACK_BYTES, _>(|| self.confirmation_on_stack(by))
    }

    fn confirmation_on_stack(&self, by: By) -> [u8; 32] {
        let (x, y) = self.point.split_at(32);
        let mut inner = Hasher::new();
        inner.update(x);
        inner.update(self.transcript.z.as_flattened());
        self.transcript.ephemeral.iter().for_each(|point| inner.update(&point.to_bytes()));
        let mut outer = Hasher::new();
        outer.update(&[by as u8]);
        outer.update(y);
        outer.update(&inner.finalize());
        outer.finalize()
    }

    #[inline(always)]
    fn check(&self, by: By, confirmation: &[u8; 32]) -> Result<(), ExchangeError> {
        if ct::eq(&self.confirmation(by), confirmation) { Ok(()) } else { Err(ExchangeError::Confirmation) }
    }

    fn into_secret(self) -> SharedSecret {
        let mut seed = Box::new(Zeroizing::new([0; 128]));
        let (point, z) = seed.split_at_mut(64);
        point.copy_from_slice(&**self.point);
        z.copy_from_slice(self.transcript.z.as_flattened());
        SharedSecret { seed }
    }
}

/// What both sides share: the seed `x ‖ y ‖ Z_A ‖ Z_B` of their key.
pub struct SharedSecret {
    seed: Box<Zeroizing<[u8; 128]>>,
}

impl SharedSecret {
    /// Fills `key` with `K = KDF(x ‖ y ‖ Z_A ‖ Z_B, klen)` (A8, B7). Consumed, because a key of another length would begin alike.
    ///
    /// # Panics
    /// As [`sm3::kdf`] does.
    pub fn derive(self, key: &mut [u8]) {
        on_wiped_stack_for(key.len(), || sm3::kdf(&**self.seed, key));
    }
}

impl core::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sm2::exchange::SharedSecret(..)")
    }
}

/// The side that speaks first, waiting for the answer.
pub struct Initiator<'k> {
    key: &'k PrivateKey,
    z: [u8; 32],
    ephemeral: Ephemeral,
}

impl<'k> Initiator<'k> {
    /// Steps A1 to A3 under the identifier `id`. Panics as [`identity_digest`] does.
    pub fn start(key: &'k PrivateKey, id: &[u8], rng: &mut dyn Random) -> Result<Self, ExchangeError> {
        let z = identity_digest(id, &key.public_key());
        let ephemeral = Ephemeral::generate(key, &z, rng)?;
        Ok(Self { key, z, ephemeral })
    }

    /// `R_A`, to be sent.
    pub fn ephemeral(&self) -> PublicKey {
        self.ephemeral.public
    }

    /// Steps A4 to A8, no confirmations asked for.
    pub fn finish(self, peer: &IdentifiedKey, peer_ephemeral: &PublicKey) -> Result<SharedSecret, ExchangeError> {
        Ok(self.agree(peer, peer_ephemeral)?.into_secret())
    }

    /// Steps A4 to A10: checks `S_B` and gives `S_A`, to be sent.
    pub fn finish_confirmed(
        self,
        peer: &IdentifiedKey,
        peer_ephemeral: &PublicKey,
        confirmation: &[u8; 32],
    ) -> Result<(SharedSecret, [u8; 32]), ExchangeError> {
        let agreed = self.agree(peer, peer_ephemeral)?;
        agreed.check(By::Responder, confirmation)?;
        let own = agreed.confirmation(By::Initiator);
        Ok((agreed.into_secret(), own))
    }

    fn agree(self, peer: &IdentifiedKey, peer_ephemeral: &PublicKey) -> Result<Agreed, ExchangeError> {
        let point = self.ephemeral.agree(self.key, peer.key(), peer_ephemeral)?;
        let ephemeral = [self.ephemeral.public, *peer_ephemeral];
        Ok(Agreed { point, transcript: Transcript { z: [self.z, *peer.z()], ephemeral } })
    }
}

/// The side that answers, in possession of the key and waiting for its confirmation if one is asked for.
pub struct Responder {
    agreed: Agreed,
}

impl Responder {
    /// Steps B1 to B7 under the identifier `id`, for a peer's `R_A`. Panics as [`identity_digest`] does.
    pub fn respond(
        key: &PrivateKey,
        id: &[u8],
        peer: &IdentifiedKey,
        peer_ephemeral: &PublicKey,
        rng: &mut dyn Random,
    ) -> Result<Self, ExchangeError> {
        let z = identity_digest(id, &key.public_key());
        let own = Ephemeral::generate(key, &z, rng)?;
        Self::agree(key, &z, own, peer, peer_ephemeral)
    }

    fn agree(
        key: &PrivateKey,
        z: &[u8; 32],
        own: Ephemeral,
        peer: &IdentifiedKey,
        peer_ephemeral: &PublicKey,
    ) -> Result<Self, ExchangeError> {
        let point = own.agree(key, peer.key(), peer_ephemeral)?;
        let ephemeral = [*peer_ephemeral, own.public];
        Ok(Self { agreed: Agreed { point, transcript: Transcript { z: [*peer.z(), *z], ephemeral } } })
    }

    /// `R_B`, to be sent.
    pub fn ephemeral(&self) -> PublicKey {
        self.agreed.transcript.ephemeral[1]
    }

    /// `S_B`, to be sent if confirmations are asked for (B8).
    pub fn confirmation(&self) -> [u8; 32] {
        self.agreed.confirmation(By::Responder)
    }

    /// The key, no confirmation asked for.
    pub fn finish(self) -> SharedSecret {
        self.agreed.into_secret()
    }

    /// Step B10: the key, once `S_A` has shown that the peer has it too.
    pub fn finish_confirmed(self, confirmation: &[u8; 32]) -> Result<SharedSecret, ExchangeError> {
        self.agreed.check(By::Initiator, confirmation)?;
        Ok(self.agreed.into_secret())
    }
}

/// Both sides with published ephemeral keys, for known-answer tests: the key on which both agree, `[S_B, S_A]`.
pub(crate) fn agree_with_known_ephemerals<const KEY_BYTES: usize>(
    [key_a, key_b]: [&PrivateKey; 2],
    id: &[u8],
    ephemerals: [&[u8; 32]; 2],
) -> Option<([u8; KEY_BYTES], [[u8; 32]; 2])> {
    let [a, b] = [key_a, key_b].map(|key| IdentifiedKey::new(id, key.public_key()));
    let [Some(r_a), Some(r_b)] = ephemerals.map(Scalar::from_be_bytes) else { return None };
    let initiator = Initiator { key: key_a, z: *a.z(), ephemeral: Ephemeral::from_scalar(r_a) };
    let responder = Responder::agree(key_b, b.z(), Ephemeral::from_scalar(r_b), &a, &initiator.ephemeral()).ok()?;
    let s_b = responder.confirmation();
    let (secret_a, s_a) = initiator.finish_confirmed(&b, &responder.ephemeral(), &s_b).ok()?;
    let secret_b = responder.finish_confirmed(&s_a).ok()?;
    let mut keys = [[0; KEY_BYTES]; 2];
    secret_a.derive(&mut keys[0]);
    secret_b.derive(&mut keys[1]);
    (keys[0] == keys[1]).then_some((keys[0], [s_b, s_a]))
}
