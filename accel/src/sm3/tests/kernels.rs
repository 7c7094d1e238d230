//! One plan for every kernel: what portable gives.

use super::super::lanes::{Cut, Kernel, Start, States, Tail, Whole, digest_all};
use super::super::*;
use super::{bytes, skipped};

/// Digest by the portable function alone.
fn portable_digest(start: &Start, message: &[u8]) -> [u8; 32] {
    let mut state = start.state;
    let length_bits = (start.bytes + message.len() as u64) << 3;
    let zeros = 63 - (message.len() + 8) % 64;
    let padded = [message, &[0x80], &vec![0; zeros], &length_bits.to_be_bytes()].concat();
    portable::compress(&mut state, padded.as_chunks().0);
    to_bytes(&state)
}

/// Calls `$check` with every kernel this processor has.
macro_rules! with_every_kernel {
    ($check:ident) => {
        #[cfg(target_arch = "x86_64")]
        {
            match crate::cpu::Int512::new() {
                Some(token) => $check("avx512", &mut avx512::Lanes::new(token)),
                None => skipped("avx512"),
            }
            match crate::cpu::Avx2::new() {
                Some(token) => $check("avx2", &mut avx2::Lanes::new(token)),
                None => skipped("avx2"),
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            match crate::cpu::NeonSm::new() {
                Some(token) => $check("armv8-sm3", &mut armv8::Lanes::new(token)),
                None => skipped("armv8-sm3"),
            }
            match crate::cpu::Neon::new() {
                Some(token) => $check("neon", &mut neon::Lanes::new(token)),
                None => skipped("neon"),
            }
        }
    };
}

fn check<const N: usize>(name: &str, kernel: &mut impl Kernel<N>, start: &Start, messages: &[&[u8]]) {
    let expected: Vec<_> = messages.iter().map(|message| portable_digest(start, message)).collect();
    let mut out = vec![[0; 32]; messages.len()];
    digest_all(kernel, start, &Whole(messages), &mut out);
    let lengths: Vec<_> = messages.iter().map(|message| message.len()).collect();
    assert_eq!(out, expected, "{name}: lengths {lengths:?}");
    let cut: Vec<Vec<&[u8]>> = messages.iter().enumerate().map(|(index, message)| cut(message, index)).collect();
    out.fill([0; 32]);
    digest_all(kernel, start, &Cut::new(&cut), &mut out);
    assert_eq!(out, expected, "{name}: lengths {lengths:?} in parts");
}

/// The message in up to five parts, some of them empty; every seventh in none if it is empty.
fn cut(message: &[u8], index: usize) -> Vec<&[u8]> {
    if message.is_empty() && index.is_multiple_of(7) {
        return Vec::new();
    }
    let (head, rest) = message.split_at(index * 31 % (message.len() + 1));
    let (middle, tail) = rest.split_at(index * 17 % (rest.len() + 1));
    vec![head, &[], middle, tail, &[]]
}

/// Initial value, a state after one block, and a length whose bits need both words.
fn starts() -> [Start; 3] {
    let mut state = IV;
    portable::compress(&mut state, &[[0x36; 64]]);
    [Start::IV, Start { state, bytes: 64 }, Start { state, bytes: 1 << 40 }]
}

fn equal_lengths<const N: usize>(name: &str, kernel: &mut impl Kernel<N>) {
    let data = bytes(2000);
    for length in (0..=130).chain([183, 184, 247, 248, 446, 447, 448, 511, 512, 700]) {
        for count in [1, 3, N / 4, N / 2 + 1, N, 2 * N + 3] {
            let messages: Vec<&[u8]> = (0..count).map(|i| &data[i * 5..][..length]).collect();
            check(name, kernel, &starts()[length % 3], &messages);
        }
    }
}

#[test]
fn equal_lengths_are_as_portable() {
    with_every_kernel!(equal_lengths);
}

fn mixed_lengths<const N: usize>(name: &str, kernel: &mut impl Kernel<N>) {
    let data = bytes(8000);
    for bound in [2, 60, 130, 520, 1500, 6000] {
        for seed in 0..12 {
            let count = [3, N - 1, N, N + 1, 3 * N + 5][seed % 5];
            let length = |i: usize| (i + seed * 1009).wrapping_mul(2_654_435_761) % 6151 % bound;
            let messages: Vec<&[u8]> = (0..count).map(|i| &data[i * 7..][..length(i)]).collect();
            check(name, kernel, &starts()[seed % 3], &messages);
        }
    }
}

#[test]
fn mixed_lengths_are_as_portable() {
    with_every_kernel!(mixed_lengths);
}

fn one_long_among_short<const N: usize>(name: &str, kernel: &mut impl Kernel<N>) {
    let data = bytes(20_000);
    for position in [0, N / 2, 2 * N - 1] {
        for long in [503, 504, 512, 4096, 19_999] {
            let length = |i: usize| if i == position { long } else { 64 };
            let messages: Vec<&[u8]> = (0..2 * N).map(|i| &data[..length(i)]).collect();
            check(name, kernel, &Start::IV, &messages);
        }
    }
}

#[test]
fn one_long_message_among_short_ones_is_as_portable() {
    with_every_kernel!(one_long_among_short);
}

/// Every single function of the trait, on states that differ from lane to lane and on unaligned data.
fn primitives<const N: usize>(name: &str, kernel: &mut impl Kernel<N>) {
    let data = bytes(N * 320 + 1);
    let (blocks, _) = data[1..].as_chunks::<64>();
    let mut states = States([[0; N]; 8]);
    for (i, word) in states.0.as_flattened_mut().iter_mut().enumerate() {
        *word = u32::MAX.wrapping_sub((i as u32).wrapping_mul(0x0101_4567));
    }
    let lane_of = |states: &States<N>, lane: usize| -> [u32; 8] { core::array::from_fn(|word| states.0[word][lane]) };
    for live in [1, N / 2, N / 2 + 1, N] {
        let before = states.clone();
        kernel.blocks(&mut states, &core::array::from_fn(|lane| &blocks[lane * 5..][..5]), 4, live);
        let tails = core::array::from_fn(|lane| Tail {
            data: &data[lane * 3..][..lane * 5 % 70],
            mark: lane * 5 % 70 < 64 && lane % 2 == 0,
            length_bits: if lane % 3 == 0 { 0x1234_5678_9abc_def0 >> lane } else { 0 },
        });
        // A length goes where no data is.
        let tails =
            tails.map(|tail: Tail<'_>| if tail.data.len() > 55 { Tail { length_bits: 0, ..tail } } else { tail });
        kernel.tails(&mut states, &tails, live);
        let length_bits = 0x1_0000_0000 * live as u64 + 512;
        kernel.padding(&mut states, length_bits, live);
        let mut digests = [[0; 32]; N];
        kernel.digests(&states, &mut digests);
        let end = Tail { data: &[], mark: true, length_bits };
        for lane in 0..live {
            let mut expected = lane_of(&before, lane);
            portable::compress(&mut expected, &blocks[lane * 5..][..4]);
            portable::compress(&mut expected, &[tails[lane].block(), end.block()]);
            assert_eq!(lane_of(&states, lane), expected, "{name}: lane {lane} of {live}");
            assert_eq!(digests[lane], to_bytes(&expected), "{name}: digest of lane {lane} of {live}");
        }
    }
}

#[test]
fn every_lane_is_as_portable() {
    with_every_kernel!(primitives);
}

#[test]
fn lthash_is_as_its_definition() {
    let seeds: Vec<[u8; 32]> = bytes(32 * 110).as_chunks().0.to_vec();
    for (removed, added) in [(0, 0), (1, 0), (0, 1), (2, 3), (3, 2), (4, 15), (17, 16), (47, 48), (49, 110)] {
        let mut expected: [u16; lthash::LANES] = core::array::from_fn(|i| (i * 257) as u16);
        let mut sum = expected;
        lthash::update(&mut sum, &seeds[..removed], &seeds[..added]);
        for (seed, add) in seeds[..removed].iter().map(|s| (s, false)).chain(seeds[..added].iter().map(|s| (s, true))) {
            let digest = |index: u32| portable_digest(&Start::IV, &[&seed[..], &index.to_le_bytes()].concat());
            let element: Vec<u8> = (0..64).flat_map(digest).collect();
            for (lane, bytes) in expected.iter_mut().zip(element.as_chunks().0) {
                let value = u16::from_le_bytes(*bytes);
                *lane = if add { lane.wrapping_add(value) } else { lane.wrapping_sub(value) };
            }
        }
        assert_eq!(sum, expected, "{removed} out, {added} in");
        let mut by_digests: [u16; lthash::LANES] = core::array::from_fn(|i| (i * 257) as u16);
        lthash::update_by_digests(&mut by_digests, &seeds[..removed], &seeds[..added]);
        assert_eq!(by_digests, expected, "{removed} out, {added} in, digest by digest");
    }
}
