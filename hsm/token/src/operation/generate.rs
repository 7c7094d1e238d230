//! Making keys inside the token.

use std::sync::Arc;

use bixi_platform::secret::Secret;
use cryptoki_sys::*;

use crate::config::Config;
use crate::curve::Curve;
use crate::error::{CkError, CkResult, refuse};
use crate::object::create::{Origin, draft};
use crate::object::template::Template;
use crate::object::{Class, Object};
use crate::profile::{Algorithm, Block, GENERIC_BYTES_MAX, GENERIC_BYTES_MIN, KeyType};
use crate::random;

/// `C_GenerateKeyPair`: public key first.
pub(crate) fn key_pair(
    config: &Config,
    number: CK_MECHANISM_TYPE,
    public: &Template<'_>,
    private: &Template<'_>,
) -> CkResult<[Object; 2]> {
    let named = public.bytes(CKA_EC_PARAMS).map(|oid| Curve::by_oid(oid).ok_or(CkError(CKR_CURVE_NOT_SUPPORTED)));
    let (key_type, curve) = match (config.profile.algorithm(number), named.transpose()?) {
        (Some(Algorithm::Sm2KeyPairGen), None | Some(Curve::Sm2)) => (KeyType::Sm2, Curve::Sm2),
        (Some(Algorithm::Sm2KeyPairGen), Some(_)) => return refuse(CKR_CURVE_NOT_SUPPORTED),
        (Some(Algorithm::EcKeyPairGen), Some(curve)) => (KeyType::Ec(curve), curve),
        (Some(Algorithm::EcKeyPairGen), None) => return refuse(CKR_TEMPLATE_INCOMPLETE),
        _ => return refuse(CKR_MECHANISM_INVALID),
    };
    check_template(config, public, Class::PublicKey, key_type)?;
    check_template(config, private, Class::PrivateKey, key_type)?;
    if public.bytes(CKA_EC_POINT).is_some() || private.bytes(CKA_VALUE).is_some() {
        return refuse(CKR_TEMPLATE_INCONSISTENT);
    }
    let origin = Origin::Generated(number);
    let mut public = draft(config, Class::PublicKey, Some(key_type), public, origin)?;
    let mut private = draft(config, Class::PrivateKey, Some(key_type), private, origin)?;
    let secret = curve.generate()?;
    let point = curve.public_point(secret.as_slice())?;
    public.set_point(curve, &point);
    private.set_point(curve, &point);
    private.secret = Some(Arc::new(secret));
    Ok([public, private])
}

/// `C_GenerateKey`.
pub(crate) fn key(config: &Config, number: CK_MECHANISM_TYPE, template: &Template<'_>) -> CkResult<Object> {
    let length = template.number(CKA_VALUE_LEN)?;
    let (key_type, length) = match (config.profile.algorithm(number), length) {
        (Some(Algorithm::KeyGen(Block::Sm4)), None) => (KeyType::Sm4, 16),
        (Some(Algorithm::KeyGen(block)), Some(length)) if block.takes(length) => (block.key_type(), length as usize),
        (Some(Algorithm::KeyGen(_)), Some(_)) => return refuse(CKR_KEY_SIZE_RANGE),
        (Some(Algorithm::GenericSecretGen), Some(length @ GENERIC_BYTES_MIN..=GENERIC_BYTES_MAX)) => {
            (KeyType::Generic, length as usize)
        }
        (Some(Algorithm::GenericSecretGen), Some(_)) => return refuse(CKR_KEY_SIZE_RANGE),
        (Some(Algorithm::GenericSecretGen | Algorithm::KeyGen(_)), None) => return refuse(CKR_TEMPLATE_INCOMPLETE),
        _ => return refuse(CKR_MECHANISM_INVALID),
    };
    check_template(config, template, Class::SecretKey, key_type)?;
    if template.bytes(CKA_VALUE).is_some() {
        return refuse(CKR_TEMPLATE_INCONSISTENT);
    }
    let mut object = draft(config, Class::SecretKey, Some(key_type), template, Origin::Generated(number))?;
    let mut secret = Secret::zeroed(length);
    random::fill(secret.as_mut_slice())?;
    object.secret = Some(Arc::new(secret));
    Ok(object)
}

/// Class and key type, where the caller names them, must be the mechanism's.
fn check_template(config: &Config, template: &Template<'_>, class: Class, key_type: KeyType) -> CkResult<()> {
    let is_class = template.class()?.is_none_or(|named| named == class);
    let named = template.number(CKA_KEY_TYPE)?;
    let is_type = named.is_none_or(|named| config.profile.key_type_number(key_type) == named);
    if is_class && is_type { Ok(()) } else { refuse(CKR_TEMPLATE_INCONSISTENT) }
}
