//! Tables of points in memory that the program brought.

use bixi_accel::memory::{Source, keep_tables_in};
use bixi_accel::sm2::{self, DEFAULT_ID, KeyRef, PrivateKey, Registry, VerifyItem};
use bixi_accel::{Seeded, selftest};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Mutex;

/// What is lent: bytes by address.
static LENT: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 64).unwrap()
}

/// More than is asked for, as a source may give; nothing for the largest.
#[allow(unsafe_code)]
fn lend(wanted: Layout) -> Option<&'static mut [MaybeUninit<u8>]> {
    assert!((32 << 10..=1536 << 10).contains(&wanted.size()) && wanted.align() <= 64, "{wanted:?}");
    let bytes = wanted.size().next_power_of_two();
    if bytes > 1 << 20 {
        return None;
    }
    // SAFETY: a layout of some bytes.
    let place =
        NonNull::new(unsafe { alloc_zeroed(layout(bytes)) }).unwrap_or_else(|| handle_alloc_error(layout(bytes)));
    let known = LENT.lock().unwrap().insert(place.addr().get(), bytes);
    assert_eq!(known, None);
    // SAFETY: fresh memory of that many bytes, which is freed by `give_back` alone.
    Some(unsafe { NonNull::slice_from_raw_parts(place.cast(), bytes).as_mut() })
}

#[allow(unsafe_code)]
fn give_back(place: &'static mut [MaybeUninit<u8>]) {
    let known = LENT.lock().unwrap().remove(&place.as_ptr().addr());
    assert_eq!(known, Some(place.len()));
    // SAFETY: of `lend`, with this length, and nobody's any more.
    unsafe { dealloc(place.as_mut_ptr().cast(), layout(place.len())) };
}

#[test]
fn tables_are_where_the_program_says_as_long_as_somebody_has_them() {
    keep_tables_in(Source::new(lend, give_back));
    selftest::run().unwrap();
    let lent = || LENT.lock().unwrap().values().copied().collect::<Vec<_>>();
    let of_process = lent();
    assert!(!of_process.is_empty(), "the base point has tables");
    let mut random = Seeded::new(7);
    let keys: Vec<PrivateKey> = (0..6).map(|_| PrivateKey::generate(&mut random).unwrap()).collect();
    let message = b"tables";
    let signatures: Vec<_> = keys.iter().map(|key| sm2::sign(key, DEFAULT_ID, message, &mut random).unwrap()).collect();
    let registry = Registry::with_wide_tables(4, 1);
    registry.pin_wide(&keys[0].public_key()).unwrap();
    let mut verdicts = vec![false; 6];
    for round in 0..3 {
        let registered = keys.iter().map(|key| KeyRef::Registered(registry.register(&key.public_key()).unwrap()));
        let items: Vec<_> = registered
            .zip(&signatures)
            .map(|(key, signature)| VerifyItem { key, message, signature: &signature.0 })
            .collect();
        sm2::verify_batch(&items, &mut verdicts);
        assert_eq!(verdicts, [true; 6], "round {round}");
    }
    let count = |bytes: usize| lent().iter().filter(|lent| **lent == bytes).count();
    let before = |bytes: usize| of_process.iter().filter(|lent| **lent == bytes).count();
    // Of six keys the registry has four; whoever had the others has let them go.
    assert_eq!((count(32 << 10), count(256 << 10)), (before(32 << 10) + 4, before(256 << 10) + 1));
    drop(registry);
    assert_eq!((count(32 << 10), count(256 << 10)), (before(32 << 10), before(256 << 10)));
}
