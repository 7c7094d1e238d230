//! A template handed over by the caller: attribute types with their values, bounded and without repetition.

use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CKA_CLASS, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCONSISTENT,
};

use super::attributes::{Shape, VALUE_BYTES_MAX, shape};
use super::{Class, Value};
use crate::error::{CkResult, refuse};

/// Most attributes in one template.
pub(crate) const TEMPLATE_ITEMS_MAX: usize = 128;

/// Borrowed from the caller for the time of one call.
#[derive(Debug)]
pub(crate) struct Template<'a>(Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>);

impl<'a> Template<'a> {
    /// Check bounds and repetition.
    pub(crate) fn new(items: Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>) -> CkResult<Self> {
        if items.len() > TEMPLATE_ITEMS_MAX {
            return refuse(CKR_TEMPLATE_INCONSISTENT);
        }
        for (index, (attribute, value)) in items.iter().enumerate() {
            if value.len() > VALUE_BYTES_MAX {
                return refuse(CKR_ATTRIBUTE_VALUE_INVALID);
            }
            if items[..index].iter().any(|(earlier, _)| earlier == attribute) {
                return refuse(CKR_TEMPLATE_INCONSISTENT);
            }
        }
        Ok(Self(items))
    }

    /// Types and values in the caller's order.
    pub(crate) fn items(&self) -> impl Iterator<Item = (CK_ATTRIBUTE_TYPE, &'a [u8])> + '_ {
        self.0.iter().copied()
    }

    /// The raw value of `attribute`, if present.
    pub(crate) fn bytes(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<&'a [u8]> {
        self.0.iter().find(|(listed, _)| *listed == attribute).map(|(_, value)| *value)
    }

    /// The value of a `CK_ULONG` attribute, if present.
    pub(crate) fn number(&self, attribute: CK_ATTRIBUTE_TYPE) -> CkResult<Option<u64>> {
        match self.bytes(attribute).map(|bytes| parse(Shape::Number, bytes)).transpose()? {
            Some(Value::Number(number)) => Ok(Some(number)),
            _ => Ok(None),
        }
    }

    /// The value of a `CK_BBOOL` attribute, if present.
    pub(crate) fn boolean(&self, attribute: CK_ATTRIBUTE_TYPE) -> CkResult<Option<bool>> {
        match self.bytes(attribute).map(|bytes| parse(Shape::Bool, bytes)).transpose()? {
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            _ => Ok(None),
        }
    }

    /// `CKA_CLASS`, if present.
    pub(crate) fn class(&self) -> CkResult<Option<Class>> {
        match self.number(CKA_CLASS)? {
            None => Ok(None),
            Some(number) => match Class::from_number(number) {
                Some(class) => Ok(Some(class)),
                None => refuse(CKR_ATTRIBUTE_VALUE_INVALID),
            },
        }
    }
}

/// The typed value of an attribute.
pub(crate) fn parse_attribute(attribute: CK_ATTRIBUTE_TYPE, bytes: &[u8]) -> CkResult<Value> {
    match shape(attribute) {
        Some(shape) => parse(shape, bytes),
        None => refuse(CKR_ATTRIBUTE_TYPE_INVALID),
    }
}

fn parse(shape: Shape, bytes: &[u8]) -> CkResult<Value> {
    let value = match shape {
        Shape::Bool => match bytes {
            [0] => Some(Value::Bool(false)),
            [_] => Some(Value::Bool(true)),
            _ => None,
        },
        Shape::Number => bytes.try_into().ok().map(u64::from_ne_bytes).map(Value::Number),
        Shape::Bytes => Some(Value::Bytes(bytes.to_vec())),
        Shape::Date => is_date(bytes).then(|| Value::Bytes(bytes.to_vec())),
        Shape::Mechanisms => bytes.len().is_multiple_of(8).then(|| Value::Bytes(bytes.to_vec())),
    };
    value.ok_or(crate::error::CkError(CKR_ATTRIBUTE_VALUE_INVALID))
}

fn is_date(bytes: &[u8]) -> bool {
    bytes.is_empty() || (bytes.len() == 8 && bytes.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki_sys::{CKA_LABEL, CKA_START_DATE, CKA_TOKEN};

    #[test]
    fn refuses_a_repeated_attribute() {
        let error = Template::new(vec![(CKA_LABEL, b"a"), (CKA_LABEL, b"b")]).unwrap_err();
        assert_eq!(error.0, CKR_TEMPLATE_INCONSISTENT);
    }

    #[test]
    fn refuses_values_of_the_wrong_length() {
        let template = Template::new(vec![(CKA_TOKEN, b"12"), (CKA_CLASS, b"123")]).unwrap();
        assert_eq!(template.boolean(CKA_TOKEN).unwrap_err().0, CKR_ATTRIBUTE_VALUE_INVALID);
        assert_eq!(template.number(CKA_CLASS).unwrap_err().0, CKR_ATTRIBUTE_VALUE_INVALID);
        assert_eq!(parse_attribute(CKA_START_DATE, b"2026x").unwrap_err().0, CKR_ATTRIBUTE_VALUE_INVALID);
        assert!(parse_attribute(CKA_START_DATE, b"20260101").is_ok());
        assert_eq!(parse_attribute(0x7fff_0000, b"").unwrap_err().0, CKR_ATTRIBUTE_TYPE_INVALID);
    }
}
