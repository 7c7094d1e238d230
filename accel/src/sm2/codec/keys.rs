//! Keys in DER: `ECPrivateKey` (RFC 5915), `PrivateKeyInfo` (PKCS#8, RFC 5208) and `SubjectPublicKeyInfo` (RFC 5480).
//!
//! Encodings of private keys have a fixed length and are put together in place, where the caller has to keep them.

use super::{CodecError, der};
use crate::sm2::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

/// `OBJECT IDENTIFIER 1.2.156.10197.1.301`, the SM2 curve (GM/T 0006), without tag and length.
const CURVE: [u8; 8] = [0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d];
/// `OBJECT IDENTIFIER 1.2.840.10045.2.1`, id-ecPublicKey (RFC 5480 2.1.1), likewise.
const EC_PUBLIC_KEY: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// `SubjectPublicKeyInfo` up to `X ‖ Y`.
const SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // id-ecPublicKey
    0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d, // the curve
    0x03, 0x42, 0x00, 0x04, // BIT STRING, uncompressed point
];
/// `ECPrivateKey` with its curve, up to `d`; between `d` and `X ‖ Y`.
const SEC1_PREFIX: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
const SEC1_MIDDLE: [u8; 18] = [
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d, // the curve
    0xa1, 0x44, 0x03, 0x42, 0x00, 0x04, // BIT STRING, uncompressed point
];
/// `PrivateKeyInfo` up to `d`; between `d` and `X ‖ Y`. The curve stands in the algorithm alone, as OpenSSL writes it.
const PKCS8_PREFIX: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, // algorithm
    0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d, // the curve
    0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20, // ECPrivateKey
];
const PKCS8_MIDDLE: [u8; 6] = [0xa1, 0x44, 0x03, 0x42, 0x00, 0x04];

/// Above every encoding accepted here.
const KEY_BYTES_MAX: usize = 160;

impl PublicKey {
    /// `SubjectPublicKeyInfo` in DER, the point uncompressed.
    pub fn to_spki_der(&self) -> [u8; 91] {
        let mut out = [0; 91];
        let (prefix, point) = out.split_at_mut(SPKI_PREFIX.len());
        prefix.copy_from_slice(&SPKI_PREFIX);
        point.copy_from_slice(&self.to_bytes());
        out
    }

    /// Decodes `SubjectPublicKeyInfo` of this curve, the point compressed or not.
    pub fn from_spki_der(bytes: &[u8]) -> Result<Self, CodecError> {
        check_length(bytes)?;
        let mut info = der::Reader::whole(bytes, der::SEQUENCE)?;
        check_algorithm(info.element(der::SEQUENCE)?)?;
        let point = info.element(der::BIT_STRING)?;
        info.end()?;
        public_point(point)
    }
}

impl PrivateKey {
    /// `PrivateKeyInfo` (PKCS#8) in DER with the public key, as OpenSSL writes it.
    pub fn to_pkcs8_der(&self) -> Zeroizing<[u8; 138]> {
        let mut out = Zeroizing::new([0; 138]);
        self.fill([&PKCS8_PREFIX, &PKCS8_MIDDLE], &mut out[..]);
        out
    }

    /// `ECPrivateKey` (RFC 5915, SEC 1 C.4) in DER with curve and public key.
    pub fn to_sec1_der(&self) -> Zeroizing<[u8; 121]> {
        let mut out = Zeroizing::new([0; 121]);
        self.fill([&SEC1_PREFIX, &SEC1_MIDDLE], &mut out[..]);
        out
    }

    /// `prefix ‖ d ‖ middle ‖ X ‖ Y`.
    fn fill(&self, [prefix, middle]: [&[u8]; 2], out: &mut [u8]) {
        let mut rest = out;
        for part in [prefix, &*self.to_bytes(), middle, &self.public_key().to_bytes()] {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        assert!(rest.is_empty(), "the parts fill the structure");
    }

    /// Decodes `PrivateKeyInfo` of this curve: version 0, no attributes.
    pub fn from_pkcs8_der(bytes: &[u8]) -> Result<Self, CodecError> {
        check_length(bytes)?;
        let mut info = der::Reader::whole(bytes, der::SEQUENCE)?;
        if info.element(der::INTEGER)? != [0] {
            return Err(CodecError::Malformed);
        }
        check_algorithm(info.element(der::SEQUENCE)?)?;
        let key = info.element(der::OCTET_STRING)?;
        info.end()?;
        ec_private_key(key, CurveIn::Algorithm)
    }

    /// Decodes `ECPrivateKey`, which must name this curve.
    pub fn from_sec1_der(bytes: &[u8]) -> Result<Self, CodecError> {
        check_length(bytes)?;
        ec_private_key(bytes, CurveIn::Key)
    }
}

/// Where the curve's name must be; a second one may agree.
#[derive(PartialEq, Eq)]
enum CurveIn {
    Algorithm,
    Key,
}

/// `SEQUENCE { INTEGER 1, OCTET STRING d, [0] curve OPTIONAL, [1] public key OPTIONAL }`. A public key must be the right one.
fn ec_private_key(bytes: &[u8], curve_in: CurveIn) -> Result<PrivateKey, CodecError> {
    let mut key = der::Reader::whole(bytes, der::SEQUENCE)?;
    if key.element(der::INTEGER)? != [1] {
        return Err(CodecError::Malformed);
    }
    let d = key.element(der::OCTET_STRING)?.try_into().map_err(|_| CodecError::Malformed)?;
    match key.optional(der::context(0))? {
        Some(curve) => check_curve(curve)?,
        None if curve_in == CurveIn::Key => return Err(CodecError::Algorithm),
        None => {}
    }
    let public = key.optional(der::context(1))?;
    key.end()?;
    let public = public.map(|field| {
        let mut field = der::Reader::new(field);
        let point = field.element(der::BIT_STRING)?;
        field.end()?;
        public_point(point)
    });
    let public = public.transpose()?;
    // The only other error is one of randomness, and none is drawn.
    let private = PrivateKey::from_bytes(d).map_err(|_| CodecError::PrivateKeyRange)?;
    if public.is_none_or(|public| public == private.public_key()) { Ok(private) } else { Err(CodecError::Mismatch) }
}

fn check_length(bytes: &[u8]) -> Result<(), CodecError> {
    if bytes.len() <= KEY_BYTES_MAX { Ok(()) } else { Err(CodecError::Length) }
}

/// The content of `AlgorithmIdentifier { id-ecPublicKey, curve }`.
fn check_algorithm(content: &[u8]) -> Result<(), CodecError> {
    let mut algorithm = der::Reader::new(content);
    if algorithm.element(der::OBJECT_IDENTIFIER)? != EC_PUBLIC_KEY {
        return Err(CodecError::Algorithm);
    }
    match algorithm.optional(der::OBJECT_IDENTIFIER)? {
        Some(curve) if curve == CURVE => algorithm.end(),
        _ => Err(CodecError::Algorithm),
    }
}

/// An object identifier that fills `content` and names the curve.
fn check_curve(content: &[u8]) -> Result<(), CodecError> {
    let mut curve = der::Reader::new(content);
    let named = curve.optional(der::OBJECT_IDENTIFIER)? == Some(&CURVE);
    if named { curve.end() } else { Err(CodecError::Algorithm) }
}

/// The point in the content of a bit string without unused bits.
fn public_point(content: &[u8]) -> Result<PublicKey, CodecError> {
    match content {
        [0, point @ ..] => Ok(PublicKey::from_sec1(point)?),
        _ => Err(CodecError::Malformed),
    }
}
