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
    many(bench, 64);
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
    const MESSAGES: usize = 1024;
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
