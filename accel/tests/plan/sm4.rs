//! SM4: blocks, counter mode, GCM alone and of many, XTS in both orders of tweaks.

use super::inputs::{self, Placed};
use super::{Seen, oracle};
use arbitrary::{Result, Unstructured};
use bixi_accel::sm4;

fn key(u: &mut Unstructured<'_>) -> Result<[u8; 16]> {
    Ok(inputs::bytes(u, 16)?.try_into().expect("16 bytes"))
}

/// A counter, often about to wrap in its last 4, 8 or all 16 bytes.
fn counter(u: &mut Unstructured<'_>) -> Result<[u8; 16]> {
    let mut counter: [u8; 16] = u.arbitrary()?;
    let ones = *u.choose(&[0, 0, 4, 8, 12, 16])?;
    counter[16 - ones..].fill(0xff);
    if ones > 0 {
        counter[15] -= u.int_in_range(0..=120u8)?;
    }
    Ok(counter)
}

fn placed(u: &mut Unstructured<'_>, min: usize, max: usize) -> Result<Placed> {
    let length = inputs::length(u, max)?.max(min);
    let data = inputs::bytes(u, length)?;
    Placed::new(u, &data)
}

pub(crate) fn blocks(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let key = key(u)?;
    let mut data = placed(u, 0, 40_000)?;
    let plain = data.get().to_vec();
    let (ours, cipher) = (sm4::Key::new(&key), oracle::Sm4::new(&key));
    ours.encrypt_blocks(data.get_mut().as_chunks_mut().0);
    let expected: Vec<[u8; 16]> = plain.as_chunks().0.iter().map(|block| cipher.encrypt(*block)).collect();
    assert_eq!(data.get().as_chunks().0, expected);
    seen.add(data.get());
    ours.decrypt_blocks(data.get_mut().as_chunks_mut().0);
    assert_eq!(data.get(), plain);
    data.assert_fenced();
    Ok(())
}

pub(crate) fn ctr(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let (key, counter) = (key(u)?, counter(u)?);
    let mut data = placed(u, 0, 70_000)?;
    let plain = data.get().to_vec();
    sm4::ctr::apply(&sm4::Key::new(&key), &counter, data.get_mut());
    assert_eq!(data.get(), oracle::Sm4::new(&key).ctr(counter, &plain));
    seen.add(data.get());
    data.assert_fenced();
    Ok(())
}

/// In pieces, the chain handed on.
pub(crate) fn cbc(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let (key, iv): (_, [u8; 16]) = (key(u)?, u.arbitrary()?);
    let mut data = placed(u, 0, 40_000)?;
    let whole = data.get().len() / 16 * 16;
    let plain = data.get()[..whole].to_vec();
    let (ours, cipher) = (sm4::Key::new(&key), oracle::Sm4::new(&key));
    let cut = u.int_in_range(0..=whole / 16)?;
    let mut previous = iv;
    let expected: Vec<[u8; 16]> = plain
        .as_chunks::<16>()
        .0
        .iter()
        .map(|block| {
            previous = cipher.encrypt(core::array::from_fn(|i| block[i] ^ previous[i]));
            previous
        })
        .collect();
    for (direction, after) in
        [(sm4::cbc::encrypt as fn(&_, &mut _, &mut _), expected.as_flattened()), (sm4::cbc::decrypt, &plain)]
    {
        let mut chain = iv;
        let (first, second) = data.get_mut()[..whole].as_chunks_mut().0.split_at_mut(cut);
        direction(&ours, &mut chain, first);
        direction(&ours, &mut chain, second);
        assert_eq!(&data.get()[..whole], after, "{whole} bytes cut at block {cut}");
        assert_eq!(chain, expected.last().copied().unwrap_or(iv), "the chain");
        seen.add(&data.get()[..whole]);
    }
    data.assert_fenced();
    Ok(())
}

