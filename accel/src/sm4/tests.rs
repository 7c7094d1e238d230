use super::*;
use ::sm4::Sm4;
use ::sm4::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use proptest::prelude::*;

mod kernels;

const STANDARD_KEY: [u8; 16] = 0x0123456789abcdeffedcba9876543210u128.to_be_bytes();

fn oracle(key: &[u8; 16], block: [u8; 16]) -> [u8; 16] {
    let mut out = block.into();
    Sm4::new(&(*key).into()).encrypt_block(&mut out);
    out.into()
}

#[test]
fn matches_the_first_example_of_gbt_32907_annex_a() {
    let key = Key::new(&STANDARD_KEY);
    let mut block = [STANDARD_KEY];
    key.encrypt_blocks(&mut block);
    assert_eq!(hex::encode(block[0]), "681edf34d206965e86b3e94f536e4246");
    key.decrypt_blocks(&mut block);
    assert_eq!(block[0], STANDARD_KEY);
}

#[test]
fn matches_the_million_rounds_of_gbt_32907_annex_a() {
    for key in [Key::new(&STANDARD_KEY), Key::portable(&STANDARD_KEY)] {
        let mut block = [STANDARD_KEY];
        for _ in 0..1_000_000 {
            key.encrypt_blocks(&mut block);
        }
        assert_eq!(hex::encode(block[0]), "595298c7c6fd271f0402f804c33d3f66");
    }
}

