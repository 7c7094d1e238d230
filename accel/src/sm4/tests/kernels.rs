//! Every kernel this processor can run against the portable one, alone and inside the modes.
#![allow(clippy::print_stderr)]

use super::*;

type Choose = fn(&[u32; 32]) -> Option<Kept<dyn Kernel>>;

/// Every kernel for vectors, with its name.
const KERNELS: &[(&str, Choose)] = &[
    #[cfg(target_arch = "x86_64")]
    ("aesni", |keys| Some(boxed(schedule::Schedule::new((cpu::Avx2::new()?, cpu::AesNi::new()?), keys)))),
    #[cfg(target_arch = "x86_64")]
    ("aesni128", |keys| Some(boxed(schedule::Schedule::new(cpu::AesNi::new()?, keys)))),
    #[cfg(target_arch = "x86_64")]
    ("sm4ni", |keys| Some(boxed(sm4ni::Schedule::new(cpu::Sm4Ni::new()?, keys)))),
    #[cfg(target_arch = "x86_64")]
    ("sm4ni, modelled", |keys| Some(boxed(sm4ni::modelled::Schedule::new(cpu::Avx2::new()?, keys)))),
    #[cfg(target_arch = "x86_64")]
    ("gfni256", |keys| Some(boxed(schedule::Schedule::new(cpu::Gfni256::new()?, keys)))),
    #[cfg(target_arch = "x86_64")]
    ("gfni512", |keys| Some(boxed(schedule::Schedule::new(cpu::Gfni512::new()?, keys)))),
    #[cfg(target_arch = "aarch64")]
    ("neon", |keys| Some(boxed(schedule::Schedule::new(batch::Batched(cpu::Neon::new()?), keys)))),
    #[cfg(target_arch = "aarch64")]
    ("neon-aes", |keys| Some(boxed(schedule::Schedule::new(batch::Batched(cpu::NeonAes::new()?), keys)))),
    #[cfg(target_arch = "aarch64")]
    ("armv8-sm4", |keys| Some(boxed(schedule::Schedule::new(batch::Batched(cpu::NeonSm::new()?), keys)))),
];

const ORDERS: [xts::TweakOrder; 2] = [xts::TweakOrder::Gbt17964, xts::TweakOrder::Ieee1619];

/// A key for each kernel this processor can run; says which it cannot.
fn keys(key: &[u8; 16]) -> Vec<Key> {
    let choose = |(name, choose): &(&str, Choose)| {
        let kernel = choose(&expand(key));
        match &kernel {
            Some(kernel) => assert_eq!(kernel.name(), *name),
            None => eprintln!("NOT TESTED: this processor has no instructions for the SM4 kernel {name}"),
        }
        kernel.map(|kernel| Key { kernel })
    };
    KERNELS.iter().filter_map(choose).collect()
}

/// Bytes without a pattern that a kernel could share.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(target_arch = "aarch64")]
#[test]
fn the_key_schedule_by_instruction_is_the_portable_one() {
    let Some(token) = cpu::NeonSm::new() else {
        eprintln!("NOT TESTED: this processor has no SM4 instructions");
        return;
    };
    for key in bytes(16 * 64).as_chunks().0.iter().chain([&[0; 16], &[0xff; 16], &STANDARD_KEY]) {
        assert_eq!(armv8::expand(token, key), expand_portable(key), "{key:02x?}");
    }
}

#[test]
fn every_number_of_blocks_matches_portable() {
    let portable = Key::portable(&STANDARD_KEY);
    let (plain, masks) = (bytes(250 * 16), bytes(251 * 16)[16..].to_vec());
    let (plain, masks) = (plain.as_chunks::<16>().0, masks.as_chunks::<16>().0);
    for key in keys(&STANDARD_KEY) {
        for count in 0..=250 {
            for direction in [Direction::Encrypt, Direction::Decrypt] {
                let (mut ours, mut expected) = (plain[..count].to_vec(), plain[..count].to_vec());
                key.kernel.crypt(direction, &mut ours);
                portable.kernel.crypt(direction, &mut expected);
                assert_eq!(ours, expected, "{} {direction:?} {count}", key.kernel.name());
                key.kernel.crypt_masked(direction, &mut ours, &masks[..count]);
                portable.kernel.crypt_masked(direction, &mut expected, &masks[..count]);
                assert_eq!(ours, expected, "{} masked {direction:?} {count}", key.kernel.name());
            }
        }
    }
}

#[test]
fn every_number_of_tweaks_matches_portable() {
    let portable = Key::portable(&STANDARD_KEY);
    let plain = bytes(200 * 16);
    let plain = plain.as_chunks::<16>().0;
    // Bits leave at both ends of the tweaks within a few steps.
    let value = 0x8123_4567_89ab_cdef_0fed_cba9_8765_4321;
    for (key, order) in keys(&STANDARD_KEY).iter().flat_map(|key| ORDERS.map(|order| (key, order))) {
        for count in 0..=200 {
            for direction in [Direction::Encrypt, Direction::Decrypt] {
                let run = |key: &Key| {
                    let (mut blocks, mut tweaks) = (plain[..count].to_vec(), xts::Tweaks { value, order });
                    key.kernel.crypt_tweaked(direction, &mut blocks, &mut tweaks);
                    (blocks, tweaks.value)
                };
                assert_eq!(run(key), run(&portable), "{} {order:?} {direction:?} {count}", key.kernel.name());
            }
        }
    }
}

