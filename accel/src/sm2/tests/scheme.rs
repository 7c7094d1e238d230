use super::super::scalar::Scalar;
use super::super::*;
use super::bytes;
use crate::Seeded;
use crate::{Random, RandomError};
use proptest::prelude::*;

const ANNEX_D: &str = "3945208F 7B2144B1 3F36E38A C6D39F95 88939369 2860B51A 42FB81EF 4DF7C5B8";
const ANNEX_P: &str = "09F9DF31 1E5421A1 50DD7D16 1E4BC5C6 72179FAD 1833FC07 6BB08FF3 56F35020\
                       CCEA490C E26775A5 2DC6EA71 8CC1AA60 0AED05FB F35E084A 6632F607 2DA9AD13";
const ANNEX_K: &str = "59276E27 D506861A 16680F3A D9C02DCC EF3CC1FA 3CDBE4CE 6D54B80D EAC1BC21";
const ANNEX_SIGNATURE: &str = "F5A03B06 48D2C463 0EEAC513 E1BB81A1 5944DA38 27D5B741 43AC7EAC EEE720B3\
                               B1B6AA29 DF212FD8 763182BC 0D421CA1 BB9038FD 1F7F42D4 840B69C4 85BBC1AA";

/// n - 1 and n, big endian.
const N_LESS_ONE: &str = "FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54122";
const N: &str = "FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123";

fn key(seed: u64) -> PrivateKey {
    PrivateKey::generate(&mut Seeded::new(seed << 32)).unwrap()
}

#[test]
fn matches_the_example_of_gbt_32918_5_annex_a() {
    let key = PrivateKey::from_bytes(&bytes(ANNEX_D)).unwrap();
    assert_eq!(key.public_key().to_bytes(), bytes::<64>(ANNEX_P));
    let z = identity_digest(DEFAULT_ID, &key.public_key());
    assert_eq!(z, bytes("B2E14C5C 79C6DF5B 85F4FE7E D8DB7A26 2B9DA7E0 7CCB0EA9 F4747B8C CDA8A4F3"));
    let e = message_digest(&z, b"message digest");
    assert_eq!(e, bytes("F0B43E94 BA45ACCA ACE692ED 534382EB 17E6AB5A 19CE7B31 F4486FDF C0D28640"));
    let k = Scalar::from_be_bytes(&bytes(ANNEX_K)).unwrap();
    let signature = sign::sign_with_nonce(&key, &e, &k).unwrap();
    assert_eq!(signature.0, bytes::<64>(ANNEX_SIGNATURE));
    assert!(verify(&key.public_key(), DEFAULT_ID, b"message digest", &signature));
}

#[test]
fn a_pair_is_told_by_the_one_digest_that_it_signed() {
    let pair = key(9);
    let (signed, other) = ([7; 32], [8; 32]);
    let signature = sign_digest(&pair, &signed, &mut Seeded::new(9)).unwrap();
    let tells = |key: &PrivateKey, digests| verify::tells_apart(&key.public_key(), digests, &signature);
    assert!(tells(&pair, [&signed, &other]));
    assert!(!tells(&pair, [&signed, &signed]) && !tells(&pair, [&other, &signed]) && !tells(&pair, [&other, &other]));
    assert!(!tells(&key(10), [&signed, &other]));
    assert!(!verify::tells_apart(&pair.public_key(), [&signed, &other], &Signature([0; 64])));
}

#[test]
fn private_keys_outside_one_to_n_minus_two_are_refused() {
    for refused in ["00".repeat(32), N_LESS_ONE.into(), N.into(), "ff".repeat(32)] {
        assert_eq!(PrivateKey::from_bytes(&bytes(&refused)).unwrap_err(), KeyError::Range, "{refused}");
    }
    let mut largest: [u8; 32] = bytes(N_LESS_ONE);
    largest[31] -= 1;
    let mut one = [0; 32];
    one[31] = 1;
    for accepted in [largest, one] {
        let key = PrivateKey::from_bytes(&accepted).unwrap();
        assert_eq!(*key.to_bytes(), accepted);
        let signature = sign(&key, DEFAULT_ID, b"edge", &mut Seeded::new(1)).unwrap();
        assert!(verify(&key.public_key(), DEFAULT_ID, b"edge", &signature));
    }
}

