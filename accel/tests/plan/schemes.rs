//! SM2 encryption and key agreement: what one side makes the other reads, any change is refused, and the definition holds
//! by RustCrypto's arithmetic.

use super::inputs::{self, Generator};
use super::{Seen, oracle};
use arbitrary::{Result, Unstructured};
use bixi_accel::sm2::encryption::{self, Ciphertext, Layout};
use bixi_accel::sm2::exchange::{Initiator, Responder};
use bixi_accel::sm2::{IdentifiedKey, PrivateKey};

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
