//! Hashes: one message, many messages, MACs, the set hash.

use super::{Workload, pattern};
use crate::sm3::{self, Hmac, lthash};
use std::hint::black_box;

/// Messages of one call; a multiple of the lanes of every kernel.
const MESSAGES: usize = 960;
/// Rows of the state commitment in one call.
const ROWS: usize = 256;

pub(super) fn all<'a>() -> Vec<Workload<'a>> {
    let mut workloads: Vec<_> = [64, 1024, 16384].map(one).into();
    workloads.extend([64, 1024, 16384].map(many));
    workloads.extend([mac(), mac_many(), set_hash()]);
    workloads
}

fn one<'a>(bytes: usize) -> Workload<'a> {
    let data = pattern(bytes);
    let call = move || {
        black_box(sm3::digest(black_box(&data)));
    };
    Workload::new("sm3::digest", "sm3", call).bytes(bytes)
}

/// The leaves of a Merkle tree, say; all read from the first level of cache.
fn many<'a>(bytes: usize) -> Workload<'a> {
    let data = pattern(bytes);
    let mut out = vec![[0; 32]; MESSAGES];
    let call = move || {
        let messages = [&data[..]; MESSAGES];
        sm3::digest_many(black_box(&messages), &mut out);
    };
    Workload::new("sm3::digest_many", "sm3.many", call).bytes(bytes).batch("messages", MESSAGES as u32)
}

const MAC_KEY: [u8; 32] = [11; 32];

fn mac<'a>() -> Workload<'a> {
    let data = pattern(1024);
    let keyed = Hmac::new(&MAC_KEY);
    let call = move || {
        let mut mac = keyed.clone();
        mac.update(black_box(&data));
        black_box(mac.finalize());
    };
    Workload::new("sm3::hmac", "sm3", call).bytes(1024)
}

fn mac_many<'a>() -> Workload<'a> {
    let data = pattern(64);
    let keyed = Hmac::new(&MAC_KEY);
    let mut out = vec![[0; 32]; MESSAGES];
    let call = move || {
        let messages = [&data[..]; MESSAGES];
        keyed.finalize_many(black_box(&messages), &mut out);
    };
    Workload::new("sm3::hmac_many", "sm3.many", call).bytes(64).batch("messages", MESSAGES as u32)
}

/// One element out and one in for each row.
fn set_hash<'a>() -> Workload<'a> {
    let seeds: Vec<[u8; 32]> = (0..ROWS).map(|row| sm3::digest(&row.to_le_bytes())).collect();
    let mut sum = [0; lthash::LANES];
    let call = move || lthash::update(&mut sum, black_box(&seeds), black_box(&seeds));
    Workload::new("sm3::lthash", "sm3.many", call).batch("rows", ROWS as u32)
}
