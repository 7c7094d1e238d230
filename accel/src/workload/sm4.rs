//! Ciphers: each mode at a record's, a page's and a stream's length; records and pages many at a time.

use super::{Workload, pattern};
use crate::sm4::xts::TweakOrder;
use crate::sm4::{Key, cbc, ctr, gcm, xts};
use std::hint::black_box;

const KEY: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";

pub(super) fn all<'a>() -> Vec<Workload<'a>> {
    let of_length = |bytes| {
        let orders = [("gbt17964", TweakOrder::Gbt17964), ("ieee1619", TweakOrder::Ieee1619)];
        let mut workloads = vec![blocks(bytes), counter(bytes), chain(bytes), seal(bytes)];
        workloads.extend(orders.map(|(name, order)| sector(bytes, name, order)));
        workloads
    };
    let mut workloads: Vec<_> = [64, 4096, 65536].into_iter().flat_map(of_length).collect();
    workloads.extend([seal_many(64, 256), seal_many(4096, 64)]);
    workloads
}

/// ECB.
fn blocks<'a>(bytes: usize) -> Workload<'a> {
    let key = Key::new(&KEY);
    let mut data = pattern(bytes);
    let call = move || key.encrypt_blocks(black_box(data.as_chunks_mut().0));
    Workload::new("sm4::encrypt_blocks", "sm4", call).bytes(bytes)
}

fn counter<'a>(bytes: usize) -> Workload<'a> {
    let key = Key::new(&KEY);
    let mut data = pattern(bytes);
    let call = move || ctr::apply(&key, &[0; 16], black_box(&mut data));
    Workload::new("sm4::ctr", "sm4", call).bytes(bytes)
}

/// Decryption: encryption is a block after the other.
fn chain<'a>(bytes: usize) -> Workload<'a> {
    let key = Key::new(&KEY);
    let mut data = pattern(bytes);
    let call = move || cbc::decrypt(&key, &mut [0; 16], black_box(data.as_chunks_mut().0));
    Workload::new("sm4::cbc::decrypt", "sm4", call).bytes(bytes)
}

fn seal<'a>(bytes: usize) -> Workload<'a> {
    let key = gcm::Key::new(&KEY);
    let mut data = pattern(bytes);
    let call = move || {
        black_box(gcm::seal(&key, &[0; 12], &[], black_box(&mut data)));
    };
    Workload::new("sm4::gcm::seal", "sm4", call).bytes(bytes)
}

/// Records or pages under one key.
fn seal_many<'a>(bytes: usize, count: u32) -> Workload<'a> {
    let key = gcm::Key::new(&KEY);
    let mut records = vec![pattern(bytes); count as usize];
    let call = move || {
        let message = |data| gcm::Message { nonce: [0; 12], aad: &[], data, tag: [0; 16] };
        let mut messages: Vec<_> = records.iter_mut().map(|data| message(&mut data[..])).collect();
        gcm::seal_many(&key, black_box(&mut messages));
        black_box(&messages);
    };
    Workload::new("sm4::gcm::seal_many", "sm4", call).bytes(bytes).batch("messages", count)
}

fn sector<'a>(bytes: usize, name: &'static str, order: TweakOrder) -> Workload<'a> {
    let halves: [u8; 32] = core::array::from_fn(|index| index as u8);
    let key = xts::Key::new(&halves, order).expect("the halves differ");
    let mut data = pattern(bytes);
    let call = move || key.encrypt(&[0; 16], black_box(&mut data)).expect("at least one block");
    Workload::new("sm4::xts", "sm4", call).bytes(bytes).with("tweak", name)
}
