//! Decoders: any bytes are refused or read, never a panic; what is read has one encoding, and RustCrypto reads the same.

use super::inputs;
use super::{Seen, oracle};
use ::sm2::pkcs8::{DecodePrivateKey, DecodePublicKey};
use arbitrary::{Result, Unstructured};
use bixi_accel::sm2::encryption::{self, Ciphertext, Layout};
use bixi_accel::sm2::{PrivateKey, PublicKey, Signature};

/// Bytes that are a good encoding but for a few edits: a byte changed, removed or inserted, an end cut or grown.
fn nearly(u: &mut Unstructured<'_>, mut good: Vec<u8>) -> Result<Vec<u8>> {
    for _ in 0..u.int_in_range(0..=3)? {
        let at = u.int_in_range(0..=good.len())?;
        match u.int_in_range(0..=4)? {
            0 if at < good.len() => good[at] = u.arbitrary()?,
            1 if at < good.len() => drop(good.remove(at)),
            2 => good.insert(at, u.arbitrary()?),
            3 => good.truncate(at),
            _ => good.push(u.arbitrary()?),
        }
    }
    Ok(good)
}

fn rest(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(u.bytes(u.len())?.to_vec())
}

pub(crate) fn signature_der(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let der = if u.arbitrary()? {
        let good: [u8; 64] = [inputs::integer(u)?, inputs::integer(u)?].concat().try_into().expect("64 bytes");
        assert_eq!(Signature::from_der(&Signature(good).to_der()), Ok(Signature(good)));
        nearly(u, Signature(good).to_der())?
    } else {
        rest(u)?
    };
    let read = Signature::from_der(&der);
    if let Ok(signature) = &read {
        assert_eq!(signature.to_der(), der, "two encodings of one signature");
        seen.add(&signature.0);
    }
    // RustCrypto refuses numbers outside [1, n-1] as it reads.
    let theirs = ::sm2::dsa::Signature::from_der(&der).ok().map(|theirs| theirs.to_bytes().to_vec());
    let ours = read.ok().filter(|ours| ::sm2::dsa::Signature::from_slice(&ours.0).is_ok()).map(|ours| ours.0.to_vec());
    assert_eq!(ours, theirs, "{der:02x?}");
    Ok(())
}

pub(crate) fn public_key(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let sec1 = match u.int_in_range(0..=3)? {
        0 => rest(u)?,
        1 => [&[u.int_in_range(2..=3)?][..], &inputs::integer(u)?].concat(),
        form => {
            let k = oracle::reduce(&inputs::integer(u)?);
            let good = oracle::base_multiple(&k).unwrap_or([7; 64]);
            let compressed = [&[2 + (good[63] & 1)], &good[..32]].concat();
            nearly(u, if form == 2 { compressed } else { [&[4], &good[..]].concat() })?
        }
    };
    let read = PublicKey::from_sec1(&sec1);
    let theirs = ::sm2::PublicKey::from_sec1_bytes(&sec1).ok();
    // SEC 1's "compact" form, 05, is RustCrypto's extension.
    let theirs = theirs.filter(|_| sec1.first() != Some(&5)).map(|key| key.to_sec1_bytes().to_vec());
    if let Ok(key) = &read {
        seen.add(&key.to_sec1());
        assert_eq!(Some(key.to_sec1().to_vec()), theirs.as_ref().map(|theirs| uncompressed(theirs)));
        assert_eq!(PublicKey::from_bytes(&key.to_bytes()).as_ref(), Ok(key));
        assert_eq!(PublicKey::from_sec1(&key.to_sec1()).as_ref(), Ok(key));
        assert_eq!(PublicKey::from_sec1(&key.to_sec1_compressed()).as_ref(), Ok(key));
        assert!(key.to_sec1()[..] == sec1 || key.to_sec1_compressed()[..] == sec1, "two encodings of one key");
    }
    assert_eq!(read.is_ok(), theirs.is_some(), "{sec1:02x?}: {read:?}");
    Ok(())
}

/// RustCrypto's bytes of a key, brought to the form 04.
fn uncompressed(sec1: &[u8]) -> Vec<u8> {
    use ::sm2::elliptic_curve::sec1::ToSec1Point;
    let key = ::sm2::PublicKey::from_sec1_bytes(sec1).expect("its own bytes");
    key.as_affine().to_sec1_point(false).as_bytes().to_vec()
}