#[test]
fn scalars_outside_one_to_n_minus_one_are_refused() {
    let key = key(1);
    let good = sign(&key, DEFAULT_ID, b"m", &mut Seeded::new(2)).unwrap();
    let zero = "00".repeat(32);
    let ones = "ff".repeat(32);
    for bad in [&zero, N, &ones] {
        for half in [0, 32] {
            let mut signature = good;
            signature.0[half..half + 32].copy_from_slice(&bytes::<32>(bad));
            assert!(!verify(&key.public_key(), DEFAULT_ID, b"m", &signature), "{bad} at {half}");
        }
    }
    // r + s = n.
    let (r, _) = good.scalars().unwrap();
    let opposite = Signature::from_scalars(&r, &r.negate());
    assert!(!verify(&key.public_key(), DEFAULT_ID, b"m", &opposite));
}

/// With `r = e` and `s = -r d / (1 + d)` the point of B6 is infinity, which has no x coordinate.
#[test]
fn infinity_is_refused_on_every_path() {
    let key = key(3);
    let z = identity_digest(DEFAULT_ID, &key.public_key());
    let e = message_digest(&z, b"infinity");
    let r = Scalar::reduce_be_bytes(&e);
    let s = key.secret.inverse.montgomery_multiply(&r.multiply(&key.secret.d)).negate();
    let signature = Signature::from_scalars(&r, &s);
    assert!(!verify(&key.public_key(), DEFAULT_ID, b"infinity", &signature));
    assert_eq!(every_path(&key.public_key(), b"infinity", &signature), [false; 5]);
}

/// `x1 >= n` happens once in 2^129 by chance, so B7's second candidate is reached with a point built for it.
#[test]
fn x1_between_n_and_p_is_reduced() {
    let n = bytes::<32>(N);
    let (x, point) = (1u8..)
        .find_map(|add| {
            let mut x = n;
            x[31] += add;
            let mut sec1 = vec![2];
            sec1.extend_from_slice(&x);
            PublicKey::from_sec1(&sec1).ok().map(|point| (add, point))
        })
        .unwrap();
    // r = e + x1 mod n = e + (x1 - n); any s, t: only B7 is looked at.
    let e = crate::sm3::digest(b"e");
    let mut small = [0; 32];
    small[31] = x;
    let r = Scalar::reduce_be_bytes(&e).add(&Scalar::from_be_bytes(&small).unwrap());
    let claim = verify::Claim::new(&e, &Signature::from_scalars(&r, &Scalar::ONE)).unwrap();
    assert!(claim.holds_at(&super::super::point::Jacobian::from(&point.point)));
    let other = verify::Claim::new(&e, &Signature::from_scalars(&r.add(&Scalar::ONE), &Scalar::ONE)).unwrap();
    assert!(!other.holds_at(&super::super::point::Jacobian::from(&point.point)));
}

/// The verdicts of all ways to verify: single, raw, known, identified, registered.
fn every_path(key: &PublicKey, message: &[u8], signature: &Signature) -> [bool; 5] {
    let raw = key.to_bytes();
    let identified = IdentifiedKey::new(DEFAULT_ID, *key);
    let registry = Registry::new(1);
    let item = |key| VerifyItem { key, message, signature: &signature.0 };
    let items = [
        item(KeyRef::Raw(&raw)),
        item(KeyRef::Known(key)),
        item(KeyRef::Identified(&identified)),
        item(KeyRef::Registered(registry.register(key).unwrap())),
    ];
    let mut out = [false; 5];
    out[0] = verify(key, DEFAULT_ID, message, signature);
    verify_batch(&items, &mut out[1..]);
    out
}

