//! SM3: one stream, many messages, what is keyed, and LtHash.

use super::inputs::{self, Placed};
use super::{Seen, oracle};
use arbitrary::{Result, Unstructured};
use bixi_accel::sm3;

/// One message in any parts, at once, and resumed from a copy.
pub(crate) fn stream(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let length = inputs::length(u, 70_000)?;
    let data = inputs::bytes(u, length)?;
    let data = Placed::new(u, &data)?;
    let expected = oracle::digest(&[data.get()]);
    assert_eq!(sm3::digest(data.get()), expected, "{length} bytes at once");
    let mut hasher = sm3::Hasher::new();
    let mut left = data.get();
    while !left.is_empty() {
        let part = if u.ratio(1, 8)? { left.len() } else { inputs::length(u, left.len())?.max(1) };
        let (now, later) = left.split_at(part);
        if u.ratio(1, 4)? {
            let mut copy = hasher.clone();
            copy.update(left);
            assert_eq!(copy.finalize(), expected, "a copy {} bytes before the end", left.len());
        }
        hasher.update(now);
        left = later;
    }
    assert_eq!(hasher.finalize(), expected, "{length} bytes in parts");
    seen.add(&expected);
    Ok(())
}

/// Messages that overlap each other, whole and in parts.
pub(crate) fn many(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let lanes = *u.choose(&[1, 4, 8, 16, 32, 48])?;
    let count = inputs::count(u, lanes, 150)?;
    let memory = inputs::bytes(u, 9000)?;
    let memory = Placed::new(u, &memory)?;
    let alike = inputs::length(u, 4000)?;
    let mut messages: Vec<&[u8]> = Vec::new();
    for _ in 0..count {
        let length = if u.ratio(1, 2)? { alike } else { inputs::length(u, 8000)? };
        let start = u.int_in_range(0..=1000)?;
        messages.push(&memory.get()[start..start + length]);
    }
    let expected: Vec<[u8; 32]> = messages.iter().map(|message| oracle::digest(&[message])).collect();
    let mut out = vec![[0xa5; 32]; count];
    sm3::digest_many(&messages, &mut out);
    assert_eq!(out, expected, "{count} messages");
    let mut parts: Vec<Vec<&[u8]>> = Vec::new();
    for message in &messages {
        let mut cut = vec![*message];
        for _ in 0..u.int_in_range(0..=3)? {
            let last = cut.pop().unwrap_or_default();
            let (a, b) = last.split_at(inputs::length(u, last.len())?);
            cut.extend([a, b]);
        }
        parts.push(cut);
    }
    out.fill([0x5a; 32]);
    sm3::digest_many_parts(&parts, &mut out);
    assert_eq!(out, expected, "{count} messages in parts");
    memory.assert_fenced();
    seen.add(out.as_flattened());
    Ok(())
}

/// HMAC alone and of many, HKDF, and the key derivation function.
pub(crate) fn keyed(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let key = inputs::length(u, 200)?;
    let key = inputs::bytes(u, key)?;
    let begun = inputs::length(u, 300)?;
    let begun = inputs::bytes(u, begun)?;
    let mut mac = sm3::Hmac::new(&key);
    mac.update(&begun);
    let count = inputs::count(u, 48, 100)?;
    let longest = inputs::length(u, 2000)?;
    let data = inputs::bytes(u, longest + count)?;
    let messages: Vec<&[u8]> = (0..count).map(|i| &data[i..i + longest.saturating_sub(i * (longest % 7))]).collect();
    let mut tags = vec![[0; 32]; count];
    mac.finalize_many(&messages, &mut tags);
    for (message, tag) in messages.iter().zip(&tags) {
        assert_eq!(*tag, oracle::hmac(&key, &[&begun, message]));
    }
    if let (Some(message), Some(tag)) = (messages.first(), tags.first()) {
        let mut one = mac.clone();
        one.update(message);
        assert!(one.clone().verify(tag));
        let mut wrong = *tag;
        wrong[u.int_in_range(0..=31)?] ^= 1 << u.int_in_range(0..=7)?;
        assert!(!one.verify(&wrong));
    }
    seen.add(tags.as_flattened());

    let prk = sm3::hkdf::extract(&begun, &key);
    assert_eq!(prk, oracle::hmac(&begun, &[&key]));
    let mut out = vec![0; inputs::length(u, sm3::hkdf::OUTPUT_BYTES_MAX)?];
    sm3::hkdf::expand(&prk, &[&key, &begun], &mut out);
    assert_eq!(out, oracle::hkdf_expand(&prk, &[&key, &begun].map(|part| &part[..]).concat(), out.len()));
    seen.add(&out);
    sm3::kdf(&begun, &mut out);
    assert_eq!(out, oracle::kdf(&begun, out.len()));
    seen.add(&out);
    Ok(())
}

/// Additions and removals by the definition, in any order and number.
pub(crate) fn lthash(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let seeds = |u: &mut Unstructured<'_>| -> Result<Vec<[u8; 32]>> {
        let count = if u.ratio(1, 8)? { u.int_in_range(46..=50)? } else { u.int_in_range(0..=5)? };
        (0..count).map(|_| Ok(inputs::bytes(u, 32)?.try_into().expect("32 bytes"))).collect()
    };
    let (removed, added) = (seeds(u)?, seeds(u)?);
    let start: u16 = u.arbitrary()?;
    let mut sum = [start; sm3::lthash::LANES];
    let mut expected = sum;
    sm3::lthash::update(&mut sum, &removed, &added);
    for (seeds, sign) in [(&removed, u16::MAX), (&added, 1)] {
        for seed in seeds {
            for index in 0..64u32 {
                let digest = oracle::digest(&[seed, &index.to_le_bytes()]);
                for (lane, bytes) in expected[16 * index as usize..].iter_mut().zip(digest.as_chunks::<2>().0) {
                    *lane = lane.wrapping_add(sign.wrapping_mul(u16::from_le_bytes(*bytes)));
                }
            }
        }
    }
    assert_eq!(sum, expected);
    seen.add(&sum.map(u16::to_le_bytes).concat());
    sm3::lthash::update(&mut sum, &added, &removed);
    assert_eq!(sum, [start; sm3::lthash::LANES], "what was added can be removed");
    Ok(())
}
