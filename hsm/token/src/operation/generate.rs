//! Making keys inside the token.

use std::sync::Arc;

use bixi_accel::sm2::PrivateKey;
use bixi_platform::secret::Secret;
use cryptoki_sys::*;

use crate::config::Config;
use crate::error::{CkError, CkResult, refuse};
use crate::object::create::{Origin, SM2_OID, draft};
use crate::object::template::Template;
use crate::object::{Class, Object};
use crate::profile::{Algorithm, GENERIC_BYTES_MAX, GENERIC_BYTES_MIN, KeyType};
use crate::random::{self, SystemRandom};

/// `C_GenerateKeyPair`: public key first.
pub(crate) fn key_pair(
    config: &Config,
    number: CK_MECHANISM_TYPE,
    public: &Template<'_>,
    private: &Template<'_>,
) -> CkResult<[Object; 2]> {
    let curve = public.bytes(CKA_EC_PARAMS);
    let key_type = match config.profile.algorithm(number) {
        Some(Algorithm::Sm2KeyPairGen) if curve.is_none_or(|curve| curve == SM2_OID) => KeyType::Sm2,
        Some(Algorithm::EcKeyPairGen) if curve == Some(&SM2_OID) => KeyType::EcSm2,
        Some(Algorithm::EcKeyPairGen) if curve.is_none() => return refuse(CKR_TEMPLATE_INCOMPLETE),
        Some(Algorithm::Sm2KeyPairGen | Algorithm::EcKeyPairGen) => return refuse(CKR_CURVE_NOT_SUPPORTED),
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
    let key = PrivateKey::generate(&mut SystemRandom).map_err(|_| CkError(CKR_FUNCTION_FAILED))?;
    public.set_curve(&key.public_key());
    private.set_curve(&key.public_key());
    private.secret = Some(Arc::new(Secret::from_slice(&*key.to_bytes())));
    Ok([public, private])
}

/// `C_GenerateKey`.
pub(crate) fn key(config: &Config, number: CK_MECHANISM_TYPE, template: &Template<'_>) -> CkResult<Object> {
    let length = template.number(CKA_VALUE_LEN)?;
    let (key_type, length) = match (config.profile.algorithm(number), length) {
        (Some(Algorithm::Sm4KeyGen), None | Some(16)) => (KeyType::Sm4, 16),
        (Some(Algorithm::Sm4KeyGen), Some(_)) => return refuse(CKR_KEY_SIZE_RANGE),
        (Some(Algorithm::GenericSecretGen), Some(length @ GENERIC_BYTES_MIN..=GENERIC_BYTES_MAX)) => {
            (KeyType::Generic, length as usize)
        }
        (Some(Algorithm::GenericSecretGen), Some(_)) => return refuse(CKR_KEY_SIZE_RANGE),
        (Some(Algorithm::GenericSecretGen), None) => return refuse(CKR_TEMPLATE_INCOMPLETE),
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
