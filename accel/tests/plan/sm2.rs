//! SM2: verdicts on honest, broken and crafted signatures, one by one and in mixed batches; signatures and their nonces.
//!
//! Crafted: keys `[d]G` with a known `d` and chosen multipliers `s` and `t`, so that windows and combs meet equal and
//! opposite points and infinity on their way.

use super::inputs::{self, Generator};
use super::{Seen, oracle};
use ::sm2::Scalar;
use arbitrary::{Result, Unstructured};
use bixi_accel::sm2::{
    self, IdentifiedKey, KeyRef, PrivateKey, PublicKey, RegisteredKey, Registry, Signature, VerifyItem,
};
use std::collections::HashSet;
use std::sync::LazyLock;

/// A scalar other than zero.
fn scalar(u: &mut Unstructured<'_>) -> Result<Scalar> {
    let scalar = oracle::reduce(&inputs::integer(u)?);
    Ok(if scalar == Scalar::ZERO { Scalar::ONE } else { scalar })
}

/// A multiplier that tends to lead into exceptions: small, next to n, or a power of two, and its negative.
pub(crate) fn multiplier(u: &mut Unstructured<'_>) -> Result<Scalar> {
    let small = Scalar::from(u64::from(u.int_in_range(1u8..=40)?));
    let value = match u.int_in_range(0..=3)? {
        0 => small,
        1 => (0..u.int_in_range(0..=255)?).fold(small, |x, _| x + x),
        _ => scalar(u)?,
    };
    let value = if u.arbitrary()? { -value } else { value };
    Ok(if value == Scalar::ZERO { Scalar::ONE } else { value })
}

fn join(r: &Scalar, s: &Scalar) -> [u8; 64] {
    [oracle::to_bytes(r), oracle::to_bytes(s)].concat().try_into().expect("64 bytes")
}

/// A digest and a signature of chosen `s` and `t` under `[d]G` that holds, or misses by a little.
fn crafted(u: &mut Unstructured<'_>, d: &Scalar) -> Result<([u8; 32], [u8; 64])> {
    let t = multiplier(u)?;
    // One in four: [s]G + [t]P is infinity.
    let s = if u.ratio(1, 4)? { -(t * *d) } else { multiplier(u)? };
    let r = t - s;
    let x = oracle::base_multiple(&(s + t * *d)).map_or(Scalar::ONE, |xy| oracle::reduce(xy.first_chunk().expect("x")));
    let miss = if u.arbitrary()? { Scalar::ZERO } else { Scalar::from(u64::from(u.arbitrary::<u8>()?)) };
    let e = oracle::to_bytes(&(r - x + miss));
    // The digest is any 256 bits: e + n stands for e.
    let wraps = u.ratio(1, 4)? && e[..4] == [0; 4];
    Ok((if wraps { add_order(&e) } else { e }, join(&r, &s)))
}

fn add_order(e: &[u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    let mut out = [0; 32];
    for i in (0..32).rev() {
        let sum = u16::from(e[i]) + u16::from(inputs::N[i]) + carry;
        out[i] = sum as u8;
        carry = sum >> 8;
    }
    out
}

/// A private key: edges, or any.
fn private_key(u: &mut Unstructured<'_>) -> Result<Scalar> {
    let d = multiplier(u)?;
    Ok(if d == -Scalar::ONE { Scalar::ONE } else { d })
}

pub(crate) fn verify(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let d = private_key(u)?;
    let Some(key) = oracle::base_multiple(&d) else { return Ok(()) };
    let (e, signature) = if u.ratio(1, 4)? {
        (inputs::integer(u)?, [inputs::integer(u)?, inputs::integer(u)?].concat().try_into().expect("64 bytes"))
    } else {
        crafted(u, &d)?
    };
    let public = PublicKey::from_bytes(&key).expect("a point");
    let verdict = sm2::verify_digest(&public, &e, &Signature(signature));
    assert_eq!(verdict, oracle::verifies(&key, &e, &signature), "d {d:?} e {e:02x?} signature {signature:02x?}");
    let by_table = RegisteredKey::new(&public).verify_digest(&e, &Signature(signature));
    assert_eq!(by_table, verdict, "d {d:?} e {e:02x?} signature {signature:02x?}");
    seen.add(&[u8::from(verdict)]);
    Ok(())
}

/// A signer whose tables are built once for the process.
struct Signer {
    d: Scalar,
    private: PrivateKey,
    public: PublicKey,
    raw: [u8; 64],
    identified: IdentifiedKey,
    registered: RegisteredKey,
    /// With a wide table besides.
    wide: RegisteredKey,
}

const OTHER_ID: &[u8] = sm2::TLS_ID;

/// Keys of the smallest and largest multipliers, and others.
static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
    let ones = [Scalar::ONE, Scalar::from(2u64), Scalar::from(3u64), -Scalar::from(2u64), -Scalar::from(3u64)];
    let powers = [8, 128, 255].map(|i| (0..i).fold(Scalar::ONE, |x, _| x + x));
    let others = (0..5).map(|seed| oracle::reduce(&oracle::digest(&[&[seed]])));
    let registry = Registry::new(16);
    let wide = Registry::with_wide_tables(16, 16);
    let signer = |d: Scalar| {
        let private = PrivateKey::from_bytes(&oracle::to_bytes(&d)).expect("in range");
        let public = private.public_key();
        Signer {
            d,
            private,
            public,
            raw: public.to_bytes(),
            identified: IdentifiedKey::new(OTHER_ID, public),
            registered: registry.register(&public).expect("a place"),
            wide: wide.pin_wide(&public).expect("a place"),
        }
    };
    ones.into_iter().chain(powers).chain(others).map(signer).collect()
});

