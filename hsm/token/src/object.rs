//! Objects: keys, certificates and data with their attributes.
//!
//! Invariants: the value of a private or secret key is a [`Secret`], never an attribute; `CKA_SENSITIVE` only rises,
//! `CKA_EXTRACTABLE` and every usage flag only fall; `CKA_ALWAYS_SENSITIVE` and `CKA_NEVER_EXTRACTABLE` are decided at
//! creation, which is right because of the former.

pub(crate) mod attributes;
pub(crate) mod codec;
pub(crate) mod create;
pub(crate) mod template;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bixi_platform::secret::Secret;
use cryptoki_sys::*;

use crate::error::{CkResult, refuse};
use crate::profile::{KeyType, Profile};
use attributes::{Rule, rule};
use template::{Template, parse_attribute};

/// Classes of objects the token holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    Data = 0,
    Certificate = 1,
    PublicKey = 2,
    PrivateKey = 3,
    SecretKey = 4,
}

impl Class {
    const ALL: [Class; 5] = [Class::Data, Class::Certificate, Class::PublicKey, Class::PrivateKey, Class::SecretKey];

    /// The `CKO_` number; they are 0 to 4 in this order.
    pub(crate) fn number(self) -> u64 {
        self as u64
    }

    /// The class of a `CKO_` number.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.number() == number)
    }

    /// Whether objects of the class have a value to be kept secret.
    pub(crate) fn is_hidden_key(self) -> bool {
        matches!(self, Class::PrivateKey | Class::SecretKey)
    }
}

/// A typed attribute value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    Number(u64),
    Bytes(Vec<u8>),
}

/// One object. Changing an attribute makes a new one that shares the secret.
#[derive(Clone)]
pub(crate) struct Object {
    /// Stable number on the token; 0 for a session object.
    pub(crate) id: u64,
    pub(crate) class: Class,
    pub(crate) key_type: Option<KeyType>,
    pub(crate) attributes: BTreeMap<CK_ATTRIBUTE_TYPE, Value>,
    /// Value of a private or secret key.
    pub(crate) secret: Option<Arc<Secret>>,
}

impl Object {
    /// A Boolean attribute; absent means false.
    pub(crate) fn flag(&self, attribute: CK_ATTRIBUTE_TYPE) -> bool {
        matches!(self.attributes.get(&attribute), Some(Value::Bool(true)))
    }

    pub(crate) fn is_token(&self) -> bool {
        self.flag(CKA_TOKEN)
    }

    pub(crate) fn is_private(&self) -> bool {
        self.flag(CKA_PRIVATE)
    }

    /// Whether the key's value may be read.
    pub(crate) fn is_readable(&self) -> bool {
        !self.flag(CKA_SENSITIVE) && self.flag(CKA_EXTRACTABLE)
    }

    /// Whether `CKA_ALLOWED_MECHANISMS`, where present, lists `mechanism`.
    pub(crate) fn allows(&self, mechanism: CK_MECHANISM_TYPE) -> bool {
        match self.attributes.get(&CKA_ALLOWED_MECHANISMS) {
            Some(Value::Bytes(list)) => list.chunks_exact(8).any(|chunk| chunk == mechanism.to_ne_bytes()),
            _ => true,
        }
    }

    /// The value of an attribute as `C_GetAttributeValue` gives it.
    pub(crate) fn attribute(&self, profile: &Profile, attribute: CK_ATTRIBUTE_TYPE) -> CkResult<Cow<'_, [u8]>> {
        if rule(self.class, attribute).is_none() {
            return refuse(CKR_ATTRIBUTE_TYPE_INVALID);
        }
        let number = |number: u64| Ok(Cow::Owned(number.to_ne_bytes().to_vec()));
        match (attribute, &self.secret, self.key_type) {
            (CKA_CLASS, ..) => number(self.class.number()),
            (CKA_KEY_TYPE, _, Some(key_type)) => number(profile.key_type_number(key_type)),
            (CKA_VALUE, Some(secret), _) if self.is_readable() => Ok(Cow::Borrowed(secret.as_slice())),
            (CKA_VALUE, Some(_), _) => refuse(CKR_ATTRIBUTE_SENSITIVE),
            (CKA_VALUE_LEN, Some(secret), _) => number(secret.as_slice().len() as u64),
            _ => match self.attributes.get(&attribute) {
                Some(Value::Bool(flag)) => Ok(Cow::Owned(vec![u8::from(*flag)])),
                Some(Value::Number(value)) => number(*value),
                Some(Value::Bytes(bytes)) => Ok(Cow::Borrowed(bytes)),
                None => refuse(CKR_ATTRIBUTE_TYPE_INVALID),
            },
        }
    }

    /// Whether every attribute of `template` is here with the same value. A hidden value never matches.
    pub(crate) fn matches(&self, profile: &Profile, template: &Template<'_>) -> bool {
        template
            .items()
            .all(|(attribute, wanted)| self.attribute(profile, attribute).is_ok_and(|value| *value == *wanted))
    }

    /// A copy with the changes of `template`.
    pub(crate) fn modified(&self, template: &Template<'_>) -> CkResult<Self> {
        if !self.flag(CKA_MODIFIABLE) {
            return refuse(CKR_ACTION_PROHIBITED);
        }
        let mut copy = self.clone();
        for (attribute, bytes) in template.items() {
            let Some(rule) = rule(self.class, attribute) else { return refuse(CKR_ATTRIBUTE_TYPE_INVALID) };
            let value = parse_attribute(attribute, bytes)?;
            if !self.permits(rule, attribute, &value) {
                return refuse(CKR_ATTRIBUTE_READ_ONLY);
            }
            copy.attributes.insert(attribute, value);
        }
        Ok(copy)
    }

    fn permits(&self, rule: Rule, attribute: CK_ATTRIBUTE_TYPE, value: &Value) -> bool {
        let unchanged = self.attributes.get(&attribute) == Some(value);
        match rule {
            Rule::Free => true,
            Rule::Lowered => unchanged || *value == Value::Bool(false),
            Rule::Raised => unchanged || *value == Value::Bool(true),
            Rule::Fixed if attribute == CKA_VALUE => self.class == Class::Data,
            Rule::Fixed | Rule::Derived => false,
        }
    }
}

#[cfg(test)]
mod tests;
