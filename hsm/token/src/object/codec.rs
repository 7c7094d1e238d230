//! The byte form of a set of objects, as it is sealed into the store.
//!
//! `magic "BXTO" ‖ version u32 ‖ generation u64 ‖ next id u64 ‖ count u32 ‖ object*`, little-endian, where an object is
//! `id u64 ‖ class u8 ‖ key type u8 ‖ attributes u16 ‖ (type u64 ‖ tag u8 ‖ length u32 ‖ bytes)* ‖ secret length u32 ‖
//! secret`. Every count and length is checked against a bound before anything is allocated; trailing bytes are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bixi_platform::secret::Secret;

use super::attributes::VALUE_BYTES_MAX;
use super::template::TEMPLATE_ITEMS_MAX;
use super::{Class, Object, Value};
use crate::curve::Curve;
use crate::profile::{GENERIC_BYTES_MAX, Hash, KeyType};

/// Most objects on one token.
pub(crate) const OBJECTS_MAX: usize = 4096;
const MAGIC: [u8; 4] = *b"BXTO";
const VERSION: u32 = 1;

/// Everything on a token, at one generation of the store.
#[derive(Clone, Default)]
pub(crate) struct Inventory {
    /// Rises by one with every write.
    pub(crate) generation: u64,
    /// Number the next object gets; never reused.
    pub(crate) next_id: u64,
    pub(crate) objects: Vec<Arc<Object>>,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("it ends early")]
    Short,
    #[error("it is not an object store of this version")]
    Foreign,
    #[error("a count or length is above its bound")]
    Bound,
    #[error("a class, key type or value tag is unknown")]
    Unknown,
    #[error("bytes follow its end")]
    Trailing,
}

/// Where encoded bytes go: counted first, then written into memory of exactly that size.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

/// Counts only.
#[derive(Default)]
pub(crate) struct Count(pub(crate) usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Fills a slice from its start.
pub(crate) struct Fill<'a>(pub(crate) &'a mut [u8], pub(crate) usize);

impl Sink for Fill<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.1 + bytes.len();
        self.0[self.1..end].copy_from_slice(bytes);
        self.1 = end;
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Inventory {
    /// Write the objects that `keep` selects.
    pub(crate) fn encode(&self, sink: &mut impl Sink, keep: impl Fn(&Object) -> bool) {
        let kept: Vec<_> = self.objects.iter().filter(|object| keep(object)).collect();
        sink.put(&MAGIC);
        sink.put(&VERSION.to_le_bytes());
        sink.put(&self.generation.to_le_bytes());
        sink.put(&self.next_id.to_le_bytes());
        sink.put(&(kept.len() as u32).to_le_bytes());
        for object in kept {
            encode_object(object, sink);
        }
    }

    /// Read a whole store.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader(bytes);
        if reader.array::<4>()? != MAGIC || reader.u32()? != VERSION {
            return Err(CodecError::Foreign);
        }
        let generation = u64::from_le_bytes(reader.array()?);
        let next_id = u64::from_le_bytes(reader.array()?);
        let count = reader.bounded(OBJECTS_MAX)?;
        let objects = (0..count).map(|_| decode_object(&mut reader).map(Arc::new)).collect::<Result<_, _>>()?;
        if !reader.0.is_empty() {
            return Err(CodecError::Trailing);
        }
        Ok(Self { generation, next_id, objects })
    }
}

fn encode_object(object: &Object, sink: &mut impl Sink) {
    sink.put(&object.id.to_le_bytes());
    sink.put(&[object.class as u8, key_type_tag(object.key_type)]);
    sink.put(&(object.attributes.len() as u16).to_le_bytes());
    for (attribute, value) in &object.attributes {
        sink.put(&attribute.to_le_bytes());
        match value {
            Value::Bool(flag) => put_value(sink, 0, &[u8::from(*flag)]),
            Value::Number(number) => put_value(sink, 1, &number.to_le_bytes()),
            Value::Bytes(bytes) => put_value(sink, 2, bytes),
        }
    }
    let secret = object.secret.as_ref().map_or(&[][..], |secret| secret.as_slice());
    sink.put(&(secret.len() as u32).to_le_bytes());
    sink.put(secret);
}

fn put_value(sink: &mut impl Sink, tag: u8, bytes: &[u8]) {
    sink.put(&[tag]);
    sink.put(&(bytes.len() as u32).to_le_bytes());
    sink.put(bytes);
}

fn key_type_tag(key_type: Option<KeyType>) -> u8 {
    match key_type {
        None => 0,
        Some(KeyType::Sm2) => 1,
        Some(KeyType::Ec(Curve::Sm2)) => 2,
        Some(KeyType::Sm4) => 3,
        Some(KeyType::Generic) => 4,
        Some(KeyType::Ec(Curve::P256)) => 5,
        Some(KeyType::Ec(Curve::Secp256k1)) => 6,
        Some(KeyType::Aes) => 7,
        Some(KeyType::Hmac(Hash::Sm3)) => 8,
        Some(KeyType::Hmac(Hash::Sha256)) => 9,
        Some(KeyType::Hmac(Hash::Sha384)) => 10,
        Some(KeyType::Hmac(Hash::Sha512)) => 11,
    }
}