/// A signature of `message` by `signer`, honest or broken in one way.
fn any_signature(u: &mut Unstructured<'_>, signer: &Signer, id: &[u8], message: &[u8]) -> Result<[u8; 64]> {
    let mut signature = match u.int_in_range(0..=7)? {
        0 => crafted(u, &signer.d)?.1,
        1 => [inputs::integer(u)?, inputs::integer(u)?].concat().try_into().expect("64 bytes"),
        _ => sm2::sign(&signer.private, id, message, &mut Generator::new(u)?).expect("a signature").0,
    };
    match u.int_in_range(0..=11)? {
        0 => signature[u.int_in_range(0..=63)?] ^= 1 << u.int_in_range(0..=7)?,
        1 => signature.rotate_left(32),
        2 => {
            let s = -oracle::reduce(signature.last_chunk().expect("s"));
            signature[32..].copy_from_slice(&oracle::to_bytes(&s));
        }
        _ => {}
    }
    Ok(signature)
}

pub(crate) fn verify_batch(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let count = inputs::count(u, 8, 40)?;
    let memory = inputs::noise(u.arbitrary()?, 20_000);
    let mut signatures = Vec::new();
    let mut choices = Vec::new();
    for _ in 0..count {
        let (signer, form) = (u.choose(&SIGNERS)?, u.int_in_range(0..=4)?);
        let length = if u.ratio(1, 16)? { u.int_in_range(16_380..=16_390)? } else { inputs::length(u, 300)? };
        let message = &memory[u.int_in_range(0..=500)?..][..length];
        let id = if form == 2 { OTHER_ID } else { sm2::DEFAULT_ID };
        signatures.push(any_signature(u, signer, id, message)?);
        let mut raw = signer.raw;
        if form == 4 {
            raw[u.int_in_range(0..=63)?] ^= 1 << u.int_in_range(0..=7)?;
        }
        choices.push((signer, form, raw, message, id));
    }
    let items: Vec<VerifyItem<'_>> = choices
        .iter()
        .zip(&signatures)
        .map(|((signer, form, raw, message, _), signature)| {
            let key = match form {
                0 | 4 => KeyRef::Raw(raw),
                1 => KeyRef::Known(&signer.public),
                2 => KeyRef::Identified(&signer.identified),
                _ => KeyRef::Registered(signer.registered.clone()),
            };
            VerifyItem { key, message, signature }
        })
        .collect();
    let mut verdicts = vec![u.arbitrary()?; count];
    sm2::verify_batch(&items, &mut verdicts);
    for (i, (_, form, raw, message, id)) in choices.iter().enumerate() {
        let expected = oracle::verifies(raw, &oracle::message_digest(id, raw, message), &signatures[i]);
        assert_eq!(verdicts[i], expected, "item {i} of {count}, form {form}, signature {:02x?}", signatures[i]);
    }
    seen.add(&verdicts.iter().map(|&verdict| u8::from(verdict)).collect::<Vec<_>>());
    Ok(())
}

