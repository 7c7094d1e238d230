//! From template to object: what may be given, what is filled in, what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bixi_platform::secret::Secret;
use cryptoki_sys::*;

use super::attributes::{Rule, rule};
use super::template::{Template, parse_attribute};
use super::{Class, Object, Value};
use crate::config::Config;
use crate::curve::{Curve, Point, ec_point};
use crate::error::{CkError, CkResult, refuse};
use crate::profile::{Block, GENERIC_BYTES_MAX, KeyType};

/// Where a key's value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Made by the token with this mechanism.
    Generated(CK_MECHANISM_TYPE),
    /// Brought by the caller.
    Imported,
}

/// The object `C_CreateObject` asks for.
pub(crate) fn imported(config: &Config, template: &Template<'_>) -> CkResult<Object> {
    let Some(class) = template.class()? else { return refuse(CKR_TEMPLATE_INCOMPLETE) };
    match class {
        Class::Data => draft(config, class, None, template, Origin::Imported),
        Class::Certificate => certificate(config, template),
        Class::PublicKey => public_key(config, template),
        Class::PrivateKey | Class::SecretKey => hidden_key(config, class, template),
    }
}

fn certificate(config: &Config, template: &Template<'_>) -> CkResult<Object> {
    if template.bytes(CKA_CERTIFICATE_TYPE).is_none() || template.bytes(CKA_VALUE).is_none() {
        return refuse(CKR_TEMPLATE_INCOMPLETE);
    }
    draft(config, Class::Certificate, None, template, Origin::Imported)
}

fn public_key(config: &Config, template: &Template<'_>) -> CkResult<Object> {
    let (key_type, curve) = pair_type(config, template)?;
    let Some(point) = template.bytes(CKA_EC_POINT) else { return refuse(CKR_TEMPLATE_INCOMPLETE) };
    let point = curve.parse_point(point)?;
    let mut object = draft(config, Class::PublicKey, Some(key_type), template, Origin::Imported)?;
    object.set_point(curve, &point);
    Ok(object)
}

fn hidden_key(config: &Config, class: Class, template: &Template<'_>) -> CkResult<Object> {
    let Some(value) = template.bytes(CKA_VALUE) else { return refuse(CKR_TEMPLATE_INCOMPLETE) };
    match class {
        Class::PrivateKey => private_key(config, template, value),
        _ => secret_key(config, template, value),
    }
}

fn private_key(config: &Config, template: &Template<'_>, value: &[u8]) -> CkResult<Object> {
    check_import(config, template)?;
    let (key_type, curve) = pair_type(config, template)?;
    let point = curve.public_point(value)?;
    let mut object = draft(config, Class::PrivateKey, Some(key_type), template, Origin::Imported)?;
    object.set_point(curve, &point);
    object.secret = Some(Arc::new(Secret::from_slice(value)));
    Ok(object)
}

/// A secret key that was outside, in clear or wrapped.
pub(crate) fn secret_key(config: &Config, template: &Template<'_>, value: &[u8]) -> CkResult<Object> {
    check_import(config, template)?;
    let key_type = key_type(config, template)?.ok_or(CkError(CKR_TEMPLATE_INCOMPLETE))?;
    let length = value.len() as u64;
    let fits = match key_type {
        KeyType::Sm4 => Block::Sm4.takes(length),
        KeyType::Aes => Block::Aes.takes(length),
        KeyType::Generic | KeyType::Hmac(_) => (1..=GENERIC_BYTES_MAX).contains(&length),
        KeyType::Sm2 | KeyType::Ec(_) => false,
    };
    if !fits || template.number(CKA_VALUE_LEN)?.is_some_and(|named| named != length) {
        return refuse(CKR_ATTRIBUTE_VALUE_INVALID);
    }
    let mut object = draft(config, Class::SecretKey, Some(key_type), template, Origin::Imported)?;
    object.secret = Some(Arc::new(Secret::from_slice(value)));
    Ok(object)
}

fn check_import(config: &Config, template: &Template<'_>) -> CkResult<()> {
    if template.boolean(CKA_TOKEN)?.unwrap_or(false) && !config.allow_import {
        config.log.line(format_args!("a key from outside was refused on the token; allow_import is false"));
        return refuse(CKR_ACTION_PROHIBITED);
    }
    Ok(())
}

