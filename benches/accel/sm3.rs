use crate::{kernel, pattern};
use ::sm3::Digest as _;
use bixi_accel::sm3;
use bixi_benches::{Bench, Case, Contender};
use openssl::hash::MessageDigest;
use std::hint::black_box;

pub(crate) fn run(bench: &mut Bench) {
    for bytes in [64, 1024, 16384] {
        one(bench, bytes);
    }
    for bytes in [64, 1024, 16384] {
        many(bench, bytes);
    }
    lthash(bench);
}

fn one(bench: &mut Bench, bytes: usize) {
    let data = pattern(bytes);
    let expected = sm3::digest(&data);
    assert_eq!(<[u8; 32]>::from(::sm3::Sm3::digest(&data)), expected);
    assert_eq!(libsm::sm3::hash::Sm3Hash::new(&data).get_hash(), expected);
    assert_eq!(*openssl::hash::hash(MessageDigest::sm3(), &data).expect("OpenSSL with SM3"), expected);
    let case = Case::new("accel::sm3::digest", kernel("sm3")).bytes(bytes);
    let contenders = &mut [
        Contender::new("ours", || sm3::digest(black_box(&data))),
        Contender::new("openssl", || openssl::hash::hash(MessageDigest::sm3(), black_box(&data))),
        Contender::new("rustcrypto", || ::sm3::Sm3::digest(black_box(&data))),
        Contender::new("libsm", || libsm::sm3::hash::Sm3Hash::new(black_box(&data)).get_hash()),
    ];
    bench.race(&case, contenders);
}

/// Many short messages, as leaves of a Merkle tree are.
fn many(bench: &mut Bench, bytes: usize) {
    const MESSAGES: usize = 960;
    let data = pattern(bytes);
    let messages = vec![&data[..]; MESSAGES];
    let mut out = vec![[0; 32]; MESSAGES];
    let case = Case::new("accel::sm3::digest_many", kernel("sm3.many")).bytes(bytes).with("messages", MESSAGES);
    let contenders = &mut [
        Contender::batch("ours", MESSAGES as u32, || sm3::digest_many(black_box(&messages), &mut out)),
        Contender::new("rustcrypto, one by one", || ::sm3::Sm3::digest(black_box(&data))),
    ];
    bench.race(&case, contenders);
}

/// Rows of the state commitment: one element out, one in.
fn lthash(bench: &mut Bench) {
    const ROWS: usize = 256;
    let seeds: Vec<[u8; 32]> = (0..ROWS).map(|row| sm3::digest(&row.to_le_bytes())).collect();
    let mut sum = [0; sm3::lthash::LANES];
    let case = Case::new("accel::sm3::lthash", kernel("sm3.many")).with("rows", ROWS);
    let message = [7; 36];
    let contenders = &mut [
        Contender::batch("ours", ROWS as u32, || sm3::lthash::update(&mut sum, black_box(&seeds), black_box(&seeds))),
        Contender::new("rustcrypto, 128 digests", || {
            (0..128).fold(0, |all, _| all ^ ::sm3::Sm3::digest(black_box(&message))[0])
        }),
    ];
    bench.race(&case, contenders);
}
