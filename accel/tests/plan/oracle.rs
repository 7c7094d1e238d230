//! What the answers must be: RustCrypto's crates, and the standards' own words where those have no crate.
#![allow(dead_code, reason = "each test program takes what it needs")]

use ::sm2::elliptic_curve::ops::Reduce;
use ::sm2::elliptic_curve::point::AffineCoordinates;
use ::sm2::elliptic_curve::{Group, PrimeField};
use ::sm2::{FieldBytes, ProjectivePoint, PublicKey, Scalar};
use ::sm3::{Digest, Sm3};
use ::sm4::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::aead::{Aead, Payload};

pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sm3::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
}

/// RFC 2104.
pub(crate) fn hmac(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let mut block = [0u8; 64];
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(&digest(&[key])),
    }
    let inner = digest(&[&[&block.map(|byte| byte ^ 0x36)[..]], message].concat());
    digest(&[&block.map(|byte| byte ^ 0x5c), &inner])
}

/// RFC 5869 2.3.
pub(crate) fn hkdf_expand(prk: &[u8; 32], info: &[u8], length: usize) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for counter in 1..=length.div_ceil(32) as u8 {
        let previous = out.len().saturating_sub(32);
        let block = hmac(prk, &[&out[previous..], info, &[counter]]);
        out.extend(block);
    }
    out.truncate(length);
    out
}

/// GB/T 32918.4 5.4.3.
pub(crate) fn kdf(z: &[u8], length: usize) -> Vec<u8> {
    let blocks = (1..=length.div_ceil(32) as u32).flat_map(|counter| digest(&[z, &counter.to_be_bytes()]));
    blocks.take(length).collect()
}

pub(crate) struct Sm4(::sm4::Sm4);

impl Sm4 {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(::sm4::Sm4::new(&(*key).into()))
    }

    pub(crate) fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    /// SP 800-38A 6.5 with a 128-bit counter.
    pub(crate) fn ctr(&self, counter: [u8; 16], data: &[u8]) -> Vec<u8> {
        let counters = (0u128..).map(|i| u128::from_be_bytes(counter).wrapping_add(i).to_be_bytes());
        let stream = counters.flat_map(|counter| self.encrypt(counter));
        data.iter().zip(stream).map(|(byte, pad)| byte ^ pad).collect()
    }
}

/// Ciphertext and tag.
pub(crate) fn gcm_seal(key: &[u8; 16], nonce: &[u8; 12], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let cipher = aes_gcm::AesGcm::<::sm4::Sm4, aes_gcm::aead::consts::U12>::new(&(*key).into());
    cipher.encrypt(&(*nonce).into(), Payload { msg, aad }).expect("a length")
}

/// IEEE 1619 5.3, and with the bits of a tweak in GCM's order GB/T 17964-2021.
pub(crate) fn xts_encrypt(keys: &[u8; 32], tweak: &[u8; 16], gb: bool, data: &[u8]) -> Vec<u8> {
    let [data_key, tweak_key] = [0, 16].map(|at| Sm4::new(keys[at..at + 16].try_into().expect("16 bytes")));
    let mut t = tweak_key.encrypt(*tweak);
    let mut next = || {
        let now = t;
        t = if gb { times_x_gb(now) } else { times_x_ieee(now) };
        now
    };
    let crypt = |block: &[u8], t: [u8; 16]| {
        let masked = core::array::from_fn(|i| block[i] ^ t[i]);
        let out = data_key.encrypt(masked);
        core::array::from_fn::<u8, 16, _>(|i| out[i] ^ t[i])
    };
    let mut out: Vec<u8> = data.as_chunks::<16>().0.iter().flat_map(|block| crypt(block, next())).collect();
    let tail = data.as_chunks::<16>().1;
    if !tail.is_empty() {
        let stolen = out.split_off(out.len() - 16);
        let last = crypt(&[tail, &stolen[tail.len()..]].concat(), next());
        out.extend(last);
        out.extend(&stolen[..tail.len()]);
    }
    out
}

/// Byte by byte, the first byte the lowest: 5.2.
fn times_x_ieee(t: [u8; 16]) -> [u8; 16] {
    let mut carry = 0;
    let mut out = t.map(|byte| {
        let shifted = byte << 1 | carry;
        carry = byte >> 7;
        shifted
    });
    out[0] ^= 0x87 * carry;
    out
}

