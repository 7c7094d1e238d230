//! SM2 encryption and key agreement: what one side makes the other reads, any change is refused, and the definition holds
//! by RustCrypto's arithmetic.

use super::inputs::{self, Generator};
use super::sm2::multiplier;
use super::{Seen, oracle};
use arbitrary::{Result, Unstructured};
use bixi_accel::sm2::encryption::{self, Ciphertext, Layout};
use bixi_accel::sm2::exchange::{self, ExchangeError, Initiator, Responder};
use bixi_accel::sm2::{self, IdentifiedKey, PrivateKey, PublicKey};

/// A private key, edges favoured.
fn private_key(u: &mut Unstructured<'_>) -> Result<PrivateKey> {
    let bytes = oracle::to_bytes(&oracle::reduce(&inputs::integer(u)?));
    Ok(PrivateKey::from_bytes(&bytes).unwrap_or_else(|_| PrivateKey::from_bytes(&[1; 32]).expect("in range")))
}

pub(crate) fn encryption(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let key = private_key(u)?;
    let length = inputs::length(u, 5000)?.max(1);
    let text = inputs::bytes(u, length)?;
    let sealed = encryption::encrypt(&key.public_key(), &text, &mut Generator::new(u)?).expect("a length");
    let bytes = sealed.to_bytes(Layout::C1C3C2);
    seen.add(&bytes);
    // GB/T 32918.4 7.1, B3 to B6.
    let (c1, rest) = bytes.split_first_chunk::<65>().expect("a point");
    let (c3, c2) = rest.split_first_chunk::<32>().expect("a digest");
    let shared = oracle::multiple(c1[1..].try_into().expect("64 bytes"), &oracle::reduce(&key.to_bytes()));
    let shared = shared.expect("finite");
    let stream = oracle::kdf(&shared, length);
    assert!(stream.iter().any(|&byte| byte != 0), "the standard asks for another k");
    assert_eq!(c2.iter().zip(&stream).map(|(a, b)| a ^ b).collect::<Vec<_>>(), text);
    assert_eq!(*c3, oracle::digest(&[&shared[..32], &text, &shared[32..]]));
    assert_eq!(*encryption::decrypt(&key, &sealed).expect("our own"), text);
    let mut changed = bytes.clone();
    let at = u.int_in_range(65..=bytes.len() - 1)?;
    changed[at] ^= 1 << u.int_in_range(0..=7)?;
    let changed = Ciphertext::from_bytes(&changed, Layout::C1C3C2).expect("the point is the same");
    assert!(encryption::decrypt(&key, &changed).is_err(), "a bit of byte {at} changed");
    Ok(())
}

/// Ciphertexts with multipliers of edges, made by the definition; some are changed. Each has the verdict that it has alone.
pub(crate) fn decrypt_batch(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let key = private_key(u)?;
    let public = key.public_key().to_bytes();
    let count = inputs::count(u, 8, 26)?;
    let mut made: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    for _ in 0..count {
        // Most of them are others again: the lanes see the same point beside different ones.
        if !made.is_empty() && u.ratio(2, 3)? {
            made.push(u.choose(&made)?.clone());
            continue;
        }
        let k = multiplier(u)?;
        let length = inputs::length(u, 80)?.max(1);
        let text = inputs::bytes(u, length)?;
        let shared = oracle::multiple(&public, &k).expect("finite");
        let stream = oracle::kdf(&shared, length);
        let mut bytes = vec![4];
        bytes.extend(oracle::base_multiple(&k).expect("finite"));
        bytes.extend(oracle::digest(&[&shared[..32], &text, &shared[32..]]));
        bytes.extend(text.iter().zip(&stream).map(|(a, b)| a ^ b));
        let changed = u.ratio(1, 4)?;
        if changed {
            let at = u.int_in_range(65..=bytes.len() - 1)?;
            bytes[at] ^= 1 << u.int_in_range(0..=7)?;
        }
        let refused = changed || stream.iter().all(|byte| *byte == 0);
        made.push((bytes, (!refused).then_some(text)));
    }
    let parse = |bytes| Ciphertext::from_bytes(bytes, Layout::C1C3C2).expect("a point");
    let ciphertexts: Vec<Ciphertext> = made.iter().map(|(bytes, _)| parse(bytes)).collect();
    let opened = encryption::decrypt_batch(&key, &ciphertexts);
    assert_eq!(opened.len(), count);
    for (i, (opened, (_, text))) in opened.iter().zip(&made).enumerate() {
        assert_eq!(opened.as_ref().ok().map(|text| &**text), text.as_ref(), "{i} of {count}");
        seen.add(opened.as_ref().map_or(&[], |text| text));
    }
    if let Some(first) = ciphertexts.first() {
        assert_eq!(encryption::decrypt(&key, first).ok(), opened[0].as_ref().ok().cloned());
    }
    Ok(())
}

