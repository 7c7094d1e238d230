//! The table. A case is one change to an honest signature, key or message; beside the changes stand honest ones in every
//! form, so that a verifier that refuses everything fails.

use crate::cases::inputs::{N, P, shift};
use crate::cases::oracle::{base_multiple, digest, message_digest, reduce, to_bytes, x_of_sum};
use bixi_accel::sm2::DEFAULT_ID;
use sm2::Scalar;

pub(crate) enum KeyBytes {
    /// `X ‖ Y`, if they were a point.
    Raw([u8; 64]),
    Sec1(Vec<u8>),
}

pub(crate) enum Encoded {
    Raw([u8; 64]),
    Der(Vec<u8>),
}

/// A message and what claims to be its signature.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) key: KeyBytes,
    pub(crate) id: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) signature: Encoded,
    pub(crate) valid: bool,
}

/// The same for a chosen digest, where more can be arranged.
pub(crate) struct Digest {
    pub(crate) name: &'static str,
    pub(crate) key: [u8; 64],
    pub(crate) e: [u8; 32],
    pub(crate) signature: [u8; 64],
    pub(crate) valid: bool,
}

const MESSAGE: &[u8] = b"pay 100 to Bob";

type Words = ([u8; 32], [u8; 32]);

fn join((a, b): Words) -> [u8; 64] {
    [a, b].concat().try_into().expect("64 bytes")
}

fn halves(bytes: &[u8; 64]) -> Words {
    let (words, _) = bytes.as_chunks::<32>();
    (words[0], words[1])
}

fn private() -> Scalar {
    reduce(&[0x39; 32])
}

fn key_of(d: &Scalar) -> [u8; 64] {
    base_multiple(d).expect("not infinity")
}

fn x_of(k: &Scalar) -> Scalar {
    reduce(&halves(&key_of(k)).0)
}

fn inverse(scalar: Scalar) -> Scalar {
    Option::from(scalar.invert()).expect("not zero")
}

/// A5 and A6 with the nonce `k`.
fn finish(d: &Scalar, k: &Scalar, r: &Scalar) -> Words {
    (to_bytes(r), to_bytes(&(inverse(Scalar::ONE + *d) * (*k - *r * *d))))
}

/// GB/T 32918.2 6.1 with a fixed nonce.
fn sign(d: &Scalar, e: &[u8; 32]) -> Words {
    let k = reduce(&digest(&[e, &to_bytes(d)]));
    finish(d, &k, &(reduce(e) + x_of(&k)))
}

fn negate(word: &[u8; 32]) -> [u8; 32] {
    to_bytes(&-reduce(word))
}

fn flip(mut word: [u8; 32], bit: usize) -> [u8; 32] {
    word[31 - bit / 8] ^= 1 << (bit % 8);
    word
}

/// `p - y`, for `y` other than zero.
fn negate_y(key: &[u8; 64]) -> [u8; 64] {
    let (x, y) = halves(key);
    let mut out = [0; 32];
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i16::from(P[i]) - i16::from(y[i]) - borrow;
        out[i] = difference as u8;
        borrow = i16::from(difference < 0);
    }
    join((x, out))
}

/// The honest parts every case starts from.
struct Honest {
    d: Scalar,
    key: [u8; 64],
    e: [u8; 32],
    signature: Words,
}

impl Honest {
    fn new(d: Scalar) -> Self {
        let key = key_of(&d);
        let e = message_digest(DEFAULT_ID, &key, MESSAGE);
        Self { signature: sign(&d, &e), d, key, e }
    }

    fn case(&self, name: &'static str, valid: bool) -> Case {
        let signature = Encoded::Raw(join(self.signature));
        Case { name, key: KeyBytes::Raw(self.key), id: DEFAULT_ID.into(), message: MESSAGE.into(), signature, valid }
    }

    /// Another pair `r ‖ s`.
    fn words(&self, name: &'static str, words: Words) -> Case {
        Case { signature: Encoded::Raw(join(words)), ..self.case(name, false) }
    }