/// Few signatures, each many times over, in batches so large that additions of points share their inversions: a lane whose points meet
/// must not touch another.
pub(crate) fn verify_many(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let message = inputs::bytes(u, 40)?;
    let mut distinct = Vec::new();
    for _ in 0..u.int_in_range(1..=5)? {
        let signer = u.choose(&SIGNERS)?;
        let signature = match u.ratio(1, 3)? {
            true => crafted(u, &signer.d)?.1,
            false => any_signature(u, signer, sm2::DEFAULT_ID, &message)?,
        };
        let key = match u.int_in_range(0..=3)? {
            0 => KeyRef::Known(&signer.public),
            1 => KeyRef::Registered(signer.wide.clone()),
            _ => KeyRef::Registered(signer.registered.clone()),
        };
        let digest = oracle::message_digest(sm2::DEFAULT_ID, &signer.raw, &message);
        distinct.push((key, signature, oracle::verifies(&signer.raw, &digest, &signature)));
    }
    let count = u.int_in_range(16..=160)?;
    let (run, order) = (u.int_in_range(1..=24)?, inputs::noise(u.arbitrary()?, count));
    // In turn, runs of one, or any.
    let chosen: Vec<_> = match u.int_in_range(0..=2)? {
        0 => (0..count).collect(),
        1 => (0..count).map(|i| i / run).collect(),
        _ => order.iter().map(|byte| usize::from(*byte)).collect(),
    };
    let of = |i: &usize| &distinct[i % distinct.len()];
    let items =
        chosen.iter().map(of).map(|(key, signature, _)| VerifyItem { key: key.clone(), message: &message, signature });
    let items: Vec<VerifyItem<'_>> = items.collect();
    let mut verdicts = vec![u.arbitrary()?; count];
    sm2::verify_batch(&items, &mut verdicts);
    for (i, verdict) in verdicts.iter().enumerate() {
        let (key, signature, expected) = of(&chosen[i]);
        assert_eq!(verdict, expected, "item {i} of {count}, {key:?}, signature {signature:02x?}");
    }
    seen.add(&verdicts.iter().map(|&verdict| u8::from(verdict)).collect::<Vec<_>>());
    Ok(())
}

/// The nonce a signature was made with: `k = s (1 + d) + r d`.
fn nonce(d: &Scalar, signature: &[u8; 64]) -> Scalar {
    let [r, s] = [0, 32].map(|at| oracle::reduce(signature[at..at + 32].try_into().expect("32 bytes")));
    s * (Scalar::ONE + *d) + r * *d
}

pub(crate) fn sign(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let d = private_key(u)?;
    let private = PrivateKey::from_bytes(&oracle::to_bytes(&d)).expect("in range");
    let key = private.public_key().to_bytes();
    assert_eq!(Some(key), oracle::base_multiple(&d));
    let e = inputs::integer(u)?;
    let signature = sm2::sign_digest(&private, &e, &mut Generator::new(u)?).expect("a signature");
    assert!(oracle::verifies(&key, &e, &signature.0) && sm2::verify_digest(&private.public_key(), &e, &signature));
    assert!(nonce(&d, &signature.0) != Scalar::ZERO);
    seen.add(&signature.0);
    Ok(())
}

pub(crate) fn sign_batch(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let signer = u.choose(&SIGNERS)?;
    let lanes = *u.choose(&[1, 8, 64])?;
    let count = inputs::count(u, lanes, 150)?;
    let alike = inputs::integer(u)?;
    let mut digests = vec![alike; count];
    for digest in &mut digests {
        if u.ratio(1, 3)? {
            *digest = inputs::integer(u)?;
        }
    }
    let mut rng = Generator::new(u)?;
    let mut forked = rng.clone();
    let signatures = sm2::sign_digest_batch(&signer.private, &digests, &mut rng).expect("signatures");
    assert_eq!(signatures.len(), count);
    let mut nonces = HashSet::new();
    for (i, (e, signature)) in digests.iter().zip(&signatures).enumerate() {
        assert!(sm2::verify_digest(&signer.public, e, signature), "{i} of {count}");
        // The slower second opinion on a few.
        assert!(i % 16 != 0 || oracle::verifies(&signer.raw, e, &signature.0), "{i} of {count}");
        assert!(nonces.insert(oracle::to_bytes(&nonce(&signer.d, &signature.0))), "a nonce twice, {i} of {count}");
        seen.add(&signature.0);
    }
    if let Some(last) = digests.last_mut() {
        // The other half of a fork, with the same randomness, signs nearly the same batch, and one digest alone: no nonce
        // of the first half serves another digest.
        last[u.int_in_range(0..=31)?] ^= 1 << u.int_in_range(0..=7)?;
        let alone = sm2::sign_digest(&signer.private, last, &mut forked.clone()).expect("a signature");
        let others = sm2::sign_digest_batch(&signer.private, &digests, &mut forked).expect("signatures");
        for signature in others.iter().chain([&alone]) {
            assert!(nonces.insert(oracle::to_bytes(&nonce(&signer.d, &signature.0))), "a nonce twice over a fork");
        }
    }
    Ok(())
}