/// Answers to many initiators at once, some of whom have points that cancel out; and plain Diffie-Hellman with each.
pub(crate) fn respond_batch(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let own = private_key(u)?;
    let known_own = IdentifiedKey::new(sm2::DEFAULT_ID, own.public_key());
    let count = inputs::count(u, 8, 18)?;
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push((private_key(u)?, u.ratio(1, 6)?));
    }
    let starts =
        keys.iter().map(|(key, _)| Initiator::start(key, sm2::DEFAULT_ID, &mut Generator::Constant(count as u8)));
    let starts: Vec<Initiator<'_>> = starts.collect::<core::result::Result<_, _>>().expect("ephemeral keys");
    // Whose points cancel out: P = [-x̄ r]G for R = [r]G.
    let r = multiplier(u)?;
    let ephemeral = oracle::base_multiple(&r).expect("finite");
    let cancels = oracle::base_multiple(&-(oracle::associate(&ephemeral) * r)).expect("finite");
    let public = |bytes| PublicKey::from_bytes(bytes).expect("a point");
    let identified = |key| IdentifiedKey::new(sm2::DEFAULT_ID, key);
    let peers: Vec<(IdentifiedKey, PublicKey)> = keys
        .iter()
        .zip(&starts)
        .map(|((key, lost), start)| match lost {
            true => (identified(public(&cancels)), public(&ephemeral)),
            false => (identified(key.public_key()), start.ephemeral()),
        })
        .collect();
    let references: Vec<_> = peers.iter().map(|(peer, ephemeral)| (peer, ephemeral)).collect();
    let answers = Responder::respond_batch(&own, sm2::DEFAULT_ID, &references, &mut Generator::new(u)?);
    let answers = answers.expect("randomness");
    assert_eq!(answers.len(), count);
    for (i, ((answer, start), (_, lost))) in answers.into_iter().zip(starts).zip(&keys).enumerate() {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                assert!(*lost && error == ExchangeError::Infinity, "{i} of {count}: {error}");
                seen.add(b"infinity");
                continue;
            }
        };
        assert!(!lost, "{i} of {count}");
        let (secret, back) = start
            .finish_confirmed(&known_own, &answer.ephemeral(), &answer.confirmation())
            .expect("the responder's own");
        let mut derived = [[0; 40]; 2];
        secret.derive(&mut derived[0]);
        answer.finish_confirmed(&back).expect("the initiator's own").derive(&mut derived[1]);
        assert_eq!(derived[0], derived[1], "{i} of {count}");
        seen.add(&derived[0]);
    }
    if let Some((peer, _)) = peers.first() {
        let shared = oracle::multiple(&peer.key().to_bytes(), &oracle::reduce(&own.to_bytes())).expect("finite");
        assert_eq!(*exchange::diffie_hellman(&own, peer.key()), shared[..32]);
    }
    Ok(())
}

pub(crate) fn exchange(u: &mut Unstructured<'_>, seen: &mut Seen) -> Result<()> {
    let (a, b) = (private_key(u)?, private_key(u)?);
    let (length_a, length_b) = (inputs::length(u, 100)?, inputs::length(u, 100)?);
    let (id_a, id_b) = (inputs::bytes(u, length_a)?, inputs::bytes(u, length_b)?);
    let [known_a, known_b] = [(&id_a, &a), (&id_b, &b)].map(|(id, key)| IdentifiedKey::new(id, key.public_key()));
    let initiator = Initiator::start(&a, &id_a, &mut Generator::new(u)?).expect("an ephemeral key");
    let first = initiator.ephemeral();
    let responder = Responder::respond(&b, &id_b, &known_a, &first, &mut Generator::new(u)?).expect("an agreement");
    let mut confirmation = responder.confirmation();
    let forged = u.ratio(1, 4)?;
    if forged {
        confirmation[u.int_in_range(0..=31)?] ^= 1 << u.int_in_range(0..=7)?;
    }
    let agreed = initiator.finish_confirmed(&known_b, &responder.ephemeral(), &confirmation);
    assert_eq!(agreed.is_ok(), !forged);
    let Ok((secret, back)) = agreed else { return Ok(()) };
    let mut keys = [vec![0; 1 + inputs::length(u, 300)?], vec![]];
    keys[1] = keys[0].clone();
    secret.derive(&mut keys[0]);
    responder.finish_confirmed(&back).expect("the initiator's own").derive(&mut keys[1]);
    assert_eq!(keys[0], keys[1]);
    seen.add(&keys[0]);
    seen.add(&back);
    Ok(())
}
