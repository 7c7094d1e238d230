//! Where expanded keys are: in ordinary memory, unless the program has brought memory of its own for them ([`keep_keys_in`]).
//!
//! A key stays where it was put, however its owner is moved, and wipes itself there when it is dropped.
#![allow(unsafe_code)]

use core::alloc::Layout;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::Deref;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::NonNull;
use std::sync::OnceLock;

/// Memory for keys, such as pages that are never swapped.
#[derive(Clone, Copy, Debug)]
pub struct KeyMemory {
    lend: fn(Layout) -> &'static mut [MaybeUninit<u8>],
    give_back: fn(&'static mut [MaybeUninit<u8>]),
}

impl KeyMemory {
    /// `lend` gives at least the bytes of a layout, of at most 16 KiB and an alignment of at most 64, and aligned as it says; `give_back` has all
    /// that was lent in one piece back, and wipes it.
    pub const fn new(
        lend: fn(Layout) -> &'static mut [MaybeUninit<u8>],
        give_back: fn(&'static mut [MaybeUninit<u8>]),
    ) -> Self {
        Self { lend, give_back }
    }
}

static MEMORY: OnceLock<KeyMemory> = OnceLock::new();

/// Has every SM4 key that is expanded from now on be in `memory`; the first caller decides, for the life of the process.
pub fn keep_keys_in(memory: KeyMemory) {
    let _ = MEMORY.set(memory);
}

/// A value in key memory.
pub(crate) struct KeyBox<T: ?Sized> {
    value: NonNull<T>,
    /// Whose memory it is and how much was lent; the program's ordinary memory when nobody's.
    lent: Option<(KeyMemory, usize)>,
}

// SAFETY: it owns its value, as a `Box` does; the memory is freed on any thread.
unsafe impl<T: ?Sized + Send> Send for KeyBox<T> {}
// SAFETY: as above; shared, it gives shared access only.
unsafe impl<T: ?Sized + Sync> Sync for KeyBox<T> {}
impl<T: ?Sized + UnwindSafe> UnwindSafe for KeyBox<T> {}
impl<T: ?Sized + RefUnwindSafe> RefUnwindSafe for KeyBox<T> {}

impl<T> KeyBox<T> {
    pub(crate) fn new(value: T) -> Self {
        let Some(memory) = MEMORY.get() else {
            return Self { value: NonNull::from(Box::leak(Box::new(value))), lent: None };
        };
        let layout = Layout::new::<T>();
        let place = (memory.lend)(layout);
        let lent = place.len();
        let place = NonNull::from(place).cast::<T>();
        assert!(lent >= layout.size() && place.is_aligned(), "the memory for keys is not what was asked for");
        // SAFETY: `place` was lent to this box alone, and has `T`'s layout.
        unsafe { place.write(value) };
        Self { value: place, lent: Some((*memory, lent)) }
    }
}

impl<T: ?Sized> KeyBox<T> {
    /// The same value by a pointer to what it is besides.
    ///
    /// # Safety
    /// `cast` changes the pointer's type only, to one of a trait that the value has.
    pub(crate) unsafe fn map<U: ?Sized>(self, cast: impl FnOnce(NonNull<T>) -> NonNull<U>) -> KeyBox<U> {
        let this = ManuallyDrop::new(self);
        KeyBox { value: cast(this.value), lent: this.lent }
    }
}

impl<T: ?Sized> Deref for KeyBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `value` is a valid value that this box owns until it is dropped.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Drop for KeyBox<T> {
    fn drop(&mut self) {
        let Some((memory, lent)) = self.lent else {
            // SAFETY: of `Box::leak`, as the type that it was or a trait of it, once.
            return drop(unsafe { Box::from_raw(self.value.as_ptr()) });
        };
        // SAFETY: the value is dropped once, here, and was all that referred to the `lent` bytes at its place.
        let place = unsafe {
            self.value.drop_in_place();
            NonNull::slice_from_raw_parts(self.value.cast::<MaybeUninit<u8>>(), lent).as_mut()
        };
        (memory.give_back)(place);
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
        let boxed = KeyBox::new(Counted(Rc::clone(&drops), [7; 9]));
        // SAFETY: the pointer stays, and `Counted` has the trait.
        let named: KeyBox<dyn Named> = unsafe { boxed.map(|value| value as NonNull<dyn Named>) };
        assert_eq!((named.number(), drops.get()), (7, 0));
        let moved = Some(named);
        assert_eq!((moved.as_ref().map(|named| named.number()), drops.get()), (Some(7), 0));
        drop(moved);
        assert_eq!((drops.get(), Rc::strong_count(&drops)), (1, 1));
    }
}
