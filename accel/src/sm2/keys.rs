//! Keys and their encodings.

use super::comb;
use super::field::Element;
use super::nonce::NonceKey;
use super::point::{self, Affine};
use super::scalar::Scalar;
use super::{identity_digest, verify};
use crate::{Random, RandomError, ct};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Draws of one key generation. One misses with probability 2^-32, all of them with 2^-256.
const DRAWS_MAX: usize = 8;

/// More than the deepest frames of computing a public key take.
const STACK_BYTES: usize = 16 << 10;

/// The bytes are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// Neither 33 bytes after 02/03 nor 65 bytes after 04.
    #[error("SM2 public key: not SEC 1 (expected 04 and 64 bytes, or 02/03 and 32 bytes)")]
    Encoding,
    /// The hybrid form, 06 or 07: two encodings of one point, which nobody needs.
    #[error("SM2 public key: the hybrid form (06, 07) is not accepted; use 04, 02 or 03")]
    Hybrid,
    /// The one-byte encoding of the point at infinity.
    #[error("SM2 public key: the point at infinity is no key")]
    Infinity,
    /// A coordinate at or above the field's prime.
    #[error("SM2 public key: a coordinate is not below the field prime")]
    Range,
    /// The coordinates do not satisfy the curve's equation.
    #[error("SM2 public key: the point is not on the curve")]
    NotOnCurve,
}

/// No private key could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Zero, or above `n - 2`.
    #[error("SM2 private key: not in [1, n-2]")]
    Range,
    /// No randomness; nothing was generated.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The generated pair does not verify its own signature; the processor or this build is at fault: the caller must stop.
    #[error(
        "SM2 key generation: the pairwise consistency check failed on kernel `{kernel}`: stop; try BIXI_CPU=portable, and report the processor"
    )]
    Inconsistent {
        /// The kernel at fault.
        kernel: &'static str,
    },
}

/// A point of the curve other than infinity (the cofactor is 1, so it has order `n`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    pub(super) point: Affine,
}

impl PublicKey {
    /// Decodes `X ‖ Y` and checks the point (GB/T 32918.1 6.2.1).
    pub fn from_bytes(bytes: &[u8; 64]) -> Result<Self, PublicKeyError> {
        let (halves, _) = bytes.as_chunks::<32>();
        let coordinate = |half| Element::from_be_bytes(half).ok_or(PublicKeyError::Range);
        let point = Affine { x: coordinate(&halves[0])?, y: coordinate(&halves[1])? };
        if point.is_on_curve() { Ok(Self { point }) } else { Err(PublicKeyError::NotOnCurve) }
    }

    /// Decodes SEC 1, compressed or uncompressed (GB/T 32918.1 4.2.10). The hybrid form and infinity are refused.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        match bytes {
            [4, rest @ ..] => Self::from_bytes(rest.try_into().map_err(|_| PublicKeyError::Encoding)?),
            [tag @ (2 | 3), rest @ ..] => {
                let x = rest.try_into().map_err(|_| PublicKeyError::Encoding)?;
                let x = Element::from_be_bytes(x).ok_or(PublicKeyError::Range)?;
                let point = point::decompress(&x, *tag == 3).ok_or(PublicKeyError::NotOnCurve)?;
                Ok(Self { point })
            }
            [6 | 7, rest @ ..] if rest.len() == 64 => Err(PublicKeyError::Hybrid),
            [0] => Err(PublicKeyError::Infinity),
            _ => Err(PublicKeyError::Encoding),
        }
    }

    /// `X ‖ Y`.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.point.x.to_be_bytes());
        bytes[32..].copy_from_slice(&self.point.y.to_be_bytes());
        bytes
    }

    /// `04 ‖ X ‖ Y`.
    pub fn to_sec1(&self) -> [u8; 65] {
        let mut bytes = [4; 65];
        bytes[1..].copy_from_slice(&self.to_bytes());
        bytes
    }

    /// `02 ‖ X` or `03 ‖ X`.
    pub fn to_sec1_compressed(&self) -> [u8; 33] {
        let mut bytes = [2 + u8::from(self.point.y.is_odd()); 33];
        bytes[1..].copy_from_slice(&self.point.x.to_be_bytes());
        bytes
    }
}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sm2::PublicKey(")?;
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A public key with the digest `Z` of one identifier, computed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentifiedKey {
    key: PublicKey,
    z: [u8; 32],
}

impl IdentifiedKey {
    /// Computes `Z` of `(id, key)`. Panics as [`identity_digest`] does.
    pub fn new(id: &[u8], key: PublicKey) -> Self {
        Self { key, z: identity_digest(id, &key) }
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// `Z`.
    pub fn z(&self) -> &[u8; 32] {
        &self.z
    }
}

/// A private key with what signing needs from it, wiped when dropped.
pub struct PrivateKey {
    /// Boxed, so that moving a key leaves no copy behind.
    pub(super) secret: Box<Secret>,
    public: PublicKey,
}

#[derive(ZeroizeOnDrop)]
pub(super) struct Secret {
    pub(super) d: Scalar,
    /// `(1 + d)⁻¹ · 2^256 mod n`.
    pub(super) inverse: Scalar,
    /// Wipes itself.
    #[zeroize(skip)]
    pub(super) nonces: NonceKey,
}

// Its secret wipes itself.
impl ZeroizeOnDrop for PrivateKey {}

impl PrivateKey {
    /// Decodes `d`, which must be in `[1, n-2]` (GB/T 32918.1 6.1).
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        ct::on_wiped_stack::<STACK_BYTES, _>(|| Self::from_bytes_on_stack(bytes))
    }

    fn from_bytes_on_stack(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let d = Zeroizing::new(Scalar::from_be_bytes(bytes).ok_or(KeyError::Range)?);
        let next = Zeroizing::new(d.add(&Scalar::ONE));
        if d.is_zero() || next.is_zero() {
            return Err(KeyError::Range);
        }
        let public = PublicKey { point: comb::base_multiple(&d) };
        let secret = Secret { d: *d, inverse: next.invert_to_montgomery(), nonces: NonceKey::new(&d) };
        Ok(Self { secret: Box::new(secret), public })
    }

    /// Draws `d` uniformly from `[1, n-2]` and checks the pair before handing it out. A generator that gives
    /// eight values out of range in a row is stuck, and an error.
    pub fn generate(rng: &mut dyn Random) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        for _ in 0..DRAWS_MAX {
            rng.fill(&mut *bytes)?;
            match Self::from_bytes(&bytes) {
                Err(KeyError::Range) => {}
                key => {
                    let key = key?;
                    check_pair(&key, rng)?;
                    return Ok(key);
                }
            }
        }
        Err(RandomError::new("it gives no value in [1, n-2]; it is stuck").into())
    }

    /// The public half, computed when this was made.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// `d`, big endian.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.d.to_be_bytes())
    }
}

impl core::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sm2::PrivateKey(..)")
    }
}

/// Pairwise consistency: a signature by the private half verifies under the public half, and a changed digest does not.
pub(crate) fn check_pair(key: &PrivateKey, rng: &mut dyn Random) -> Result<(), KeyError> {
    let digest = crate::sm3::digest(&key.public.to_bytes());
    let signature = super::sign_digest(key, &digest, rng).map_err(|super::SignError::Random(error)| error)?;
    let mut other = digest;
    other[31] ^= 1;
    let consistent = verify::tells_apart(&key.public, [&digest, &other], &signature) && key.public.point.is_on_curve();
    if consistent { Ok(()) } else { Err(KeyError::Inconsistent { kernel: super::field_kernel_name() }) }
}