#[test]
fn batches_of_every_size_give_exact_verdicts() {
    let keys: Vec<PrivateKey> = (10..15).map(key).collect();
    let registry = Registry::new(8);
    let registered = registry.register(&keys[0].public_key()).unwrap();
    let raw: Vec<[u8; 64]> = keys.iter().map(|key| key.public_key().to_bytes()).collect();
    let off_curve = [1; 64];
    let messages: Vec<Vec<u8>> = (0..70).map(|i| vec![i as u8; i]).collect();
    let mut signatures: Vec<Signature> =
        (0..70).map(|i| sign(&keys[i % 5], DEFAULT_ID, &messages[i], &mut Seeded::new(i as u64)).unwrap()).collect();
    for (i, signature) in signatures.iter_mut().enumerate().filter(|(i, _)| i % 7 == 3) {
        signature.0[i % 64] ^= 1;
    }
    for size in (0..=9).chain(30..=34).chain([63, 64, 65, 70]) {
        let items: Vec<VerifyItem<'_>> = (0..size)
            .map(|i| VerifyItem {
                key: match i % 5 {
                    0 => KeyRef::Registered(registered.clone()),
                    _ if i % 11 == 6 => KeyRef::Raw(&off_curve),
                    _ => KeyRef::Raw(&raw[i % 5]),
                },
                message: &messages[i],
                signature: &signatures[i].0,
            })
            .collect();
        let mut out = vec![true; size];
        verify_batch(&items, &mut out);
        for (i, verdict) in out.into_iter().enumerate() {
            let off_curve = i % 5 != 0 && i % 11 == 6;
            assert_eq!(verdict, i % 7 != 3 && !off_curve, "item {i} of {size}");
        }
    }
}

#[test]
fn registry_is_bounded_and_keeps_pinned_keys() {
    let keys: Vec<PublicKey> = (20..25).map(|seed| key(seed).public_key()).collect();
    let registry = Registry::new(2);
    registry.pin(&keys[0]).unwrap();
    registry.register(&keys[1]).unwrap();
    let kept = registry.register(&keys[2]).unwrap();
    assert!(registry.lookup(&keys[0].to_bytes()).is_some() && registry.lookup(&keys[1].to_bytes()).is_none());
    assert_eq!(registry.len(), 2);
    assert_eq!(registry.memory_bytes(), 2 * Registry::BYTES_PER_KEY);
    registry.pin(&keys[2]).unwrap();
    assert_eq!(registry.register(&keys[3]).unwrap_err(), RegistryError::AllPinned(2));
    registry.unpin(&keys[0]);
    registry.register(&keys[3]).unwrap();
    assert!(registry.lookup(&keys[0].to_bytes()).is_none() && registry.lookup(&keys[2].to_bytes()).is_some());
    registry.remove(&keys[2]);
    assert!(registry.lookup(&keys[2].to_bytes()).is_none());
    assert_eq!(kept.key(), &keys[2]);
    assert_eq!(Registry::new(0).register(&keys[0]).unwrap_err(), RegistryError::AllPinned(0));
}

#[test]
fn asking_whether_a_key_is_registered_is_no_use_of_it() {
    let keys: Vec<PublicKey> = (20..23).map(|seed| key(seed).public_key()).collect();
    let registry = Registry::new(2);
    let has = |i: usize| registry.contains(&keys[i].to_bytes());
    registry.register(&keys[0]).unwrap();
    registry.register(&keys[1]).unwrap();
    assert!(has(0) && has(1) && !has(2));
    registry.register(&keys[2]).unwrap();
    assert!(!has(0) && has(1) && has(2), "the key registered first was used last when it was registered");
}