fn key_type(config: &Config, template: &Template<'_>) -> CkResult<Option<KeyType>> {
    let curve = template.bytes(CKA_EC_PARAMS).map(|oid| Curve::by_oid(oid).ok_or(CkError(CKR_CURVE_NOT_SUPPORTED)));
    let curve = curve.transpose()?;
    match template.number(CKA_KEY_TYPE)? {
        None => Ok(None),
        Some(CKK_EC) if curve.is_none() => refuse(CKR_TEMPLATE_INCOMPLETE),
        Some(number) => match config.profile.key_type(number, curve) {
            Some(KeyType::Sm2) if curve.is_some_and(|curve| curve != Curve::Sm2) => refuse(CKR_CURVE_NOT_SUPPORTED),
            Some(key_type) => Ok(Some(key_type)),
            None => refuse(CKR_ATTRIBUTE_VALUE_INVALID),
        },
    }
}

/// Type and curve of a key of a pair to be imported.
fn pair_type(config: &Config, template: &Template<'_>) -> CkResult<(KeyType, Curve)> {
    let key_type = key_type(config, template)?.ok_or(CkError(CKR_TEMPLATE_INCOMPLETE))?;
    let curve = key_type.curve().ok_or(CkError(CKR_TEMPLATE_INCONSISTENT))?;
    Ok((key_type, curve))
}

/// An object of `class` with the caller's attributes and the token's defaults, without its key value.
pub(crate) fn draft(
    config: &Config,
    class: Class,
    key_type: Option<KeyType>,
    template: &Template<'_>,
    origin: Origin,
) -> CkResult<Object> {
    let mut attributes = defaults(class, key_type);
    for (attribute, bytes) in template.items() {
        let Some(rule) = rule(class, attribute) else { return refuse(CKR_ATTRIBUTE_TYPE_INVALID) };
        let value = parse_attribute(attribute, bytes)?;
        // Nothing is trusted because a user says so; that it is not, he may say.
        let is_default = attribute == CKA_TRUSTED && value == Value::Bool(false);
        if rule == Rule::Derived && !is_default {
            return refuse(CKR_ATTRIBUTE_READ_ONLY);
        }
        let is_field = matches!(attribute, CKA_CLASS | CKA_KEY_TYPE | CKA_VALUE_LEN | CKA_EC_PARAMS | CKA_EC_POINT);
        if !(is_field || (attribute == CKA_VALUE && class.is_hidden_key())) {
            attributes.insert(attribute, value);
        }
    }
    let mut object = Object { id: 0, class, key_type, attributes, secret: None };
    object.record_origin(origin);
    check_policy(config, &object)?;
    Ok(object)
}

fn check_policy(config: &Config, object: &Object) -> CkResult<()> {
    if !object.class.is_hidden_key() {
        return Ok(());
    }
    let opened = object.flag(CKA_EXTRACTABLE) || !object.flag(CKA_SENSITIVE);
    // A token key outside the sealed part would be in clear on disk.
    let exposed = object.is_token() && (!object.is_private() || (opened && !config.allow_extractable));
    if exposed || object.flag(CKA_ALWAYS_AUTHENTICATE) {
        config.log.line(format_args!(
            "a key was refused: on the token it must be CKA_PRIVATE, CKA_SENSITIVE, not CKA_EXTRACTABLE (unless \
             allow_extractable) and not CKA_ALWAYS_AUTHENTICATE"
        ));
        return refuse(CKR_TEMPLATE_INCONSISTENT);
    }
    Ok(())
}

impl Object {
    fn put(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: Value) {
        self.attributes.insert(attribute, value);
    }

    fn record_origin(&mut self, origin: Origin) {
        if !matches!(self.class, Class::PublicKey | Class::PrivateKey | Class::SecretKey) {
            return;
        }
        let local = matches!(origin, Origin::Generated(_));
        let mechanism = match origin {
            Origin::Generated(mechanism) => mechanism,
            Origin::Imported => CK_UNAVAILABLE_INFORMATION,
        };
        self.put(CKA_LOCAL, Value::Bool(local));
        self.put(CKA_KEY_GEN_MECHANISM, Value::Number(mechanism));
        if self.class.is_hidden_key() {
            self.put(CKA_ALWAYS_SENSITIVE, Value::Bool(local && self.flag(CKA_SENSITIVE)));
            self.put(CKA_NEVER_EXTRACTABLE, Value::Bool(local && !self.flag(CKA_EXTRACTABLE)));
        }
    }

