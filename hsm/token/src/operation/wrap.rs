//! Keys that leave and come back under a key of the token's (AES key wrap, RFC 3394).

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::block::BlockKey;
use super::key_secret;
use crate::config::Config;
use crate::error::{CkResult, refuse};
use crate::object::create::secret_key;
use crate::object::template::Template;
use crate::object::{Class, Object};
use crate::profile::{Algorithm, Block, KeyType};
use crate::session::Mechanism;

fn wrapping(mechanism: Mechanism<'_>, key: &Object, usage: CK_ATTRIBUTE_TYPE) -> CkResult<BlockKey> {
    if mechanism.algorithm != Algorithm::KeyWrap || !key.allows(mechanism.number) {
        return refuse(CKR_MECHANISM_INVALID);
    }
    mechanism.parameter.none()?;
    BlockKey::new(Block::Aes, key_secret(key, usage, &[KeyType::Aes])?.as_slice())
}

/// `C_WrapKey`: a secret key that may leave, under one that may wrap.
pub(crate) fn wrap(mechanism: Mechanism<'_>, wrapping_key: &Object, key: &Object) -> CkResult<Vec<u8>> {
    let wrapping = wrapping(mechanism, wrapping_key, CKA_WRAP).map_err(|error| match error.0 {
        CKR_KEY_TYPE_INCONSISTENT => crate::error::CkError(CKR_WRAPPING_KEY_TYPE_INCONSISTENT),
        _ => error,
    })?;
    if !key.flag(CKA_EXTRACTABLE) {
        return refuse(CKR_KEY_UNEXTRACTABLE);
    }
    let untrusted = key.flag(CKA_WRAP_WITH_TRUSTED) && !wrapping_key.flag(CKA_TRUSTED);
    match &key.secret {
        Some(secret) if key.class == Class::SecretKey && !untrusted => wrapping.wrap(secret.as_slice()),
        _ => refuse(CKR_KEY_NOT_WRAPPABLE),
    }
}

/// `C_UnwrapKey`: a secret key that was outside, and is treated as any that was.
pub(crate) fn unwrap(
    config: &Config,
    mechanism: Mechanism<'_>,
    unwrapping_key: &Object,
    wrapped: &[u8],
    template: &Template<'_>,
) -> CkResult<Object> {
    let unwrapping = wrapping(mechanism, unwrapping_key, CKA_UNWRAP).map_err(|error| match error.0 {
        CKR_KEY_TYPE_INCONSISTENT => crate::error::CkError(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT),
        _ => error,
    })?;
    if template.bytes(CKA_VALUE).is_some() || template.class()? == Some(Class::PrivateKey) {
        return refuse(CKR_TEMPLATE_INCONSISTENT);
    }
    let value: Zeroizing<Vec<u8>> = unwrapping.unwrap(wrapped)?;
    secret_key(config, template, &value)
}
