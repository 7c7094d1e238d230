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

/// Gives memory of a layout, if there is any.
type Lend = fn(Layout) -> Option<&'static mut [MaybeUninit<u8>]>;

/// Where memory comes from, and where it goes back to.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    lend: Lend,
    give_back: fn(&'static mut [MaybeUninit<u8>]),
}

impl Source {
    /// `lend` gives at least the bytes of a layout, aligned as it says, or nothing: then the program's ordinary memory serves. `give_back` has all
    /// that was lent in one piece back.
    pub const fn new(lend: Lend, give_back: fn(&'static mut [MaybeUninit<u8>])) -> Self {
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

/// Has every long-lived table of points that is made from now on, public data, be in memory of `source`, such as huge pages; the first caller
/// decides, for the life of the process, and tables made before stay where they are. Layouts have 32 KiB to 1.5 MiB and an alignment of at most
/// 64. What `source` holds beyond them is no part of the bounds that [`Registry`](crate::sm2::Registry) states.
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
        match Room::in_memory_of(&FOR_KEYS) {
            Some(room) => {
                // SAFETY: `place` was lent to this alone, and has `T`'s layout.
                unsafe { room.place.write(key) };
                room.filled()
            }
            None => Self::of_box(Box::new(key)),
        }
    }

    /// Moves a table to where tables are. It is too large to be handed in by value.
    pub(crate) fn table(table: Box<T>) -> Self {
        const { assert!(!core::mem::needs_drop::<T>(), "a table is copied from its box, which then goes as bytes") };
        match Room::in_memory_of(&FOR_TABLES) {
            Some(room) => {
                // SAFETY: `place` was lent to this alone, and has `T`'s layout. What is left in the box is not dropped.
                unsafe { room.place.copy_from_nonoverlapping(NonNull::from(&*table), 1) };
                room.filled()
            }
            None => Self::of_box(table),
        }
    }

    fn of_box(value: Box<T>) -> Self {
        Self { value: NonNull::from(Box::leak(value)), lent: None }
    }
}

/// Room for a `T` that was lent.
struct Room<T> {
    place: NonNull<T>,
    source: Source,
    bytes: usize,
}

impl<T> Room<T> {
    /// None where the program has brought no memory, or has no more.
    fn in_memory_of(source: &OnceLock<Source>) -> Option<Self> {
        let source = *source.get()?;
        let layout = Layout::new::<T>();
        let place = (source.lend)(layout)?;
        let bytes = place.len();
        let place = NonNull::from(place).cast::<T>();
        assert!(bytes >= layout.size() && place.is_aligned(), "the memory that was lent is not what was asked for");
        Some(Self { place, source, bytes })
    }

    /// The value that was written there.
    fn filled(self) -> Kept<T> {
        Kept { value: self.place, lent: Some((self.source, self.bytes)) }
    }
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