    fn key(&self, name: &'static str, key: [u8; 64]) -> Case {
        Case { key: KeyBytes::Raw(key), ..self.case(name, false) }
    }

    fn sec1(&self, name: &'static str, sec1: Vec<u8>, valid: bool) -> Case {
        Case { key: KeyBytes::Sec1(sec1), ..self.case(name, valid) }
    }

    fn der(&self, name: &'static str, der: Vec<u8>) -> Case {
        Case { signature: Encoded::Der(der), ..self.case(name, false) }
    }

    /// A signature of another digest.
    fn signed(&self, name: &'static str, e: [u8; 32]) -> Case {
        self.words(name, sign(&self.d, &e))
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let honest = Honest::new(private());
    [
        accepted(&honest),
        ranges(&honest),
        relations(&honest),
        contexts(&honest),
        keys(&honest),
        points(&honest),
        der(&honest),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn accepted(honest: &Honest) -> Vec<Case> {
    let other_id = bixi_accel::sm2::TLS_ID;
    let e = message_digest(other_id, &honest.key, MESSAGE);
    let long = vec![0x61; 20_000];
    let (x, y) = halves(&honest.key);
    let encoded = bixi_accel::sm2::Signature(join(honest.signature)).to_der();
    vec![
        honest.case("an honest signature", true),
        Case { id: other_id.to_vec(), valid: true, ..honest.signed("honest, another identifier", e) },
        Case {
            id: vec![],
            valid: true,
            ..honest.signed("honest, no identifier", message_digest(b"", &honest.key, MESSAGE))
        },
        Case {
            message: vec![],
            valid: true,
            ..honest.signed("honest, no message", message_digest(DEFAULT_ID, &honest.key, b""))
        },
        Case {
            message: long.clone(),
            valid: true,
            ..honest.signed("honest, a long message", message_digest(DEFAULT_ID, &honest.key, &long))
        },
        Honest::new(Scalar::ONE).case("honest, the key is G", true),
        Honest::new(-Scalar::from(2u64)).case("honest, the key is -2G", true),
        honest.sec1("honest, key uncompressed", [&[4], &honest.key[..]].concat(), true),
        honest.sec1("honest, key compressed", [&[2 + (y[31] & 1)], &x[..]].concat(), true),
        Case { valid: true, ..honest.der("honest, DER", encoded) },
    ]
}

/// B1 and B2: r and s outside [1, n-1], and their ends.
fn ranges(honest: &Honest) -> Vec<Case> {
    let (r, s) = honest.signature;
    let (zero, one, last, ones) = ([0; 32], shift(&[0; 32], 1), shift(&N, -1), [0xff; 32]);
    vec![
        honest.words("r is 0", (zero, s)),
        honest.words("s is 0", (r, zero)),
        honest.words("r and s are 0", (zero, zero)),
        honest.words("r is 1", (one, s)),
        honest.words("s is 1", (r, one)),
        honest.words("r and s are 1", (one, one)),
        honest.words("r is n - 1", (last, s)),
        honest.words("s is n - 1", (r, last)),
        honest.words("r and s are n - 1", (last, last)),
        honest.words("r is n", (N, s)),
        honest.words("s is n", (r, N)),
        honest.words("r and s are n", (N, N)),
        honest.words("r is n + 1", (shift(&N, 1), s)),
        honest.words("s is n + 1", (r, shift(&N, 1))),
        honest.words("r is p", (P, s)),
        honest.words("s is p", (r, P)),
        honest.words("r is 2^256 - 1", (ones, s)),
        honest.words("s is 2^256 - 1", (r, ones)),
        honest.words("r and s are 2^256 - 1", (ones, ones)),
    ]
}

/// Pairs that relate to the honest one, or to the key.
fn relations(honest: &Honest) -> Vec<Case> {
    let (r, s) = honest.signature;
    let (d, e) = (&honest.d, reduce(&honest.e));
    let k = reduce(&digest(&[&honest.e, &to_bytes(d)]));
    let x1 = x_of(&k);
    // [s]G + [t]P is infinity: k = 0.
    let infinity = finish(d, &Scalar::ZERO, &e);
    let ecdsa = (to_bytes(&x1), to_bytes(&(inverse(k) * (e + x1 * *d))));
    let y1 = reduce(&halves(&key_of(&k)).1);
    vec![
        honest.words("r + s is n", (r, negate(&r))),
        honest.words("r is 1, s is n - 1", (shift(&[0; 32], 1), shift(&N, -1))),
        honest.words("r and s exchanged", (s, r)),
        honest.words("s negated, as ECDSA allows", (r, negate(&s))),
        honest.words("r negated", (negate(&r), s)),
        honest.words("both negated", (negate(&r), negate(&s))),
        honest.words("r's lowest bit", (flip(r, 0), s)),
        honest.words("r's highest bit", (flip(r, 255), s)),
        honest.words("s's lowest bit", (r, flip(s, 0))),
        honest.words("s's highest bit", (r, flip(s, 255))),
        honest.words("r is e", (honest.e, s)),
        honest.words("r is x1 without e", finish(d, &k, &x1)),
        honest.words("r is e without x1", finish(d, &k, &e)),
        honest.words("r is e + y1", finish(d, &k, &(e + y1))),
        honest.words("the point is infinity", infinity),
        honest.words("s without the factor of 1 + d", (r, to_bytes(&(k - reduce(&r) * *d)))),
        honest.words("an ECDSA signature of e", ecdsa),
    ]
}

/// Honest signatures of something else.
fn contexts(honest: &Honest) -> Vec<Case> {
    let e = |id: &[u8], key: &[u8; 64], message: &[u8]| message_digest(id, key, message);
    let (x, y) = halves(&honest.key);
    let mut reversed = honest.e;
    reversed.reverse();
    let other = Honest::new(reduce(&[0x40; 32]));
    vec![
        honest.signed("another message", e(DEFAULT_ID, &honest.key, b"pay 900 to Bob")),
        honest.signed("the message and a zero byte", e(DEFAULT_ID, &honest.key, &[MESSAGE, &[0]].concat())),
        honest.signed("the message's beginning", e(DEFAULT_ID, &honest.key, &MESSAGE[..13])),
        honest.signed("another identifier", e(b"1234567812345679", &honest.key, MESSAGE)),
        honest.signed("the identifier and a zero byte", e(b"1234567812345678\0", &honest.key, MESSAGE)),
        honest.signed("an empty identifier", e(b"", &honest.key, MESSAGE)),
        honest.signed("Z of another key", e(DEFAULT_ID, &other.key, MESSAGE)),
        honest.signed("Z of the negated key", e(DEFAULT_ID, &negate_y(&honest.key), MESSAGE)),
        honest.signed("Z with x and y exchanged", e(DEFAULT_ID, &join((y, x)), MESSAGE)),
        honest.signed("no Z", digest(&[MESSAGE])),
        honest.signed("e turned around", reversed),
        honest.signed("the digest of the digest", digest(&[&honest.e])),
        honest.words("another signer", other.signature),
    ]
}

/// Encodings of keys that are none, or none of this signer.
fn keys(honest: &Honest) -> Vec<Case> {
    let (x, y) = halves(&honest.key);
    let sec1 = |tag: u8, parts: &[&[u8]]| [&[tag], &parts.concat()[..]].concat();
    let parity = y[31] & 1;
    vec![
        honest.key("another key", key_of(&reduce(&[0x40; 32]))),
        honest.key("the negated key", negate_y(&honest.key)),
        honest.key("x and y exchanged", join((y, x))),
        honest.sec1("key compressed, the other parity", sec1(3 - parity, &[&x]), false),
        honest.sec1("key in hybrid form", sec1(6 + parity, &[&x, &y]), false),
        honest.sec1("key in hybrid form, the other parity", sec1(7 - parity, &[&x, &y]), false),
        honest.sec1("key in compact form", sec1(5, &[&x]), false),
        honest.sec1("key of no bytes", vec![], false),
        honest.sec1("key is infinity's one byte", vec![0], false),
        honest.sec1("key without a tag", honest.key.to_vec(), false),
        honest.sec1("key cut by a byte", sec1(4, &[&x, &y[..31]]), false),
        honest.sec1("key with a byte behind", sec1(4, &[&x, &y, &[0]]), false),
        honest.sec1("compressed key as long as an uncompressed one", sec1(2 + parity, &[&x, &y]), false),
        honest.sec1("uncompressed key as short as a compressed one", sec1(4, &[&x]), false),
        honest.sec1("compressed key, x is p", sec1(2, &[&P]), false),
        honest.sec1("compressed key, x on no point", sec1(2, &[&without_point()]), false),
    ]
}

/// The smallest x of no point.
fn without_point() -> [u8; 32] {
    let candidates = (1..).map(|i| shift(&[0; 32], i));
    let is_point = |x: &[u8; 32]| sm2::PublicKey::from_sec1_bytes(&[&[2], &x[..]].concat()).is_ok();
    candidates.into_iter().find(|x| !is_point(x)).expect("half of all")
}

/// The point of the smallest x from `from` on.
fn point_from(from: &[u8; 32]) -> [u8; 64] {
    let candidates = (0..).map(|i| [&[2], &shift(from, i)[..]].concat());
    let read = |sec1: Vec<u8>| bixi_accel::sm2::PublicKey::from_sec1(&sec1).ok();
    candidates.into_iter().find_map(read).expect("half of all").to_bytes()
}

fn number<const BYTES: usize>(text: &str) -> [u8; BYTES] {
    hex::decode(text).expect("hex").try_into().expect("length")
}

/// Coordinates that are no point of this curve.
fn points(honest: &Honest) -> Vec<Case> {
    let (x, y) = halves(&honest.key);
    let small = point_from(&[0; 32]);
    let (small_x, small_y) = halves(&small);
    let past = |word: &[u8; 32]| (0..i64::from(word[31])).fold(P, |sum, _| shift(&sum, 1));
    vec![
        honest.key("zeros", [0; 64]),
        honest.key("ones", [0xff; 64]),
        honest.key("y + 1", join((x, shift(&y, 1)))),
        honest.key("x + 1", join((shift(&x, 1), y))),
        honest.key("y is 0", join((x, [0; 32]))),
        honest.key("x is p", join((P, halves(&point_from(&[0; 32])).1))),
        honest.key("y is p", join((x, P))),
        honest.key("y is 2^256 - 1", join((x, [0xff; 32]))),
        honest.key("a small point's x, plus p", join((past(&small_x), small_y))),
        honest.key(
            "the generator of P-256",
            number(concat!(
                "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
            )),
        ),
        honest.key(
            "the generator of secp256k1",
            number(concat!(
                "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
                "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
            )),
        ),
        honest.key(
            "the generator of the standard's example curve",
            number(concat!(
                "421debd61b62eab6746434ebc3cc315e32220b3badd50bdc4c4e6c147fedd43d",
                "0680512bcbb42c07d47349d2153b70c4e5d7fdfcbfa36ea1a85841b9e46e09a2"
            )),
        ),
        // y² = x³ - 3x + b' for another b': the same formulas never look at b, so only the check of the key refuses it.
        honest.key("a point of the curve with b + 1", invalid_curve_point()),
    ]
}

/// `(x, y)` with `y² = x³ - 3x + b'`, b' = y² - x³ + 3x of two small numbers.
fn invalid_curve_point() -> [u8; 64] {
    join((shift(&[0; 32], 2), shift(&[0; 32], 3)))
}

/// Everything near DER that is not the one encoding.
fn der(honest: &Honest) -> Vec<Case> {
    let (r, s) = honest.signature;
    let good = bixi_accel::sm2::Signature(join(honest.signature)).to_der();
    let body = &good[2..];
    let r_length = usize::from(body[1]);
    let (r_der, s_der) = body.split_at(2 + r_length);
    let sequence = |body: &[&[u8]]| {
        let body = body.concat();
        [&[0x30, body.len() as u8], &body[..]].concat()
    };
    let integer = |digits: &[u8]| [&[2, digits.len() as u8], digits].concat();
    let relabelled = |at: usize, byte: u8| {
        let mut der = good.clone();
        der[at] = byte;
        der
    };
    let long = |length: &[u8]| [&[0x30][..], length, body].concat();
    let alias = [&[1][..], &shift(&r, 0)].concat();
    vec![
        honest.der("DER of nothing", vec![]),
        honest.der("DER, only a tag", vec![0x30]),
        honest.der("DER, an empty sequence", vec![0x30, 0]),
        honest.der("DER, raw bytes instead", join((r, s)).to_vec()),
        honest.der("DER, length in two bytes", long(&[0x81, body.len() as u8])),
        honest.der("DER, length in three bytes", long(&[0x82, 0, body.len() as u8])),
        honest.der("DER, indefinite length", [&[0x30, 0x80], body, &[0, 0]].concat()),
        honest.der("DER, length one more", relabelled(1, good[1] + 1)),
        honest.der("DER, length one less", relabelled(1, good[1] - 1)),
        honest.der("DER, a byte behind", [&good[..], &[0]].concat()),
        honest.der("DER, a byte behind, inside", sequence(&[body, &[0]])),
        honest.der("DER, cut by a byte", good[..good.len() - 1].to_vec()),
        honest.der("DER, a third number", sequence(&[body, &integer(&[1])])),
        honest.der("DER, r alone", sequence(&[r_der])),
        honest.der("DER, a set", relabelled(0, 0x31)),
        honest.der("DER, r a string of octets", relabelled(2, 0x04)),
        honest.der("DER, s an enumeration", relabelled(4 + r_length, 0x0a)),
        honest.der("DER, r with a zero more", sequence(&[&integer(&[&[0], &r_der[2..]].concat()), s_der])),
        honest.der("DER, s with a zero more", sequence(&[r_der, &integer(&[&[0], &s_der[2..]].concat())])),
        honest.der("DER, r negative", sequence(&[&integer(&flip(r, 255 * usize::from(r[0] < 0x80))), s_der])),
        honest.der("DER, s negative by sign", sequence(&[r_der, &integer(&[&[0xff], &s[..]].concat())])),
        honest.der("DER, r of no bytes", sequence(&[&integer(&[]), s_der])),
        honest.der("DER, r of 33 bytes", sequence(&[&integer(&alias), s_der])),
        honest.der("DER, r and s are 0", sequence(&[&integer(&[0]), &integer(&[0])])),
        honest.der("DER, r's length in two bytes", {
            let r_long = [&[2, 0x81, r_length as u8], &r_der[2..]].concat();
            sequence(&[&r_long, s_der])
        }),
        honest.der("DER in DER", sequence(&[&good])),
    ]
}

pub(crate) fn digests() -> Vec<Digest> {
    let small_x = point_from(&[0; 32]);
    let past_n = point_from(&N);
    let (zero_x, minus_g) = (point_with_zero_x(), key_of(&-Scalar::ONE));
    let (one, d) = (Scalar::ONE, private());
    let holds = |name, key, s: &Scalar, t: &Scalar| arranged(name, key, s, t);
    let honest = holds("arranged, the key is another", key_of(&d), &Scalar::from(7u64), &Scalar::from(11u64));
    let small_s = holds("arranged, s is 1", key_of(&d), &one, &reduce(&[0x11; 32]));
    let small_r = holds("arranged, r is 1", key_of(&d), &reduce(&[0x12; 32]), &(reduce(&[0x12; 32]) + one));
    let (r, s) = halves(&small_s.signature);
    let (r1, s1) = halves(&small_r.signature);
    let plus_n = |word: &[u8; 32]| shift(&N, i64::from(word[31]));
    let reduced = reduce(&past_n.first_chunk().copied().expect("x"));
    vec![
        // B7 compares modulo n: a point with n <= x1 < p has two candidates.
        second_candidate("x1 is above n, r is e + x1 - n", &past_n, &reduced, true),
        second_candidate("x1 is above n, r is one more", &past_n, &(reduced + one), false),
        Digest { name: "s is 1 + n", signature: join((r, plus_n(&s))), valid: false, ..small_s_copy(&small_s) },
        Digest { name: "r is 1 + n", signature: join((plus_n(&r1), s1)), valid: false, ..small_s_copy(&small_r) },
        Digest { name: "e + 1", e: shift(&honest.e, 1), valid: false, ..small_s_copy(&honest) },
        Digest { name: "e is 0 and no signature of it", e: [0; 32], valid: false, ..small_s_copy(&honest) },
        holds("arranged, x of the key is 0", zero_x, &reduce(&[0x21; 32]), &reduce(&[0x22; 32])),
        holds("arranged, x of the key is small", small_x, &reduce(&[0x23; 32]), &reduce(&[0x24; 32])),
        // d = n - 1 makes no signature by A6, but B1 to B7 do not exclude the key.
        holds("arranged, the key is -G", minus_g, &reduce(&[0x25; 32]), &reduce(&[0x26; 32])),
        // Additions of equal and of opposite points.
        holds("arranged, [s]G is [t]P", key_of(&Scalar::from(2u64)), &Scalar::from(6u64), &Scalar::from(3u64)),
        holds("arranged, the key is G, s is t - 1", key_of(&one), &Scalar::from(32u64), &Scalar::from(33u64)),
        holds("arranged, t is n - 1", key_of(&d), &reduce(&[0x27; 32]), &-one),
        holds("arranged, s is n - 1", key_of(&d), &-one, &reduce(&[0x28; 32])),
        honest,
        small_s,
        small_r,
    ]
}

fn small_s_copy(case: &Digest) -> Digest {
    Digest { name: case.name, key: case.key, e: case.e, signature: case.signature, valid: case.valid }
}

/// The digest for which chosen `s` and `t` hold.
fn arranged(name: &'static str, key: [u8; 64], s: &Scalar, t: &Scalar) -> Digest {
    let r = *t - *s;
    let e = r - x_of_sum(&key, s, t).expect("not infinity");
    Digest { name, key, e: to_bytes(&e), signature: join((to_bytes(&r), to_bytes(s))), valid: true }
}

/// A claim whose point is `point`, the key being `[1/t](point - [s]G)`: `r = e + x`.
fn second_candidate(name: &'static str, point: &[u8; 64], x: &Scalar, valid: bool) -> Digest {
    let (s, t) = (reduce(&[0x31; 32]), reduce(&[0x32; 32]));
    let r = t - s;
    let key = recover(point, &s, &t);
    Digest { name, key, e: to_bytes(&(r - *x)), signature: join((to_bytes(&r), to_bytes(&s))), valid }
}

fn recover(point: &[u8; 64], s: &Scalar, t: &Scalar) -> [u8; 64] {
    use sm2::elliptic_curve::sec1::ToSec1Point;
    let point = sm2::PublicKey::from_sec1_bytes(&[&[4], &point[..]].concat()).expect("a point");
    let base = sm2::ProjectivePoint::GENERATOR;
    let key = (sm2::ProjectivePoint::from(*point.as_affine()) - base * *s) * inverse(*t);
    key.to_affine().to_sec1_point(false).as_bytes()[1..].try_into().expect("64 bytes")
}

/// `(0, √b)`.
fn point_with_zero_x() -> [u8; 64] {
    bixi_accel::sm2::PublicKey::from_sec1(&[&[2], &[0; 32][..]].concat()).expect("b is a square").to_bytes()
}