pub(crate) fn gcm(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let (key, nonce) = (key(u)?, u.arbitrary()?);
    let aad = placed(u, 0, 3000)?;
    let mut data = placed(u, 0, 70_000)?;
    let plain = data.get().to_vec();
    let ours = sm4::gcm::Key::new(&key);
    let mut tag = sm4::gcm::seal(&ours, &nonce, aad.get(), data.get_mut());
    let sealed = oracle::gcm_seal(&key, &nonce, aad.get(), &plain);
    assert_eq!((data.get(), &tag[..]), sealed.split_at(plain.len()));
    seen.add(&sealed);
    let forged = u.ratio(1, 3)?;
    if forged {
        tag[u.int_in_range(0..=15)?] ^= 1 << u.int_in_range(0..=7)?;
    }
    let end = u.int_in_range(0..=plain.len())?;
    let part = u.int_in_range(0..=end)?..end;
    let mut in_part = data.get().to_vec();
    let opened = sm4::gcm::open_part(&ours, &nonce, aad.get(), &mut in_part, &tag, part.clone());
    assert_eq!(opened.is_ok(), !forged);
    assert!(if forged { in_part.iter().all(|&byte| byte == 0) } else { in_part[part.clone()] == plain[part.clone()] });
    let opened = sm4::gcm::open(&ours, &nonce, aad.get(), data.get_mut(), &tag);
    assert_eq!(opened.is_ok(), !forged);
    let expected = if forged { vec![0; plain.len()] } else { plain };
    assert_eq!(data.get(), expected, "forged: {forged}");
    data.assert_fenced();
    Ok(())
}

pub(crate) fn gcm_many(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let key = key(u)?;
    let ours = sm4::gcm::Key::new(&key);
    let count = u.int_in_range(0..=40)?;
    let alike = inputs::length(u, 5000)?;
    let (mut data, mut aads, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        data.push(if u.ratio(1, 2)? { placed(u, alike, alike)? } else { placed(u, 0, 5000)? });
        aads.push(placed(u, 0, 100)?);
        bad.push(u.ratio(1, 4)?);
    }
    let plain: Vec<Vec<u8>> = data.iter().map(|data| data.get().to_vec()).collect();
    let nonce = |i: usize| [i as u8 ^ 0x80; 12];
    let mut messages: Vec<sm4::gcm::Message<'_>> = data
        .iter_mut()
        .zip(&aads)
        .enumerate()
        .map(|(i, (data, aad))| sm4::gcm::Message {
            nonce: nonce(i),
            aad: aad.get(),
            data: data.get_mut(),
            tag: [0; 16],
        })
        .collect();
    sm4::gcm::seal_many(&ours, &mut messages);
    for (i, message) in messages.iter_mut().enumerate() {
        let expected = oracle::gcm_seal(&key, &nonce(i), aads[i].get(), &plain[i]);
        assert_eq!((&*message.data, &message.tag[..]), expected.split_at(plain[i].len()), "message {i} of {count}");
        seen.add(&expected);
        message.tag[i % 16] ^= u8::from(bad[i]);
    }
    let verdicts = sm4::gcm::open_many(&ours, &mut messages);
    for (i, message) in messages.iter().enumerate() {
        assert_eq!(verdicts[i], !bad[i]);
        assert!(if bad[i] { message.data.iter().all(|&byte| byte == 0) } else { *message.data == plain[i][..] });
    }
    data.iter().for_each(Placed::assert_fenced);
    Ok(())
}

pub(crate) fn xts(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let mut keys: [u8; 32] = inputs::bytes(u, 32)?.try_into().expect("32 bytes");
    keys[0] ^= u8::from(keys[..16] == keys[16..]);
    let tweak = inputs::bytes(u, 16)?.try_into().expect("16 bytes");
    let mut data = placed(u, 16, 40_000)?;
    let plain = data.get().to_vec();
    for (order, name) in [(sm4::xts::TweakOrder::Gbt17964, "GB"), (sm4::xts::TweakOrder::Ieee1619, "IEEE")] {
        let key = sm4::xts::Key::new(&keys, order).expect("halves differ");
        key.encrypt(&tweak, data.get_mut()).expect("a length");
        assert_eq!(
            data.get(),
            oracle::xts_encrypt(&keys, &tweak, name == "GB", &plain),
            "{name}, {} bytes",
            plain.len()
        );
        seen.add(data.get());
        key.decrypt(&tweak, data.get_mut()).expect("a length");
        assert_eq!(data.get(), plain, "{name}");
    }
    data.assert_fenced();
    Ok(())
}
