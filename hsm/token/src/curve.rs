//! The curves of key pairs: SM2's for SM2 alone, P-256 and secp256k1 for ECDSA.
//!
//! ECDSA on the SM2 curve, which some modules make of SM2 keys, does not exist here.

use bixi_accel::sm2;
use bixi_platform::secret::Secret;
use cryptoki_sys::*;

use crate::error::{CkError, CkResult, refuse};
use crate::random::{self, SystemRandom};

/// Bytes of a scalar and of a coordinate.
const FIELD_BYTES: usize = 32;
/// `OCTET STRING` of 65 bytes, before an uncompressed point.
const POINT_HEADER: [u8; 2] = [0x04, 0x41];
/// Draws of a scalar that are out of range with a chance of 2^-32 each at most.
const DRAWS_MAX: usize = 8;

/// A point in SEC 1's uncompressed form.
pub(crate) type Point = [u8; 65];

/// A curve of 256 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// GB/T 32918.5.
    Sm2,
    /// FIPS 186-5, `secp256r1`.
    P256,
    /// SEC 2, `secp256k1`.
    Secp256k1,
}

/// The same work on either of the two curves that have ECDSA.
macro_rules! on_curve {
    ($curve:expr, $library:ident => $work:expr, sm2 => $sm2:expr) => {
        match $curve {
            Curve::Sm2 => $sm2,
            Curve::P256 => {
                use p256 as $library;
                $work
            }
            Curve::Secp256k1 => {
                use k256 as $library;
                $work
            }
        }
    };
}

const INVALID: CkError = CkError(CKR_ATTRIBUTE_VALUE_INVALID);

impl Curve {
    /// Every curve.
    pub const ALL: [Curve; 3] = [Curve::Sm2, Curve::P256, Curve::Secp256k1];

    /// `OBJECT IDENTIFIER` as `CKA_EC_PARAMS` carries it.
    #[must_use]
    pub fn oid(self) -> &'static [u8] {
        match self {
            // 1.2.156.10197.1.301
            Curve::Sm2 => &[0x06, 0x08, 0x2A, 0x81, 0x1C, 0xCF, 0x55, 0x01, 0x82, 0x2D],
            // 1.2.840.10045.3.1.7
            Curve::P256 => &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07],
            // 1.3.132.0.10
            Curve::Secp256k1 => &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x0A],
        }
    }

    /// The curve of a `CKA_EC_PARAMS`.
    #[must_use]
    pub fn by_oid(oid: &[u8]) -> Option<Curve> {
        Self::ALL.into_iter().find(|curve| curve.oid() == oid)
    }

    /// A new private key.
    pub(crate) fn generate(self) -> CkResult<Secret> {
        if self == Curve::Sm2 {
            let key = sm2::PrivateKey::generate(&mut SystemRandom).map_err(|error| match error {
                sm2::KeyError::Inconsistent { .. } => CkError(CKR_DEVICE_ERROR),
                _ => CkError(CKR_FUNCTION_FAILED),
            })?;
            return Ok(Secret::from_slice(&*key.to_bytes()));
        }
        let mut scalar = Secret::zeroed(FIELD_BYTES);
        for _ in 0..DRAWS_MAX {
            random::fill(scalar.as_mut_slice())?;
            if self.public_point(scalar.as_slice()).is_ok() {
                return Ok(scalar);
            }
        }
        refuse(CKR_FUNCTION_FAILED)
    }

    /// The public point of a private key, which must be in range.
    pub(crate) fn public_point(self, scalar: &[u8]) -> CkResult<Point> {
        on_curve!(self, library => {
            use library::elliptic_curve::sec1::ToEncodedPoint as _;
            let public = library::SecretKey::from_slice(scalar).map_err(|_| INVALID)?.public_key();
            public.to_encoded_point(false).as_bytes().try_into().map_err(|_| INVALID)
        }, sm2 => {
            let scalar = scalar.try_into().map_err(|_| INVALID)?;
            Ok(sm2::PrivateKey::from_bytes(scalar).map_err(|_| INVALID)?.public_key().to_sec1())
        })
    }

    /// The point in a `CKA_EC_POINT`, with or without its OCTET STRING (clients differ), if it is one of the curve.
    pub(crate) fn parse_point(self, bytes: &[u8]) -> CkResult<Point> {
        let sec1 = match bytes {
            [0x04, 0x41, rest @ ..] if rest.len() == 65 => rest,
            other => other,
        };
        on_curve!(self, library => {
            use library::elliptic_curve::sec1::ToEncodedPoint as _;
            let public = library::PublicKey::from_sec1_bytes(sec1).map_err(|_| INVALID)?;
            public.to_encoded_point(false).as_bytes().try_into().map_err(|_| INVALID)
        }, sm2 => Ok(sm2::PublicKey::from_sec1(sec1).map_err(|_| INVALID)?.to_sec1()))
    }

    /// ECDSA over a digest, r ‖ s (FIPS 186-5 6.4.1, nonce by RFC 6979).
    pub(crate) fn ecdsa_sign(self, scalar: &[u8], digest: &[u8]) -> CkResult<[u8; 64]> {
        let failed = |_| CkError(CKR_FUNCTION_FAILED);
        on_curve!(self, library => {
            use library::ecdsa::signature::hazmat::PrehashSigner as _;
            let key = library::ecdsa::SigningKey::from_slice(scalar).map_err(failed)?;
            let signature: library::ecdsa::Signature = key.sign_prehash(&fitted(digest)).map_err(failed)?;
            Ok(signature.to_bytes().into())
        }, sm2 => refuse(CKR_KEY_TYPE_INCONSISTENT))
    }

    /// Whether r ‖ s is ECDSA over a digest (FIPS 186-5 6.4.2), large s included.
    pub(crate) fn ecdsa_verify(self, point: &[u8], digest: &[u8], signature: &[u8]) -> CkResult<()> {
        let wrong = |_| CkError(CKR_SIGNATURE_INVALID);
        on_curve!(self, library => {
            use library::ecdsa::signature::hazmat::PrehashVerifier as _;
            let key = library::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(wrong)?;
            let signature = library::ecdsa::Signature::from_slice(signature).map_err(wrong)?;
            let signature = signature.normalize_s().unwrap_or(signature);
            key.verify_prehash(&fitted(digest), &signature).map_err(wrong)
        }, sm2 => refuse(CKR_KEY_TYPE_INCONSISTENT))
    }
}