fn key_type_of(tag: u8) -> Result<Option<KeyType>, CodecError> {
    Ok(Some(match tag {
        0 => return Ok(None),
        1 => KeyType::Sm2,
        2 => KeyType::Ec(Curve::Sm2),
        3 => KeyType::Sm4,
        4 => KeyType::Generic,
        5 => KeyType::Ec(Curve::P256),
        6 => KeyType::Ec(Curve::Secp256k1),
        7 => KeyType::Aes,
        8 => KeyType::Hmac(Hash::Sm3),
        9 => KeyType::Hmac(Hash::Sha256),
        10 => KeyType::Hmac(Hash::Sha384),
        11 => KeyType::Hmac(Hash::Sha512),
        _ => return Err(CodecError::Unknown),
    }))
}

fn decode_object(reader: &mut Reader<'_>) -> Result<Object, CodecError> {
    let id = u64::from_le_bytes(reader.array()?);
    let [class, key_type] = reader.array()?;
    let class = Class::from_number(class.into()).ok_or(CodecError::Unknown)?;
    let key_type = key_type_of(key_type)?;
    let count = usize::from(u16::from_le_bytes(reader.array()?));
    if count > TEMPLATE_ITEMS_MAX {
        return Err(CodecError::Bound);
    }
    let mut attributes = BTreeMap::new();
    for _ in 0..count {
        let attribute = u64::from_le_bytes(reader.array()?);
        attributes.insert(attribute, decode_value(reader)?);
    }
    let length = reader.bounded(GENERIC_BYTES_MAX as usize)?;
    let secret = match reader.take(length)? {
        [] => None,
        bytes => Some(Arc::new(Secret::from_slice(bytes))),
    };
    Ok(Object { id, class, key_type, attributes, secret })
}

fn decode_value(reader: &mut Reader<'_>) -> Result<Value, CodecError> {
    let [tag] = reader.array()?;
    let length = reader.bounded(VALUE_BYTES_MAX)?;
    let bytes = reader.take(length)?;
    match (tag, bytes) {
        (0, [flag @ (0 | 1)]) => Ok(Value::Bool(*flag == 1)),
        (1, _) => bytes.try_into().map(u64::from_le_bytes).map(Value::Number).map_err(|_| CodecError::Unknown),
        (2, _) => Ok(Value::Bytes(bytes.to_vec())),
        _ => Err(CodecError::Unknown),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(CodecError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        self.take(N)?.try_into().map_err(|_| CodecError::Short)
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    fn bounded(&mut self, max: usize) -> Result<usize, CodecError> {
        usize::try_from(self.u32()?).ok().filter(|value| *value <= max).ok_or(CodecError::Bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki_sys::{CKA_LABEL, CKA_PRIVATE, CKA_VALUE_LEN};

    fn sample() -> Inventory {
        let attributes = BTreeMap::from([
            (CKA_LABEL, Value::Bytes(b"kek".to_vec())),
            (CKA_PRIVATE, Value::Bool(true)),
            (CKA_VALUE_LEN, Value::Number(16)),
        ]);
        let secret = Some(Arc::new(Secret::from_slice(&[7; 16])));
        let object = Object { id: 3, class: Class::SecretKey, key_type: Some(KeyType::Sm4), attributes, secret };
        Inventory { generation: 9, next_id: 4, objects: vec![Arc::new(object)] }
    }

    fn bytes_of(inventory: &Inventory) -> Vec<u8> {
        let mut bytes = Vec::new();
        inventory.encode(&mut bytes, |_| true);
        bytes
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let bytes = bytes_of(&sample());
        let mut count = Count::default();
        sample().encode(&mut count, |_| true);
        assert_eq!(count.0, bytes.len());
        let read = Inventory::decode(&bytes).unwrap();
        assert_eq!((read.generation, read.next_id, read.objects.len()), (9, 4, 1));
        let (object, original) = (&read.objects[0], &sample().objects[0]);
        assert_eq!((object.id, object.class, object.key_type), (3, Class::SecretKey, Some(KeyType::Sm4)));
        assert_eq!(object.attributes, original.attributes);
        assert_eq!(object.secret.as_ref().unwrap().as_slice(), [7; 16]);
    }

    #[test]
    fn refuses_every_truncation_and_trailing_bytes() {
        let bytes = bytes_of(&sample());
        for length in 0..bytes.len() {
            assert!(Inventory::decode(&bytes[..length]).is_err(), "{length} bytes were accepted");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Inventory::decode(&longer).err(), Some(CodecError::Trailing));
    }

    #[test]
    fn refuses_a_count_above_its_bound_before_allocating() {
        let mut bytes = bytes_of(&sample());
        bytes[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Inventory::decode(&bytes).err(), Some(CodecError::Bound));
    }

    #[test]
    fn never_panics_on_altered_bytes() {
        let bytes = bytes_of(&sample());
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[index] ^= 1 << bit;
                let _ = Inventory::decode(&altered);
            }
        }
    }
}
