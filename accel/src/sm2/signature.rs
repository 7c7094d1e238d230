//! Signatures and their DER form.

use super::codec::{CodecError, der};
use super::scalar::Scalar;

/// `r ‖ s`, 32 bytes each, big endian. Any 64 bytes are allowed here; verification checks the ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// The bytes are no DER signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not exactly `SEQUENCE { INTEGER r, INTEGER s }` in DER, both non-negative and of at most 32 bytes.
    #[error(
        "SM2 signature: not DER of two integers below 2^256 (SEQUENCE {{ r, s }}, shortest form, no trailing bytes)"
    )]
    Der,
}

impl Signature {
    /// `SEQUENCE { INTEGER r, INTEGER s }` (GB/T 35276, GM/T 0009).
    pub fn to_der(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(70);
        for half in self.0.as_chunks::<32>().0 {
            der::push_integer(&mut body, half);
        }
        der::sequence(body)
    }

    /// Decodes the one DER encoding of two integers in `[0, 2^256)`; everything else is refused.
    pub fn from_der(der: &[u8]) -> Result<Self, SignatureError> {
        let integers = || {
            let mut reader = der::Reader::whole(der, der::SEQUENCE)?;
            let halves = [reader.integer()?, reader.integer()?];
            reader.end()?;
            Ok::<_, CodecError>(halves)
        };
        let halves = integers().map_err(|_| SignatureError::Der)?;
        Ok(Self(halves.as_flattened().try_into().expect("two halves of 32 bytes")))
    }

    /// `(r, s)` when both are in `[1, n-1]`.
    pub(super) fn scalars(&self) -> Option<(Scalar, Scalar)> {
        let (halves, _) = self.0.as_chunks::<32>();
        let in_range = |half| Scalar::from_be_bytes(half).filter(|scalar| !scalar.is_zero());
        Some((in_range(&halves[0])?, in_range(&halves[1])?))
    }

    pub(super) fn from_scalars(r: &Scalar, s: &Scalar) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r.to_be_bytes());
        bytes[32..].copy_from_slice(&s.to_be_bytes());
        Self(bytes)
    }
}