#[test]
fn wide_tables_are_bounded_and_go_with_the_pin() {
    let keys: Vec<PublicKey> = (20..23).map(|seed| key(seed).public_key()).collect();
    let registry = Registry::with_wide_tables(3, 1);
    assert_eq!(Registry::new(3).pin_wide(&keys[0]).unwrap_err(), RegistryError::AllWide(0));
    let before = registry.register(&keys[0]).unwrap();
    let wide = registry.pin_wide(&keys[0]).unwrap();
    assert!(before.flat_comb().is_none() && wide.flat_comb().is_some());
    assert!(registry.lookup(&keys[0].to_bytes()).unwrap().flat_comb().is_some());
    assert_eq!(registry.memory_bytes(), Registry::BYTES_PER_KEY + Registry::BYTES_PER_WIDE_TABLE);
    assert!(registry.pin_wide(&keys[0]).is_ok());
    assert_eq!(registry.pin_wide(&keys[1]).unwrap_err(), RegistryError::AllWide(1));
    registry.unpin(&keys[0]);
    assert!(registry.lookup(&keys[0].to_bytes()).unwrap().flat_comb().is_none());
    assert!(registry.pin_wide(&keys[1]).is_ok() && wide.flat_comb().is_some());
}

/// Raw, registered and wide keys, wrong signatures among them, in batches long enough for every way of adding.
#[test]
fn mixed_batches_give_exact_verdicts() {
    let keys: Vec<PrivateKey> = (60..66).map(key).collect();
    let registry = Registry::with_wide_tables(8, 2);
    let raw: Vec<[u8; 64]> = keys.iter().map(|key| key.public_key().to_bytes()).collect();
    let reference = |i: usize| match i % 6 {
        0 | 1 => KeyRef::Registered(registry.pin_wide(&keys[i % 6].public_key()).unwrap()),
        2 | 3 => KeyRef::Registered(registry.register(&keys[i % 6].public_key()).unwrap()),
        _ => KeyRef::Raw(&raw[i % 6]),
    };
    let sign = |i: usize| sign(&keys[i % 6], DEFAULT_ID, b"mixed", &mut Seeded::new(i as u64)).unwrap();
    let mut signatures: Vec<Signature> = (0..600).map(sign).collect();
    signatures.iter_mut().enumerate().filter(|(i, _)| i % 13 == 5).for_each(|(i, signature)| signature.0[i % 64] ^= 4);
    for size in (1..8).chain([47, 48, 49, 144, 600]) {
        let item = |i: usize| VerifyItem { key: reference(i), message: b"mixed", signature: &signatures[i].0 };
        let items: Vec<_> = (0..size).map(item).collect();
        let mut out = vec![false; size];
        verify_batch(&items, &mut out);
        for (i, verdict) in out.into_iter().enumerate() {
            assert_eq!(verdict, i % 13 != 5, "item {i} of {size}");
        }
    }
}

struct Broken;

impl Random for Broken {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), RandomError> {
        Err(RandomError::new("no entropy"))
    }
}

struct Constant;

impl Random for Constant {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        out.fill(0x5a);
        Ok(())
    }
}

#[test]
fn a_failed_generator_makes_no_key_and_no_signature() {
    assert!(matches!(PrivateKey::generate(&mut Broken), Err(KeyError::Random(_))));
    assert!(matches!(sign(&key(30), DEFAULT_ID, b"", &mut Broken), Err(SignError::Random(_))));
}

#[test]
fn a_generator_stuck_out_of_range_is_an_error_and_no_endless_loop() {
    struct Stuck(u8);
    impl Random for Stuck {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
            out.fill(self.0);
            Ok(())
        }
    }
    for byte in [0, 0xff] {
        assert!(matches!(PrivateKey::generate(&mut Stuck(byte)), Err(KeyError::Random(_))));
    }
}

#[test]
fn a_constant_generator_still_gives_each_message_its_own_nonce() {
    let key = key(31);
    let x1 = |message: &[u8]| {
        let e = message_digest(&identity_digest(DEFAULT_ID, &key.public_key()), message);
        let signature = sign_digest(&key, &e, &mut Constant).unwrap();
        signature.scalars().unwrap().0.sub(&Scalar::reduce_be_bytes(&e)).to_be_bytes()
    };
    assert_ne!(x1(b"one"), x1(b"two"));
    assert_eq!(x1(b"one"), x1(b"one"));
}

