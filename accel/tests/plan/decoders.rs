//! Decoders: any bytes are refused or read, never a panic; what is read has one encoding, and RustCrypto reads the same.

use super::inputs;
use super::{Seen, oracle};
use arbitrary::{Result, Unstructured};
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