/// The same with every byte's bits, and the order of all bits, turned around.
fn times_x_gb(t: [u8; 16]) -> [u8; 16] {
    let mut carry = 0;
    let mut out = t.map(|byte| {
        let shifted = byte >> 1 | carry << 7;
        carry = byte & 1;
        shifted
    });
    out[0] ^= 0xe1 * carry;
    out
}

/// Any 256 bits modulo n.
pub(crate) fn reduce(bytes: &[u8; 32]) -> Scalar {
    Scalar::reduce(&FieldBytes::from(*bytes))
}

pub(crate) fn to_bytes(scalar: &Scalar) -> [u8; 32] {
    scalar.to_repr().into()
}

/// `X ‖ Y` of `[k]G`; `None` for infinity.
pub(crate) fn base_multiple(k: &Scalar) -> Option<[u8; 64]> {
    coordinates(&(ProjectivePoint::generator() * *k))
}

/// `X ‖ Y` of `[k]P`; `None` for infinity or no point `P`.
pub(crate) fn multiple(key: &[u8; 64], k: &Scalar) -> Option<[u8; 64]> {
    let key = PublicKey::from_sec1_bytes(&[&[4], &key[..]].concat()).ok()?;
    coordinates(&(ProjectivePoint::from(*key.as_affine()) * *k))
}

/// `X ‖ Y` of `[t](P + [x]R)`; `None` for infinity or no points.
pub(crate) fn multiple_of_sum(p: &[u8; 64], r: &[u8; 64], x: &Scalar, t: &Scalar) -> Option<[u8; 64]> {
    let point = |bytes: &[u8; 64]| PublicKey::from_sec1_bytes(&[&[4], &bytes[..]].concat()).ok();
    let [p, r] = [point(p)?, point(r)?].map(|key| ProjectivePoint::from(*key.as_affine()));
    coordinates(&((p + r * *x) * *t))
}

/// `x̄`, GB/T 32918.3 6.1 A4.
pub(crate) fn associate(point: &[u8; 64]) -> Scalar {
    let mut x = [0; 32];
    x[16..].copy_from_slice(&point[16..32]);
    x[16] |= 0x80;
    reduce(&x)
}

fn coordinates(point: &ProjectivePoint) -> Option<[u8; 64]> {
    if bool::from(point.is_identity()) {
        return None;
    }
    let point = point.to_affine();
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&point.x());
    bytes[32..].copy_from_slice(&point.y());
    Some(bytes)
}

/// The x coordinate of `[s]G + [t]P`, modulo n; `None` for infinity or no point `P`.
pub(crate) fn x_of_sum(key: &[u8; 64], s: &Scalar, t: &Scalar) -> Option<Scalar> {
    let sec1 = [&[4][..], key].concat();
    let key = PublicKey::from_sec1_bytes(&sec1).ok()?;
    let sum = ProjectivePoint::generator() * *s + ProjectivePoint::from(*key.as_affine()) * *t;
    coordinates(&sum).map(|xy| reduce(xy.first_chunk().expect("x")))
}

/// GB/T 32918.2 7.1, B1, B2 and B5 to B7.
pub(crate) fn verifies(key: &[u8; 64], e: &[u8; 32], signature: &[u8; 64]) -> bool {
    let (halves, _) = signature.as_chunks::<32>();
    let in_range = |half: &[u8; 32]| {
        let scalar: Option<Scalar> = Scalar::from_repr(FieldBytes::from(*half)).into();
        scalar.filter(|scalar| *scalar != Scalar::ZERO)
    };
    let (Some(r), Some(s)) = (in_range(&halves[0]), in_range(&halves[1])) else { return false };
    let t = r + s;
    t != Scalar::ZERO && x_of_sum(key, &s, &t).is_some_and(|x| reduce(e) + x == r)
}

/// `e = SM3(Z ‖ M)`, GB/T 32918.2 5.5.
pub(crate) fn message_digest(id: &[u8], key: &[u8; 64], message: &[u8]) -> [u8; 32] {
    const A_B_G: &str = "fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc\
        28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93\
        32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7\
        bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0";
    let curve = hex::decode(A_B_G).expect("hex");
    let z = digest(&[&(8 * id.len() as u16).to_be_bytes(), id, &curve, key]);
    digest(&[&z, message])
}