#[test]
fn fresh_randomness_changes_the_nonce_of_a_repeated_message() {
    let key = key(32);
    let mut rng = Seeded::new(0);
    assert_ne!(sign(&key, DEFAULT_ID, b"m", &mut rng).unwrap(), sign(&key, DEFAULT_ID, b"m", &mut rng).unwrap());
}

#[test]
fn secrets_do_not_show_in_debug() {
    let key = PrivateKey::from_bytes(&bytes(ANNEX_D)).unwrap();
    assert_eq!(format!("{key:?}"), "sm2::PrivateKey(..)");
}

#[test]
#[should_panic(expected = "8192")]
fn an_identifier_of_8192_bytes_is_refused() {
    identity_digest(&[0; 8192], &key(33).public_key());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_changed_bit_is_refused_on_every_path(seed in 0u64..1 << 20, message in proptest::collection::vec(any::<u8>(), 0..100), bit in 0usize..512) {
        let key = key(seed);
        let mut signature = sign(&key, DEFAULT_ID, &message, &mut Seeded::new(seed)).unwrap();
        prop_assert_eq!(every_path(&key.public_key(), &message, &signature), [true; 5]);
        signature.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(every_path(&key.public_key(), &message, &signature), [false; 5]);
    }
}

#[test]
fn batch_signatures_of_every_size_verify_and_share_no_nonce() {
    let key = key(40);
    let public = key.public_key();
    for size in [0, 1, 2, 7, 8, 9, 127, 128, 129, 140] {
        let messages: Vec<[u8; 2]> = (0..size as u16).map(|i| (i / 2).to_be_bytes()).collect();
        let slices: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
        // A stuck generator and every message twice: nonces differ all the same.
        let signatures = sign_batch(&key, DEFAULT_ID, &slices, &mut Constant).unwrap();
        assert_eq!(signatures.len(), size);
        let mut seen = std::collections::HashSet::new();
        for (message, signature) in slices.iter().zip(&signatures) {
            assert!(verify(&public, DEFAULT_ID, message, signature), "size {size}");
            let e = message_digest(&identity_digest(DEFAULT_ID, &public), message);
            let x1 = signature.scalars().unwrap().0.sub(&Scalar::reduce_be_bytes(&e));
            assert!(seen.insert(x1.to_be_bytes()), "a nonce twice");
        }
    }
}

#[test]
fn a_batch_differs_with_any_digest_and_with_fresh_randomness() {
    let key = key(41);
    let one = sign_digest_batch(&key, &[[1; 32], [2; 32]], &mut Constant).unwrap();
    let same = sign_digest_batch(&key, &[[1; 32], [2; 32]], &mut Constant).unwrap();
    let other = sign_digest_batch(&key, &[[1; 32], [3; 32]], &mut Constant).unwrap();
    let fresh = sign_digest_batch(&key, &[[1; 32], [2; 32]], &mut Seeded::new(1)).unwrap();
    assert_eq!(one, same);
    assert!(one[0] != other[0] && one[0] != fresh[0] && one[1] != fresh[1]);
    assert!(matches!(sign_digest_batch(&key, &[[1; 32]], &mut Broken), Err(SignError::Random(_))));
}

#[test]
fn later_candidates_differ_from_first_ones_and_sign() {
    use super::super::nonce::BatchNonces;
    let digests = [[4; 32], [4; 32]];
    let nonces = BatchNonces::new(&key(42).secret.d, &digests, &[9; 32]);
    let mut first = [[0; 32]; 2];
    nonces.candidates(5, &digests, &mut first);
    assert_eq!(first, [nonces.candidate(0, 5, &digests[0]), nonces.candidate(0, 6, &digests[1])]);
    assert!(first[0] != first[1] && first[0] != nonces.candidate(1, 5, &digests[0]));
}
