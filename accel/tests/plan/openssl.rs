//! The system's OpenSSL as a second judge, and as a signer: SM2 over digests `e`.
#![allow(dead_code, reason = "each test program takes what it needs")]

use ::openssl::bn::{BigNum, BigNumContext};
use ::openssl::ec::{EcGroup, EcKey, EcPoint};
use ::openssl::error::ErrorStack;
use ::openssl::nid::Nid;
use ::openssl::pkey::{HasPrivate, HasPublic, PKey, Private, Public};
use ::openssl::pkey_ctx::PkeyCtx;

/// The public key of SEC 1 bytes.
pub(crate) fn public_key(sec1: &[u8]) -> Result<PKey<Public>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::SM2)?;
    let point = EcPoint::from_bytes(&group, sec1, &mut *BigNumContext::new()?)?;
    let key = EcKey::from_public_key(&group, &point)?;
    key.check_key()?;
    PKey::from_ec_key(key)
}

/// The private key `d` of the public key in SEC 1's form.
pub(crate) fn private_key(d: &[u8; 32], sec1: &[u8]) -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::SM2)?;
    let point = EcPoint::from_bytes(&group, sec1, &mut *BigNumContext::new()?)?;
    let d = BigNum::from_slice(d)?;
    PKey::from_ec_key(EcKey::from_private_components(&group, &d, &point)?)
}

pub(crate) fn verify<K: HasPublic>(key: &PKey<K>, e: &[u8; 32], der: &[u8]) -> Result<bool, ErrorStack> {
    let mut context = PkeyCtx::new(key)?;
    context.verify_init()?;
    context.verify(e, der)
}

/// A DER signature of `e`.
pub(crate) fn sign<K: HasPrivate>(key: &PKey<K>, e: &[u8; 32]) -> Result<Vec<u8>, ErrorStack> {
    let mut context = PkeyCtx::new(key)?;
    context.sign_init()?;
    let mut der = Vec::new();
    context.sign_to_vec(e, &mut der)?;
    Ok(der)
}

/// Whether OpenSSL takes the bytes for a key and the DER signature for the key's signature of `e`.
pub(crate) fn verifies(sec1: &[u8], e: &[u8; 32], der: &[u8]) -> bool {
    public_key(sec1).and_then(|key| verify(&key, e, der)).unwrap_or(false)
}
