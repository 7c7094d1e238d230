//! Encodings beyond `X ‖ Y` and `r ‖ s`: ciphertexts (GB/T 32918.4 6.1 A8, GM/T 0009), private keys (RFC 5915, PKCS#8) and
//! public keys (SubjectPublicKeyInfo, RFC 5480).
//!
//! Every decoder is a pure function of its bytes, bounds its input before it reads it, and accepts DER alone: shortest
//! lengths, shortest integers, nothing behind the end. What it accepts is valid: points are on the curve, scalars in range.

mod ciphertext;
pub(super) mod der;
mod keys;
#[cfg(test)]
mod tests;

pub use ciphertext::Layout;

use super::PublicKeyError;

/// The bytes are not what they are said to encode. The reason depends on the bytes alone, never on a key in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Shorter or longer than any encoding can be.
    #[error("SM2 codec: the length is outside the bounds of this structure")]
    Length,
    /// Not the structure, or not in DER.
    #[error("SM2 codec: not this structure in DER (shortest form, no trailing bytes)")]
    Malformed,
    /// A key of another algorithm or curve.
    #[error("SM2 codec: not a key on the SM2 curve (id-ecPublicKey with 1.2.156.10197.1.301)")]
    Algorithm,
    /// A point that is no public key.
    #[error(transparent)]
    Point(#[from] PublicKeyError),
    /// A private key of zero, or above `n - 2`.
    #[error("SM2 codec: the private key is not in [1, n-2]")]
    PrivateKeyRange,
    /// The public key beside the private key belongs to another one.
    #[error("SM2 codec: the public key does not belong to the private key")]
    Mismatch,
}