/// `CKA_EC_POINT`: the point in an OCTET STRING.
pub(crate) fn ec_point(point: &Point) -> Vec<u8> {
    [&POINT_HEADER[..], point].concat()
}

/// The leftmost 256 bits of a digest, as a number of that width (FIPS 186-5 6.4.1 step 2).
fn fitted(digest: &[u8]) -> [u8; FIELD_BYTES] {
    let taken = &digest[..digest.len().min(FIELD_BYTES)];
    let mut fitted = [0; FIELD_BYTES];
    fitted[FIELD_BYTES - taken.len()..].copy_from_slice(taken);
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecdsa_verifies_what_it_signs_and_nothing_else() {
        for curve in [Curve::P256, Curve::Secp256k1] {
            let key = curve.generate().unwrap();
            let point = curve.public_point(key.as_slice()).unwrap();
            assert_eq!(curve.parse_point(&ec_point(&point)).unwrap(), point);
            for length in [1, 20, 32, 48, 64] {
                let digest = vec![0xA5; length];
                let signature = curve.ecdsa_sign(key.as_slice(), &digest).unwrap();
                curve.ecdsa_verify(&point, &digest, &signature).unwrap();
                assert_eq!(curve.ecdsa_verify(&point, &[1; 32], &signature).unwrap_err().0, CKR_SIGNATURE_INVALID);
            }
        }
    }

    #[test]
    fn the_sm2_curve_has_no_ecdsa_and_no_curve_takes_anothers_point() {
        let key = Curve::Sm2.generate().unwrap();
        assert_eq!(Curve::Sm2.ecdsa_sign(key.as_slice(), &[1; 32]).unwrap_err().0, CKR_KEY_TYPE_INCONSISTENT);
        let point = Curve::Sm2.public_point(key.as_slice()).unwrap();
        for curve in [Curve::P256, Curve::Secp256k1] {
            assert_eq!(curve.parse_point(&point).unwrap_err().0, CKR_ATTRIBUTE_VALUE_INVALID);
            assert!(curve.public_point(&[0; 32]).is_err() && curve.public_point(&[0xFF; 32]).is_err());
        }
    }
}
