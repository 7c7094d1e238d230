//! Where expanded keys and tables of points are: in ordinary memory, unless the program has brought memory of its own for them
//! ([`keep_keys_in`], [`keep_tables_in`]).
//!
//! A key stays where it was put, however its owner is moved, and wipes itself there when it is dropped.
#![allow(unsafe_code)]

use core::alloc::Layout;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::Deref;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::NonNull;
use std::sync::OnceLock;

/// Where memory comes from, and where it goes back to.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    lend: fn(Layout) -> &'static mut [MaybeUninit<u8>],
    give_back: fn(&'static mut [MaybeUninit<u8>]),
}

impl Source {
    /// `lend` gives at least the bytes of a layout, aligned as it says; `give_back` has all that was lent in one piece back.
    pub const fn new(
        lend: fn(Layout) -> &'static mut [MaybeUninit<u8>],
        give_back: fn(&'static mut [MaybeUninit<u8>]),
    ) -> Self {
        Self { lend, give_back }
    }
}

static FOR_KEYS: OnceLock<Source> = OnceLock::new();
static FOR_TABLES: OnceLock<Source> = OnceLock::new();

/// Has every SM4 key that is expanded from now on be in memory of `source`, such as pages that are never swapped; the first caller decides,
/// for the life of the process. Layouts have at most 16 KiB and an alignment of at most 64; the source wipes what it has back.
pub fn keep_keys_in(source: Source) {
    let _ = FOR_KEYS.set(source);
}

/// Has every table of points that is made from now on, public data, be in memory of `source`, such as huge pages; the first caller decides, for
/// the life of the process. Layouts have 32 KiB to 1.5 MiB and an alignment of at most 64.
pub fn keep_tables_in(source: Source) {
    let _ = FOR_TABLES.set(source);
}

/// A value in memory of a source.
pub(crate) struct Kept<T: ?Sized> {
    value: NonNull<T>,
    /// Whose memory it is and how much was lent; the program's ordinary memory when nobody's.
    lent: Option<(Source, usize)>,
}

// SAFETY: it owns its value, as a `Box` does; the memory is freed on any thread.
unsafe impl<T: ?Sized + Send> Send for Kept<T> {}
// SAFETY: as above; shared, it gives shared access only.
unsafe impl<T: ?Sized + Sync> Sync for Kept<T> {}
impl<T: ?Sized + UnwindSafe> UnwindSafe for Kept<T> {}
impl<T: ?Sized + RefUnwindSafe> RefUnwindSafe for Kept<T> {}

impl<T> Kept<T> {
    /// Moves a key to where keys are.
    pub(crate) fn key(key: T) -> Self {
        let Some(source) = FOR_KEYS.get() else { return Self::of_box(Box::new(key)) };
        let (place, lent) = borrow(source);
        // SAFETY: `place` was lent to this alone, and has `T`'s layout.
        unsafe { place.write(key) };
        Self { value: place, lent: Some((*source, lent)) }
    }

    /// Moves a table to where tables are. It is too large to be handed in by value.
    pub(crate) fn table(table: Box<T>) -> Self
    where
        T: Copy,
    {
        let Some(source) = FOR_TABLES.get() else { return Self::of_box(table) };
        let (place, lent) = borrow(source);
        // SAFETY: `place` was lent to this alone, and has `T`'s layout; a copy of a `T` is one.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(&*table), 1) };
        Self { value: place, lent: Some((*source, lent)) }
    }

    fn of_box(value: Box<T>) -> Self {
        Self { value: NonNull::from(Box::leak(value)), lent: None }
    }
}

/// Room for a `T`, and the bytes that were lent for it.
fn borrow<T>(source: &Source) -> (NonNull<T>, usize) {
    let layout = Layout::new::<T>();
    let place = (source.lend)(layout);
    let lent = place.len();
    let place = NonNull::from(place).cast::<T>();
    assert!(lent >= layout.size() && place.is_aligned(), "the memory that was lent is not what was asked for");
    (place, lent)
}

impl<T: ?Sized> Kept<T> {
    /// The same value by a pointer to what it is besides.
    ///
    /// # Safety
    /// `cast` changes the pointer's type only, to one of a trait that the value has.
    pub(crate) unsafe fn map<U: ?Sized>(self, cast: impl FnOnce(NonNull<T>) -> NonNull<U>) -> Kept<U> {
        let this = ManuallyDrop::new(self);
        Kept { value: cast(this.value), lent: this.lent }
    }
}

impl<T: ?Sized> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `value` is a valid value that this owns until it is dropped.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Drop for Kept<T> {
    fn drop(&mut self) {
        let Some((source, lent)) = self.lent else {
            // SAFETY: of `Box::leak`, as the type that it was or a trait of it, once.
            return drop(unsafe { Box::from_raw(self.value.as_ptr()) });
        };
        // SAFETY: the value is dropped once, here, and was all that referred to the `lent` bytes at its place.
        let place = unsafe {
            self.value.drop_in_place();
            NonNull::slice_from_raw_parts(self.value.cast::<MaybeUninit<u8>>(), lent).as_mut()
        };
        (source.give_back)(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use std::rc::Rc;

    trait Named {
        fn number(&self) -> u32;
    }

    struct Counted(Rc<Cell<u32>>, [u32; 9]);

    impl Named for Counted {
        fn number(&self) -> u32 {
            self.1[8]
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_value_is_used_through_its_trait_and_dropped_once() {
        let drops = Rc::new(Cell::new(0));
        let boxed = Kept::key(Counted(Rc::clone(&drops), [7; 9]));
        // SAFETY: the pointer stays, and `Counted` has the trait.
        let named: Kept<dyn Named> = unsafe { boxed.map(|value| value as NonNull<dyn Named>) };
        assert_eq!((named.number(), drops.get()), (7, 0));
        let moved = Some(named);
        assert_eq!((moved.as_ref().map(|named| named.number()), drops.get()), (Some(7), 0));
        drop(moved);
        assert_eq!((drops.get(), Rc::strong_count(&drops)), (1, 1));
    }
}