#[test]
fn every_number_of_chained_blocks_is_decrypted_as_by_definition() {
    let plain = bytes(250 * 16);
    let plain = plain.as_chunks::<16>().0;
    for key in keys(&STANDARD_KEY).into_iter().chain([Key::portable(&STANDARD_KEY)]) {
        for count in 0..=250 {
            // Not where a vector would like to begin; before the first block stands what must not be touched.
            let mut buffer = [&[7; 5][..], plain[..count].as_flattened()].concat();
            let blocks = buffer[5..].as_chunks_mut::<16>().0;
            let (mut ours, mut theirs) = ([3; 16], [3; 16]);
            key.kernel.decrypt_chained(&mut ours, blocks);
            let expected: Vec<[u8; 16]> = plain[..count]
                .iter()
                .map(|cipher| {
                    let mut block = [*cipher];
                    Key::portable(&STANDARD_KEY).decrypt_blocks(&mut block);
                    add(&mut block[0], &theirs);
                    theirs = *cipher;
                    block[0]
                })
                .collect();
            assert_eq!((&*blocks, ours), (&expected[..], theirs), "{} {count}", key.kernel.name());
            assert_eq!(buffer[..5], [7; 5]);
        }
    }
}

#[test]
fn every_length_of_key_stream_matches_portable() {
    let portable = Key::portable(&STANDARD_KEY);
    let plain = bytes(100 * 16 + 250 * 16);
    // The counter's last four bytes wrap in the middle.
    let counter = 0x0123_4567_89ab_cdef_0011_2233_ffff_ffc0_u128.to_be_bytes();
    let lengths = (0..=100 * 16).chain((101..=250).map(|blocks| blocks * 16 + blocks % 16));
    for key in keys(&STANDARD_KEY) {
        for length in lengths.clone() {
            for wants_first in [false, true] {
                let run = |key: &Key| {
                    // Not where a vector would like to begin.
                    let mut data = plain[..length + 1].to_vec();
                    let mut first = [0; 16];
                    key.kernel.add_stream(&counter, wants_first.then_some(&mut first), &mut data[1..]);
                    (data, first)
                };
                assert_eq!(run(&key), run(&portable), "{} {length} {wants_first}", key.kernel.name());
            }
        }
    }
}

proptest! {
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn keys_expanded_four_at_a_time_are_those_of_the_standard(key: [u8; 16]) {
        if let Some(token) = cpu::Avx2::new() {
            prop_assert_eq!(sm4ni::modelled::expand(token, &key), expand(&key));
        }
        if let Some(token) = cpu::Sm4Ni::new() {
            prop_assert_eq!(sm4ni::expand(token, &key), expand(&key));
        }
    }

    #[test]
    fn every_kernel_matches_portable(key: [u8; 16], blocks in proptest::collection::vec(any::<[u8; 16]>(), 0..250)) {
        let mut expected = blocks.clone();
        Key::portable(&key).encrypt_blocks(&mut expected);
        for key in keys(&key).into_iter().chain([Key::new(&key)]) {
            let mut out = blocks.clone();
            key.encrypt_blocks(&mut out);
            prop_assert_eq!(&out, &expected);
            key.decrypt_blocks(&mut out);
            prop_assert_eq!(&out, &blocks);
        }
        Key::portable(&key).decrypt_blocks(&mut expected);
        prop_assert_eq!(expected, blocks);
    }

    #[test]
    fn the_modes_are_the_same_on_every_kernel(
        key: [u8; 16], tweak_key: [u8; 16], nonce: [u8; 16], aad in proptest::collection::vec(any::<u8>(), 0..300),
        data in proptest::collection::vec(any::<u8>(), 16..40_000),
    ) {
        let run = |cipher: fn(&[u8; 16]) -> Vec<Key>| -> Vec<_> {
            let twice = cipher(&key).into_iter().zip(cipher(&key)).zip(cipher(&tweak_key));
            let run = |((ctr_key, gcm_key), tweak_key): ((Key, Key), Key)| {
                let mut out = [data.clone(), data.clone(), data.clone()];
                ctr::apply(&ctr_key, &nonce, &mut out[0]);
                let gcm_key = gcm::Key::with(gcm_key);
                let tag = gcm::seal(&gcm_key, nonce.first_chunk().unwrap(), &aad, &mut out[1]);
                let xts_key = xts::Key::with(ctr_key, tweak_key, xts::TweakOrder::Gbt17964);
                xts_key.encrypt(&nonce, &mut out[2]).unwrap();
                let mut back = out.clone();
                gcm::open(&gcm_key, nonce.first_chunk().unwrap(), &aad, &mut back[1], &tag).unwrap();
                xts_key.decrypt(&nonce, &mut back[2]).unwrap();
                assert!(back[1] == data && back[2] == data);
                (out, tag)
            };
            twice.map(run).collect()
        };
        let expected = run(|key| vec![Key::portable(key)]).remove(0);
        for ours in run(keys) {
            prop_assert!(ours == expected);
        }
    }

    #[test]
    fn gcm_by_the_selected_kernel_is_gcm_by_portable(key: [u8; 16], nonce: [u8; 12], aad in proptest::collection::vec(any::<u8>(), 0..300), data in proptest::collection::vec(any::<u8>(), 0..40_000)) {
        let (mut ours, mut expected) = (data.clone(), data);
        let tag = gcm::seal(&gcm::Key::new(&key), &nonce, &aad, &mut ours);
        prop_assert_eq!(tag, gcm::seal(&gcm::Key::portable(&key), &nonce, &aad, &mut expected));
        prop_assert_eq!(ours, expected);
    }
}
