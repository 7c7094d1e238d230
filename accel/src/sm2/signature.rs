//! Signatures and their DER form.

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

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

impl Signature {
    /// `SEQUENCE { INTEGER r, INTEGER s }` (GB/T 35276, GM/T 0009).
    pub fn to_der(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(70);
        for half in self.0.chunks_exact(32) {
            let zeros = half[..31].iter().take_while(|&&byte| byte == 0).count();
            let digits = &half[zeros..];
            let sign = digits[0] >> 7;
            body.extend_from_slice(&[INTEGER, digits.len() as u8 + sign]);
            body.extend(std::iter::repeat_n(0, sign.into()));
            body.extend_from_slice(digits);
        }
        let mut der = vec![SEQUENCE, body.len() as u8];
        der.append(&mut body);
        der
    }

    /// Decodes the one DER encoding of two integers in `[0, 2^256)`; everything else is refused.
    pub fn from_der(der: &[u8]) -> Result<Self, SignatureError> {
        let (body, rest) = element(der, SEQUENCE)?;
        let (r, body) = element(body, INTEGER)?;
        let (s, body) = element(body, INTEGER)?;
        if !rest.is_empty() || !body.is_empty() {
            return Err(SignatureError::Der);
        }
        let mut bytes = [0; 64];
        let (halves, _) = bytes.as_chunks_mut::<32>();
        integer(r, &mut halves[0])?;
        integer(s, &mut halves[1])?;
        Ok(Self(bytes))
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

/// Splits off one element with a short length; a body here has fewer than 128 bytes.
fn element(bytes: &[u8], tag: u8) -> Result<(&[u8], &[u8]), SignatureError> {
    match bytes {
        [first, length @ 0..=127, rest @ ..] if *first == tag && usize::from(*length) <= rest.len() => {
            Ok(rest.split_at(usize::from(*length)))
        }
        _ => Err(SignatureError::Der),
    }
}

/// A non-negative integer in its shortest form, right-aligned into `out`.
fn integer(digits: &[u8], out: &mut [u8; 32]) -> Result<(), SignatureError> {
    let digits = match digits {
        [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => return Err(SignatureError::Der),
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let start = out.len().checked_sub(digits.len()).ok_or(SignatureError::Der)?;
    out[start..].copy_from_slice(digits);
    Ok(())
}