proptest! {
    #[test]
    fn blocks_match_the_oracle_both_ways(key: [u8; 16], blocks in proptest::collection::vec(any::<[u8; 16]>(), 0..50)) {
        let ours = Key::new(&key);
        let mut out = blocks.clone();
        ours.encrypt_blocks(&mut out);
        for (plain, cipher) in blocks.iter().zip(&out) {
            prop_assert_eq!(*cipher, oracle(&key, *plain));
        }
        let mut theirs = out.first().copied().unwrap_or_default().into();
        Sm4::new(&key.into()).decrypt_block(&mut theirs);
        ours.decrypt_blocks(&mut out);
        prop_assert_eq!(&out, &blocks);
        prop_assert!(out.is_empty() || <[u8; 16]>::from(theirs) == out[0]);
    }

    #[test]
    fn ctr_adds_the_encrypted_counters(key: [u8; 16], counter: [u8; 16], wrap: bool, data in proptest::collection::vec(any::<u8>(), 0..5000)) {
        // Wraps of the low 32 bits, within one kernel call and between two, and of all 128.
        let mut counter = if wrap { [0xff; 16] } else { counter };
        if wrap && data.len() % 2 == 1 {
            counter[0] = 7;
            counter[15] = 0xff - (data.len() / 16) as u8;
        }
        let mut out = data.clone();
        ctr::apply(&Key::new(&key), &counter, &mut out);
        let mut next = u128::from_be_bytes(counter);
        for (ours, plain) in out.chunks(16).zip(data.chunks(16)) {
            let pad = oracle(&key, next.to_be_bytes());
            next = next.wrapping_add(1);
            for ((o, p), k) in ours.iter().zip(plain).zip(pad) {
                prop_assert_eq!(*o, p ^ k);
            }
        }
    }

    #[test]
    fn cbc_chains_ciphertexts(key: [u8; 16], iv: [u8; 16], blocks in proptest::collection::vec(any::<[u8; 16]>(), 0..200), cut: prop::sample::Index) {
        let ours = Key::new(&key);
        let (mut out, mut chain, mut expected) = (blocks.clone(), iv, iv);
        cbc::encrypt(&ours, &mut chain, &mut out);
        for (cipher, plain) in out.iter().zip(&blocks) {
            expected = oracle(&key, core::array::from_fn(|i| plain[i] ^ expected[i]));
            prop_assert_eq!(*cipher, expected);
        }
        prop_assert_eq!(chain, expected);
        // In two calls, which the chain joins.
        let (first, second) = out.split_at_mut(cut.index(blocks.len() + 1));
        chain = iv;
        cbc::decrypt(&ours, &mut chain, first);
        cbc::decrypt(&ours, &mut chain, second);
        prop_assert_eq!((out, chain), (blocks, expected));
    }

    #[test]
    fn gcm_many_is_gcm_of_each(key: [u8; 16], lengths in proptest::collection::vec((0usize..900, 0usize..40), 0..20), flip: prop::sample::Index) {
        let key = gcm::Key::new(&key);
        let plain: Vec<(Vec<u8>, Vec<u8>)> = lengths.iter().map(|&(data, aad)| (vec![data as u8; data], vec![aad as u8; aad])).collect();
        let mut data: Vec<Vec<u8>> = plain.iter().map(|p| p.0.clone()).collect();
        let mut messages: Vec<gcm::Message<'_>> = data.iter_mut().zip(&plain).enumerate()
            .map(|(i, (data, p))| gcm::Message { nonce: [i as u8; 12], aad: &p.1, data, tag: [0; 16] }).collect();
        gcm::seal_many(&key, &mut messages);
        for (i, (message, p)) in messages.iter().zip(&plain).enumerate() {
            let mut one = p.0.clone();
            prop_assert_eq!(gcm::seal(&key, &[i as u8; 12], &p.1, &mut one), message.tag);
            prop_assert_eq!(&*message.data, &one[..]);
        }
        let bad = (!messages.is_empty()).then(|| flip.index(messages.len()));
        if let Some(bad) = bad {
            messages[bad].tag[3] ^= 4;
        }
        let verdicts = gcm::open_many(&key, &mut messages);
        for (i, message) in messages.iter().enumerate() {
            let good = Some(i) != bad;
            prop_assert_eq!(verdicts[i], good);
            let expected = if good { plain[i].0.clone() } else { vec![0; plain[i].0.len()] };
            prop_assert_eq!(&*message.data, &expected[..]);
        }
    }

    #[test]
    fn gcm_opens_the_blocks_of_a_part_and_leaves_the_others(key: [u8; 16], nonce: [u8; 12], length in 0usize..3000, start: prop::sample::Index, end: prop::sample::Index) {
        let key = gcm::Key::new(&key);
        let plain: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let mut sealed = plain.clone();
        let tag = gcm::seal(&key, &nonce, b"aad", &mut sealed);
        let (start, end) = (start.index(length + 1), end.index(length + 1));
        let part = start.min(end)..start.max(end);
        let mut opened = sealed.clone();
        prop_assert_eq!(gcm::open_part(&key, &nonce, b"aad", &mut opened, &tag, part.clone()), Ok(()));
        let blocks = part.start / 16 * 16..length.min(part.end.next_multiple_of(16));
        for i in 0..length {
            prop_assert_eq!(opened[i], if blocks.contains(&i) { plain[i] } else { sealed[i] }, "byte {} of {}, part {:?}", i, length, part);
        }
    }

    #[test]
    fn gcm_refuses_any_changed_bit(key: [u8; 16], nonce: [u8; 12], data in proptest::collection::vec(any::<u8>(), 1..100), aad in proptest::collection::vec(any::<u8>(), 1..30), at: prop::sample::Index, bit in 0u32..8) {
        let key = gcm::Key::new(&key);
        let mut sealed = data.clone();
        let tag = gcm::seal(&key, &nonce, &aad, &mut sealed);
        let (mut n, mut a, mut c, mut t) = (nonce, aad.clone(), sealed.clone(), tag);
        let place = at.index(12 + a.len() + c.len() + 16);
        let mut all = n.iter_mut().chain(&mut a).chain(&mut c).chain(&mut t);
        *all.nth(place).unwrap() ^= 1 << bit;
        let (mut in_part, part) = (c.clone(), at.index(data.len())..data.len());
        prop_assert_eq!(gcm::open_part(&key, &n, &a, &mut in_part, &t, part), Err(gcm::TagMismatch));
        prop_assert!(in_part.iter().all(|&byte| byte == 0));
        prop_assert_eq!(gcm::open(&key, &n, &a, &mut c, &t), Err(gcm::TagMismatch));
        prop_assert!(c.iter().all(|&byte| byte == 0));
        prop_assert_eq!(gcm::open(&key, &nonce, &aad, &mut sealed, &tag), Ok(()));
        prop_assert_eq!(sealed, data);
    }

    #[test]
    fn xts_round_trips_and_orders_differ_only_after_the_first_block(key: [u8; 32], tweak: [u8; 16], data in proptest::collection::vec(any::<u8>(), 16..600)) {
        prop_assume!(key[..16] != key[16..]);
        let mut outputs = Vec::new();
        for order in [xts::TweakOrder::Gbt17964, xts::TweakOrder::Ieee1619] {
            let key = xts::Key::new(&key, order).unwrap();
            let mut out = data.clone();
            key.encrypt(&tweak, &mut out).unwrap();
            outputs.push(out.clone());
            key.decrypt(&tweak, &mut out).unwrap();
            prop_assert_eq!(&out, &data);
        }
        if data.len() >= 32 || data.len() == 16 {
            prop_assert_eq!(&outputs[0][..16], &outputs[1][..16]);
        }
        prop_assert!(data.len() == 16 || outputs[0] != outputs[1]);
    }

    #[test]
    fn xts_masks_each_block_with_its_tweak(key: [u8; 32], tweak: [u8; 16], blocks in proptest::collection::vec(any::<[u8; 16]>(), 1..400)) {
        prop_assume!(key[..16] != key[16..]);
        let halves = [&key[..16], &key[16..]].map(|half| <[u8; 16]>::try_from(half).unwrap());
        for order in [xts::TweakOrder::Gbt17964, xts::TweakOrder::Ieee1619] {
            let mut out = blocks.clone();
            xts::Key::new(&key, order).unwrap().encrypt(&tweak, out.as_flattened_mut()).unwrap();
            let first = oracle(&halves[1], tweak);
            let mut t = match order {
                xts::TweakOrder::Gbt17964 => u128::from_be_bytes(first),
                xts::TweakOrder::Ieee1619 => u128::from_le_bytes(first),
            };
            for (ours, plain) in out.iter().zip(&blocks) {
                let mask = match order {
                    xts::TweakOrder::Gbt17964 => t.to_be_bytes(),
                    xts::TweakOrder::Ieee1619 => t.to_le_bytes(),
                };
                let add = |block: [u8; 16]| core::array::from_fn(|i| block[i] ^ mask[i]);
                prop_assert_eq!(*ours, add(oracle(&halves[0], add(*plain))));
                t = order.step(t);
            }
        }
    }
}

