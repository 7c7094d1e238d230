//! Answers to many initiators at once: the three multiplications of each agreement go through the lanes together.

use super::{Agreed, Ephemeral, ExchangeError, Responder, Transcript, associate};
use crate::sm2::nonce::Nonces;
use crate::sm2::point::{Affine, G, Jacobian};
use crate::sm2::scalar::Scalar;
use crate::sm2::{IdentifiedKey, PrivateKey, PublicKey, identity_digest, variable_base};
use crate::{Random, ct};
use zeroize::Zeroizing;

/// More than the deepest frames of a batch take; lanes are wide.
const STACK_BYTES: usize = 64 << 10;

impl Responder {
    /// [`Self::respond`] to each peer and its `R_A`, in their order, each with a result of its own. The random source failing is an
    /// error of the whole call.
    pub fn respond_batch(
        key: &PrivateKey,
        id: &[u8],
        peers: &[(&IdentifiedKey, &PublicKey)],
        rng: &mut dyn Random,
    ) -> Result<Vec<Result<Self, ExchangeError>>, ExchangeError> {
        ct::on_wiped_stack::<STACK_BYTES, _>(|| respond_on_stack(key, id, peers, rng))
    }
}

fn respond_on_stack(
    key: &PrivateKey,
    id: &[u8],
    peers: &[(&IdentifiedKey, &PublicKey)],
    rng: &mut dyn Random,
) -> Result<Vec<Result<Responder, ExchangeError>>, ExchangeError> {
    let z = identity_digest(id, &key.public_key());
    // B1, B2.
    let ephemerals = ephemerals(key, &z, peers.len(), rng)?;
    // B3, B4.
    let scalars: Vec<_> = ephemerals.iter().map(|own| Box::new(own.implicit_scalar(key))).collect();
    // B5; a sum at infinity and a scalar of zero leave nothing to be multiplied.
    let sums = public_sums(peers);
    let finite = sums.iter().zip(&scalars).map(|(sum, t)| sum.as_ref().filter(|_| !t.is_zero()));
    let finite: Vec<Option<&Affine>> = finite.collect();
    // B6.
    let pairs = finite.iter().zip(&scalars).filter_map(|(sum, t)| sum.map(|sum| (sum, &***t)));
    let points = variable_base::secret_multiples(&pairs.collect::<Vec<_>>());
    // Copied, so that each is wiped where it was written.
    let mut points = points.iter().map(|point| Box::new(point.clone()));
    let agreed = finite.iter().zip(ephemerals).zip(peers).map(|((sum, own), (peer, peer_ephemeral))| {
        let point = sum.and_then(|_| points.next()).ok_or(ExchangeError::Infinity)?;
        let transcript = Transcript { z: [*peer.z(), z], ephemeral: [**peer_ephemeral, own.public] };
        Ok(Responder { agreed: Agreed { point, transcript } })
    });
    Ok(agreed.collect())
}

/// All from one generator seeded once: no two of a batch are alike, whatever the random source does.
fn ephemerals(
    key: &PrivateKey,
    z: &[u8; 32],
    count: usize,
    rng: &mut dyn Random,
) -> Result<Vec<Ephemeral>, ExchangeError> {
    let mut entropy = Zeroizing::new([0; 32]);
    rng.fill(&mut *entropy)?;
    let mut nonces = Nonces::for_exchange(&key.secret.d, z, &entropy);
    let scalars: Vec<_> = (0..count).map(|_| Box::new(Zeroizing::new(nonces.next()))).collect();
    let pairs: Vec<(&Affine, &Scalar)> = scalars.iter().map(|r| (&G, &***r)).collect();
    let points = variable_base::secret_multiples(&pairs);
    Ok(scalars.into_iter().zip(&points).map(|(r, point)| Ephemeral { r, public: on_curve(point) }).collect())
}

/// `P + [x̄]R` for each peer, `None` at infinity.
fn public_sums(peers: &[(&IdentifiedKey, &PublicKey)]) -> Vec<Option<Affine>> {
    let scalars: Vec<Scalar> = peers.iter().map(|(_, ephemeral)| associate(ephemeral)).collect();
    let pairs: Vec<_> = peers.iter().zip(&scalars).map(|((_, ephemeral), x)| (&ephemeral.point, x)).collect();
    let multiples = variable_base::secret_multiples(&pairs);
    let sum = |((peer, _), multiple): (&(&IdentifiedKey, &PublicKey), &Zeroizing<[u8; 64]>)| {
        Jacobian::from(&peer.key().point).add_affine(&on_curve(multiple).point)
    };
    let sums: Vec<Jacobian> = peers.iter().zip(&multiples).map(sum).collect();
    let finite: Vec<Jacobian> = sums.iter().filter(|sum| !sum.is_infinity()).copied().collect();
    let mut finite = Jacobian::batch_to_affine(&finite).into_iter();
    sums.iter().map(|sum| if sum.is_infinity() { None } else { finite.next() }).collect()
}

/// # Panics
/// When the point is off the curve: then it was computed wrongly.
fn on_curve(point: &[u8; 64]) -> PublicKey {
    PublicKey::from_bytes(point).expect("a multiple of a point is on the curve")
}
