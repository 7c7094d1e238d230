//! The attributes the token knows: shape, the classes that have them, and who may set them when.

use cryptoki_sys::*;

use super::Class;

/// How a value is encoded in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `CK_BBOOL`.
    Bool,
    /// `CK_ULONG`.
    Number,
    /// Bytes of any length up to [`VALUE_BYTES_MAX`].
    Bytes,
    /// `CK_DATE`: eight digits, or empty.
    Date,
    /// An array of `CK_MECHANISM_TYPE`.
    Mechanisms,
}

/// When a caller may set an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// At creation and later.
    Free,
    /// At creation only.
    Fixed,
    /// At creation; later only from true to false.
    Lowered,
    /// At creation; later only from false to true.
    Raised,
    /// Never: the token sets it.
    Derived,
}

/// Longest attribute value, bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 64 * 1024;

const DATA: u8 = 1 << Class::Data as u8;
const CERTIFICATE: u8 = 1 << Class::Certificate as u8;
const PUBLIC: u8 = 1 << Class::PublicKey as u8;
const PRIVATE: u8 = 1 << Class::PrivateKey as u8;
const SECRET: u8 = 1 << Class::SecretKey as u8;
const KEYS: u8 = PUBLIC | PRIVATE | SECRET;
const HIDDEN: u8 = PRIVATE | SECRET;
const ALL: u8 = DATA | CERTIFICATE | KEYS;

/// Every attribute; `CKA_CLASS` and `CKA_KEY_TYPE` are fields of the object.
const TABLE: &[(CK_ATTRIBUTE_TYPE, Shape, Rule, u8)] = &[
    (CKA_CLASS, Shape::Number, Rule::Fixed, ALL),
    (CKA_TOKEN, Shape::Bool, Rule::Fixed, ALL),
    (CKA_PRIVATE, Shape::Bool, Rule::Fixed, ALL),
    (CKA_MODIFIABLE, Shape::Bool, Rule::Fixed, ALL),
    (CKA_COPYABLE, Shape::Bool, Rule::Lowered, ALL),
    (CKA_DESTROYABLE, Shape::Bool, Rule::Fixed, ALL),
    (CKA_LABEL, Shape::Bytes, Rule::Free, ALL),
    (CKA_APPLICATION, Shape::Bytes, Rule::Free, DATA),
    (CKA_OBJECT_ID, Shape::Bytes, Rule::Free, DATA),
    (CKA_VALUE, Shape::Bytes, Rule::Fixed, DATA | CERTIFICATE | HIDDEN),
    (CKA_CERTIFICATE_TYPE, Shape::Number, Rule::Fixed, CERTIFICATE),
    (CKA_CERTIFICATE_CATEGORY, Shape::Number, Rule::Fixed, CERTIFICATE),
    (CKA_ISSUER, Shape::Bytes, Rule::Free, CERTIFICATE),
    (CKA_SERIAL_NUMBER, Shape::Bytes, Rule::Free, CERTIFICATE),
    (CKA_SUBJECT, Shape::Bytes, Rule::Free, CERTIFICATE | PUBLIC | PRIVATE),
    (CKA_TRUSTED, Shape::Bool, Rule::Derived, CERTIFICATE | PUBLIC | SECRET),
    (CKA_KEY_TYPE, Shape::Number, Rule::Fixed, KEYS),
    (CKA_ID, Shape::Bytes, Rule::Free, CERTIFICATE | KEYS),
    (CKA_START_DATE, Shape::Date, Rule::Free, CERTIFICATE | KEYS),
    (CKA_END_DATE, Shape::Date, Rule::Free, CERTIFICATE | KEYS),
    (CKA_DERIVE, Shape::Bool, Rule::Lowered, KEYS),
    (CKA_LOCAL, Shape::Bool, Rule::Derived, KEYS),
    (CKA_KEY_GEN_MECHANISM, Shape::Number, Rule::Derived, KEYS),
    (CKA_ALLOWED_MECHANISMS, Shape::Mechanisms, Rule::Fixed, KEYS),
    (CKA_ENCRYPT, Shape::Bool, Rule::Lowered, PUBLIC | SECRET),
    (CKA_DECRYPT, Shape::Bool, Rule::Lowered, HIDDEN),
    (CKA_SIGN, Shape::Bool, Rule::Lowered, HIDDEN),
    (CKA_SIGN_RECOVER, Shape::Bool, Rule::Lowered, PRIVATE),
    (CKA_VERIFY, Shape::Bool, Rule::Lowered, PUBLIC | SECRET),
    (CKA_VERIFY_RECOVER, Shape::Bool, Rule::Lowered, PUBLIC),
    (CKA_WRAP, Shape::Bool, Rule::Lowered, PUBLIC | SECRET),
    (CKA_UNWRAP, Shape::Bool, Rule::Lowered, HIDDEN),
    (CKA_WRAP_WITH_TRUSTED, Shape::Bool, Rule::Raised, HIDDEN),
    (CKA_SENSITIVE, Shape::Bool, Rule::Raised, HIDDEN),
    (CKA_EXTRACTABLE, Shape::Bool, Rule::Lowered, HIDDEN),
    (CKA_ALWAYS_SENSITIVE, Shape::Bool, Rule::Derived, HIDDEN),
    (CKA_NEVER_EXTRACTABLE, Shape::Bool, Rule::Derived, HIDDEN),
    (CKA_ALWAYS_AUTHENTICATE, Shape::Bool, Rule::Fixed, PRIVATE),
    (CKA_EC_PARAMS, Shape::Bytes, Rule::Fixed, PUBLIC | PRIVATE),
    (CKA_EC_POINT, Shape::Bytes, Rule::Fixed, PUBLIC | PRIVATE),
    (CKA_VALUE_LEN, Shape::Number, Rule::Fixed, SECRET),
];

/// When `attribute` of an object of `class` may be set; `None` when such objects do not have it.
pub(crate) fn rule(class: Class, attribute: CK_ATTRIBUTE_TYPE) -> Option<Rule> {
    TABLE
        .iter()
        .find(|(listed, _, _, classes)| *listed == attribute && classes & (1 << class as u8) != 0)
        .map(|&(_, _, rule, _)| rule)
}

/// Shape of `attribute` in whatever class has it.
pub(crate) fn shape(attribute: CK_ATTRIBUTE_TYPE) -> Option<Shape> {
    TABLE.iter().find(|(listed, ..)| *listed == attribute).map(|&(_, shape, ..)| shape)
}
