//! Many small keys in few locked mappings.
//!
//! A [`Secret`] has pages of its own, which is too much for the expanded keys of hundreds of open files: here they share pages that are locked,
//! left out of dumps and wiped in children as a secret's are. What is freed is wiped, and its place is used again; mappings are kept for the
//! life of the process.

use std::alloc::Layout;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

use super::Secret;

/// Bytes of a mapping.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes of the smallest and the largest place, which are powers of two.
const PLACE_BYTES_MIN: usize = 64;
const PLACE_BYTES_MAX: usize = 16 << 10;
const CLASSES: usize = (PLACE_BYTES_MAX / PLACE_BYTES_MIN).ilog2() as usize + 1;

static ARENA: Mutex<Arena> = Mutex::new(Arena { free: [const { Vec::new() }; CLASSES], chunks: Vec::new() });

struct Arena {
    /// Places that nobody has, by size.
    free: [Vec<Place>; CLASSES],
    chunks: Vec<Secret>,
}

struct Place(NonNull<u8>);

// SAFETY: memory that nobody has a reference to.
unsafe impl Send for Place {}

impl Arena {
    fn lock() -> MutexGuard<'static, Self> {
        ARENA.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&mut self, class: usize) -> NonNull<u8> {
        if let Some(Place(place)) = self.free[class].pop() {
            return place;
        }
        let bytes = PLACE_BYTES_MIN << class;
        let chunk = Secret::zeroed(CHUNK_BYTES);
        let places = (0..CHUNK_BYTES / bytes).map(|index| {
            // SAFETY: `index * bytes` lies inside the chunk's mapping of `CHUNK_BYTES`.
            Place(unsafe { chunk.data.add(index * bytes) })
        });
        self.free[class].extend(places);
        self.chunks.push(chunk);
        let Place(place) = self.free[class].pop().expect("a chunk has places");
        place
    }
}

/// The class of places that a layout fits; places are aligned to their size, up to a page.
fn class_of(layout: Layout) -> usize {
    let bytes = layout.size().max(layout.align()).next_power_of_two().max(PLACE_BYTES_MIN);
    assert!(bytes <= PLACE_BYTES_MAX && layout.align() <= 4096, "a key of {layout:?} is larger than any there is");
    (bytes / PLACE_BYTES_MIN).ilog2() as usize
}

/// Locked memory of a layout of at most 16 KiB, and an alignment of at most 4 KiB: as much as it wants, or more.
///
/// # Panics
/// For a larger one, and if the kernel gives no memory at all, as an ordinary allocation would.
pub fn lend(layout: Layout) -> &'static mut [MaybeUninit<u8>] {
    let class = class_of(layout);
    let place = Arena::lock().take(class);
    // SAFETY: so many bytes of a mapping that is kept for ever; nobody else has the place until it is given back.
    unsafe { NonNull::slice_from_raw_parts(place.cast(), PLACE_BYTES_MIN << class).as_mut() }
}

/// Takes back and wipes all that was [lent](lend) in one piece.
///
/// # Panics
/// For anything else.
pub fn give_back(place: &'static mut [MaybeUninit<u8>]) {
    let bytes = place.len();
    place.zeroize();
    let place = NonNull::from(place).cast::<u8>();
    let mut arena = Arena::lock();
    let holds = |chunk: &Secret| {
        let offset = place.addr().get().wrapping_sub(chunk.data.addr().get());
        offset < CHUNK_BYTES && offset.is_multiple_of(bytes)
    };
    assert!(bytes.is_power_of_two() && arena.chunks.iter().any(holds), "memory that the arena did not lend");
    arena.free[(bytes / PLACE_BYTES_MIN).ilog2() as usize].push(Place(place));
}

/// A value in locked memory, which it does not leave: a `Box` for keys.
pub struct Locked<T> {
    value: NonNull<T>,
    /// What was lent for it.
    bytes: usize,
}

// SAFETY: it owns its value, as a `Box` does.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as above; shared, it gives shared access only.
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T> Locked<T> {
    /// Moves `value` into locked memory, and wipes where it was handed in. What its making left elsewhere on the stack is for the caller.
    ///
    /// # Panics
    /// As [`lend`].
    pub fn new(value: T) -> Self {
        let place = lend(Layout::new::<T>());
        let bytes = place.len();
        let place = NonNull::from(place).cast::<T>();
        let mut value = ManuallyDrop::new(value);
        let from: *mut T = &mut *value;
        // SAFETY: `place` is memory of `T`'s layout that nobody else has; `value` is not dropped where it was, nor used again, so that its bytes
        // there may be anything.
        unsafe {
            place.as_ptr().copy_from_nonoverlapping(from, 1);
            std::slice::from_raw_parts_mut(from.cast::<std::mem::MaybeUninit<u8>>(), size_of::<T>()).zeroize();
        }
        Self { value: place, bytes }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: a valid value that this owns until it is dropped.
        unsafe { self.value.as_ref() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the value is dropped once, here, and was all that referred to the bytes that were lent for it.
        give_back(unsafe {
            self.value.drop_in_place();
            NonNull::slice_from_raw_parts(self.value.cast(), self.bytes).as_mut()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::smaps::mapping_of;

    #[test]
    fn places_are_locked_apart_aligned_and_used_again() {
        let layouts = [(1, 1), (64, 64), (65, 8), (1000, 64), (4096, 64), (16 << 10, 4096)];
        let layouts = layouts.map(|(bytes, align)| Layout::from_size_align(bytes, align).unwrap());
        let mut taken: Vec<&'static mut [MaybeUninit<u8>]> = Vec::new();
        for layout in layouts.iter().cycle().take(600) {
            let place = lend(*layout);
            let start = place.as_ptr().addr();
            assert!(place.len() >= layout.size() && start.is_multiple_of(layout.align()), "{layout:?}");
            place.fill(MaybeUninit::new(0xa5));
            taken.push(place);
        }
        let mut ranges: Vec<_> = taken.iter().map(|place| (place.as_ptr().addr(), place.len())).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
        let flags = mapping_of(ranges[0].0);
        let flags = flags.lines().find(|line| line.starts_with("VmFlags")).unwrap();
        for flag in ["dd", "wf"] {
            assert!(flags.split(' ').any(|word| word == flag), "{flag} is missing in {flags}");
        }
        let before: BTreeSet<usize> = ranges.iter().map(|(start, _)| *start).collect();
        taken.into_iter().for_each(give_back);
        let again = lend(layouts[4]);
        // SAFETY: bytes that were written, by their last owner or by the arena that wiped them.
        assert!(again.iter().all(|byte| unsafe { byte.assume_init() } == 0));
        assert!(before.contains(&again.as_ptr().addr()));
        give_back(again);
    }

    #[test]
    fn a_value_is_dropped_once_and_its_place_is_wiped() {
        use std::sync::Arc;
        let counted = Arc::new(());
        let locked = Locked::new((Arc::clone(&counted), [7_u64; 20]));
        assert_eq!((locked.1, Arc::strong_count(&counted)), ([7; 20], 2));
        let place = locked.value.cast::<[u8; 176]>();
        drop(locked);
        assert_eq!(Arc::strong_count(&counted), 1);
        // SAFETY: the arena's memory stays mapped; another test may have been lent it, and none writes sevens.
        assert!(!unsafe { place.read_volatile() }.windows(8).any(|bytes| bytes == 7_u64.to_ne_bytes()));
    }

    #[test]
    #[should_panic(expected = "did not lend")]
    fn what_was_not_lent_is_not_taken() {
        give_back(Box::leak(Box::new([MaybeUninit::new(1); 64])));
    }
}