pub(crate) fn private_key(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let bytes = inputs::integer(u)?;
    let largest = inputs::shift(&inputs::N, -2);
    let read = PrivateKey::from_bytes(&bytes);
    assert_eq!(read.is_ok(), bytes != [0; 32] && bytes <= largest, "{bytes:02x?}");
    if let Ok(key) = read {
        assert_eq!(*key.to_bytes(), bytes);
        assert_eq!(Some(key.public_key().to_bytes()), oracle::base_multiple(&oracle::reduce(&bytes)));
        seen.add(&key.public_key().to_bytes());
    }
    Ok(())
}

/// A key in range, edges favoured.
fn some_key(u: &mut Unstructured<'_>) -> Result<PrivateKey> {
    let bytes = oracle::to_bytes(&oracle::reduce(&inputs::integer(u)?));
    Ok(PrivateKey::from_bytes(&bytes).unwrap_or_else(|_| PrivateKey::from_bytes(&[1; 32]).expect("in range")))
}

pub(crate) fn ciphertext(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let key = some_key(u)?;
    let length = inputs::length(u, 300)?.max(1);
    let text = inputs::bytes(u, length)?;
    let sealed = encryption::encrypt(&key.public_key(), &text, &mut inputs::Generator::new(u)?).expect("a length");
    let (good, der) = match u.int_in_range(0..=2)? {
        0 => (sealed.to_bytes(Layout::C1C3C2), false),
        1 => (sealed.to_bytes(Layout::C1C2C3), false),
        _ => (sealed.to_der(), true),
    };
    let bytes = if u.ratio(1, 4)? { rest(u)? } else { nearly(u, good)? };
    let read = if der {
        let read = Ciphertext::from_der(&bytes);
        assert!(read.as_ref().is_ok_and(|read| read.to_der() == bytes) || read.is_err(), "two encodings");
        read
    } else {
        let read = Ciphertext::from_bytes(&bytes, Layout::C1C3C2);
        let uncompressed = bytes.first() == Some(&4);
        assert!(!uncompressed || read.as_ref().map_or(true, |read| read.to_bytes(Layout::C1C3C2) == bytes));
        if let Ok(read) = &read {
            assert_eq!(Ciphertext::from_bytes(&read.to_bytes(Layout::C1C2C3), Layout::C1C2C3).as_ref(), Ok(read));
            assert_eq!(Ciphertext::from_der(&read.to_der()).as_ref(), Ok(read));
        }
        read
    };
    let opened = read.ok().and_then(|read| encryption::decrypt(&key, &read).ok());
    assert!(opened.as_ref().is_none_or(|opened| **opened == text), "another plaintext");
    seen.add(&opened.map_or(vec![], |opened| opened.to_vec()));
    Ok(())
}

pub(crate) fn public_key_der(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let good = some_key(u)?.public_key();
    assert_eq!(PublicKey::from_spki_der(&good.to_spki_der()).as_ref(), Ok(&good));
    let der = if u.ratio(1, 4)? { rest(u)? } else { nearly(u, good.to_spki_der().to_vec())? };
    if let Ok(key) = PublicKey::from_spki_der(&der) {
        let theirs = ::sm2::PublicKey::from_public_key_der(&der).expect("what we read, RustCrypto reads");
        assert_eq!(key.to_sec1().to_vec(), uncompressed(&theirs.to_sec1_bytes()));
        seen.add(&key.to_sec1());
    }
    Ok(())
}

pub(crate) fn private_key_der(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let good = some_key(u)?;
    let pkcs8: bool = u.arbitrary()?;
    let der = if pkcs8 { good.to_pkcs8_der().to_vec() } else { good.to_sec1_der().to_vec() };
    let der = if u.ratio(1, 4)? { rest(u)? } else { nearly(u, der)? };
    let read = if pkcs8 { PrivateKey::from_pkcs8_der(&der) } else { PrivateKey::from_sec1_der(&der) };
    if let Ok(key) = read {
        let theirs = if pkcs8 {
            ::sm2::SecretKey::from_pkcs8_der(&der).ok()
        } else {
            ::sm2::SecretKey::from_sec1_der(&der).ok()
        };
        // RustCrypto holds the parameters' names to others in a few places; where it reads, it reads the same key.
        assert!(theirs.is_none_or(|theirs| theirs.to_bytes()[..] == key.to_bytes()[..]), "{der:02x?}");
        assert_eq!(PrivateKey::from_pkcs8_der(&*key.to_pkcs8_der()).expect("its own").to_bytes(), key.to_bytes());
        assert_eq!(PrivateKey::from_sec1_der(&*key.to_sec1_der()).expect("its own").to_bytes(), key.to_bytes());
        seen.add(&*key.to_bytes());
    }
    Ok(())
}
