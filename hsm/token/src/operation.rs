//! What keys do: signatures and MACs ([`signature`]), ciphers ([`cipher`]) and making keys ([`generate`]), over hashes ([`hash`]) and
//! block ciphers ([`block`]).

pub(crate) mod block;
pub(crate) mod cipher;
pub(crate) mod generate;
pub(crate) mod hash;
pub(crate) mod signature;
pub(crate) mod wrap;

use bixi_platform::secret::Secret;
use cryptoki_sys::*;

use crate::error::{CkResult, refuse};
use crate::object::Object;
use crate::profile::KeyType;

/// The parameter of a mechanism, read by the shell according to what the mechanism means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parameter<'a> {
    /// Plain bytes: an IV, an ID, or nothing.
    Bytes(&'a [u8]),
    /// `CK_GCM_PARAMS`.
    Gcm { iv: &'a [u8], aad: &'a [u8], tag_bits: u64 },
}

impl<'a> Parameter<'a> {
    /// The plain bytes; GCM's structure is no plain parameter.
    pub(crate) fn bytes(self) -> CkResult<&'a [u8]> {
        match self {
            Parameter::Bytes(bytes) => Ok(bytes),
            Parameter::Gcm { .. } => refuse(CKR_MECHANISM_PARAM_INVALID),
        }
    }

    /// Refuse anything but an absent parameter.
    pub(crate) fn none(self) -> CkResult<()> {
        match self.bytes()? {
            [] => Ok(()),
            _ => refuse(CKR_MECHANISM_PARAM_INVALID),
        }
    }
}

/// The secret of a key that may be used with `usage`, of one of the types in `types`.
pub(crate) fn key_secret<'a>(object: &'a Object, usage: CK_ATTRIBUTE_TYPE, types: &[KeyType]) -> CkResult<&'a Secret> {
    let Some(secret) = &object.secret else { return refuse(CKR_KEY_TYPE_INCONSISTENT) };
    check_use(object, usage, types)?;
    Ok(secret)
}

/// Whether a key is of one of `types` and may be used with `usage`.
pub(crate) fn check_use(object: &Object, usage: CK_ATTRIBUTE_TYPE, types: &[KeyType]) -> CkResult<()> {
    if !object.key_type.is_some_and(|key_type| types.contains(&key_type)) {
        return refuse(CKR_KEY_TYPE_INCONSISTENT);
    }
    if !object.flag(usage) {
        return refuse(CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    Ok(())
}