#[test]
fn xts_refuses_bad_lengths_and_equal_halves() {
    assert!(xts::Key::new(&[7; 32], xts::TweakOrder::Ieee1619).is_err());
    let mut bytes = [7; 32];
    bytes[0] = 1;
    let key = xts::Key::new(&bytes, xts::TweakOrder::Ieee1619).unwrap();
    assert_eq!(key.encrypt(&[0; 16], &mut [0; 15]), Err(xts::XtsError::TooShort(15)));
    let mut long = vec![0; (16 << 20) + 1];
    assert_eq!(key.decrypt(&[0; 16], &mut long), Err(xts::XtsError::TooLong(long.len())));
}

/// RFC 8998 appendix A.1.
#[test]
fn gcm_matches_rfc_8998() {
    let key = gcm::Key::new(&STANDARD_KEY);
    let nonce: [u8; 12] = hex::decode("00001234567800000000abcd").unwrap().try_into().unwrap();
    let aad = hex::decode("feedfacedeadbeeffeedfacedeadbeefabaddad2").unwrap();
    let plain = hex::decode(
        "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccddddddddddddddddeeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
    )
    .unwrap();
    let mut data = plain.clone();
    let tag = gcm::seal(&key, &nonce, &aad, &mut data);
    assert_eq!(
        hex::encode(&data),
        "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
    );
    assert_eq!(hex::encode(tag), "83de3541e4c2b58177e065a9bf7b62ec");
    assert_eq!(gcm::open(&key, &nonce, &aad, &mut data, &tag), Ok(()));
    assert_eq!(data, plain);
}