    /// Record the curve and the public key, which private keys carry too so that it is never lost.
    pub(crate) fn set_point(&mut self, curve: Curve, point: &Point) {
        self.put(CKA_EC_PARAMS, Value::Bytes(curve.oid().to_vec()));
        self.put(CKA_EC_POINT, Value::Bytes(ec_point(point)));
    }

    /// Curve and public key of a key of a pair.
    pub(crate) fn point(&self) -> CkResult<(Curve, Point)> {
        let curve = self.key_type.and_then(KeyType::curve).ok_or(CkError(CKR_KEY_TYPE_INCONSISTENT))?;
        match self.attributes.get(&CKA_EC_POINT) {
            Some(Value::Bytes(point)) => Ok((curve, curve.parse_point(point)?)),
            _ => refuse(CKR_KEY_TYPE_INCONSISTENT),
        }
    }
}

fn defaults(class: Class, key_type: Option<KeyType>) -> BTreeMap<CK_ATTRIBUTE_TYPE, Value> {
    let mut flags: Vec<(CK_ATTRIBUTE_TYPE, bool)> = vec![
        (CKA_TOKEN, false),
        (CKA_PRIVATE, class.is_hidden_key()),
        (CKA_MODIFIABLE, true),
        (CKA_COPYABLE, false),
        (CKA_DESTROYABLE, true),
    ];
    let mut texts = vec![CKA_LABEL];
    match class {
        Class::Data => texts.extend([CKA_APPLICATION, CKA_OBJECT_ID, CKA_VALUE]),
        Class::Certificate => {
            texts.extend([CKA_ID, CKA_SUBJECT, CKA_ISSUER, CKA_SERIAL_NUMBER]);
            flags.push((CKA_TRUSTED, false));
        }
        Class::PublicKey | Class::PrivateKey => texts.extend([CKA_ID, CKA_SUBJECT, CKA_START_DATE, CKA_END_DATE]),
        Class::SecretKey => texts.extend([CKA_ID, CKA_START_DATE, CKA_END_DATE]),
    }
    flags.extend(usage(class, key_type));
    let texts = texts.into_iter().map(|attribute| (attribute, Value::Bytes(Vec::new())));
    flags.into_iter().map(|(attribute, flag)| (attribute, Value::Bool(flag))).chain(texts).collect()
}

fn usage(class: Class, key_type: Option<KeyType>) -> Vec<(CK_ATTRIBUTE_TYPE, bool)> {
    let hidden = [
        (CKA_SENSITIVE, true),
        (CKA_EXTRACTABLE, false),
        (CKA_WRAP_WITH_TRUSTED, false),
        (CKA_UNWRAP, false),
        (CKA_DERIVE, false),
    ];
    let cipher = matches!(key_type, Some(KeyType::Sm4 | KeyType::Aes));
    match class {
        Class::Data | Class::Certificate => Vec::new(),
        Class::PublicKey => vec![
            (CKA_VERIFY, true),
            (CKA_VERIFY_RECOVER, false),
            (CKA_ENCRYPT, false),
            (CKA_WRAP, false),
            (CKA_DERIVE, false),
            (CKA_TRUSTED, false),
        ],
        Class::PrivateKey => [
            &hidden[..],
            &[(CKA_SIGN, true), (CKA_SIGN_RECOVER, false), (CKA_DECRYPT, false), (CKA_ALWAYS_AUTHENTICATE, false)],
        ]
        .concat(),
        Class::SecretKey => [
            &hidden[..],
            &[(CKA_ENCRYPT, cipher), (CKA_DECRYPT, cipher), (CKA_SIGN, !cipher), (CKA_VERIFY, !cipher)],
            &[(CKA_WRAP, false), (CKA_TRUSTED, false)],
        ]
        .concat(),
    }
}
