//! Large tables, public and long-lived, on huge pages.
//!
//! A verification under a registered key reads a line here and there in a table of 32 KiB: with thousands of keys every line is on another
//! page, and finding pages costs up to a sixth of it. Here tables share mappings of the size of a huge page, which the kernel is asked to back
//! by one (`MADV_HUGEPAGE`); where it has none, or is told to give none, they are on ordinary pages all the same.
//!
//! A table takes granules of 32 KiB, side by side; a mapping is unmapped when its last table is given back. What is held follows the most that
//! tables ever took at once, rounded up to mappings: later tables use the gaps of earlier ones, and are not moved to close them.

use std::{
    alloc::Layout,
    io,
    mem::MaybeUninit,
    ptr::NonNull,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Bytes of a mapping and its alignment: the huge page of x86-64, and of AArch64 with pages of 4 KiB.
const CHUNK_BYTES: usize = 2 << 20;
const GRANULE_BYTES: usize = CHUNK_BYTES / u64::BITS as usize;

static CHUNKS: Mutex<Vec<Chunk>> = Mutex::new(Vec::new());

/// A mapping, and which of its granules somebody has.
struct Chunk {
    start: NonNull<u8>,
    used: u64,
}

// SAFETY: it owns its mapping, of which it makes no reference to what somebody has.
unsafe impl Send for Chunk {}

impl Chunk {
    fn lock_all() -> MutexGuard<'static, Vec<Self>> {
        CHUNKS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first granules side by side that nobody has, `count` of them.
    fn take(&mut self, count: u32) -> Option<NonNull<u8>> {
        let first = (1..count).fold(!self.used, |starts, next| starts & (!self.used >> next)).trailing_zeros();
        if first + count > u64::BITS {
            return None;
        }
        self.used |= granules(first, count);
        // SAFETY: `first` counts granules of the mapping.
        Some(unsafe { self.start.add(first as usize * GRANULE_BYTES) })
    }

    /// Takes back what [`Self::take`] gave; false when it did not.
    fn put_back(&mut self, place: NonNull<u8>, count: u32) -> bool {
        let offset = place.addr().get().wrapping_sub(self.start.addr().get());
        if offset >= CHUNK_BYTES || !offset.is_multiple_of(GRANULE_BYTES) {
            return false;
        }
        let first = (offset / GRANULE_BYTES) as u32;
        let is_taken = first + count <= u64::BITS && self.used & granules(first, count) == granules(first, count);
        if is_taken {
            self.used &= !granules(first, count);
        }
        is_taken
    }

    fn map() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // Twice the bytes hold an aligned mapping; no access, so that no memory is reserved for what is unmapped again.
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 2 * CHUNK_BYTES, libc::PROT_NONE, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let before = mapped.addr().next_multiple_of(CHUNK_BYTES) - mapped.addr();
        // SAFETY: `before` is less than `CHUNK_BYTES`, so that the aligned half and what is unmapped before and behind it are the mapping made above.
        let start = unsafe {
            let start = mapped.byte_add(before);
            unmap(mapped, before);
            unmap(start.byte_add(CHUNK_BYTES), CHUNK_BYTES - before);
            start
        };
        let chunk =
            Self { start: NonNull::new(start.cast()).expect("mmap without MAP_FIXED never returns null"), used: 0 };
        // SAFETY: the mapping made above, in which nobody has anything yet.
        if unsafe { libc::mprotect(start, CHUNK_BYTES, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: advice on that mapping, which changes no content. A kernel without huge pages refuses it, and nothing is lost.
        unsafe { libc::madvise(start, CHUNK_BYTES, libc::MADV_HUGEPAGE) };
        Ok(chunk)
    }
}

/// The bits of `count` granules, 1 to 64, from the `first` on.
fn granules(first: u32, count: u32) -> u64 {
    u64::MAX >> (u64::BITS - count) << first
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, unmapped once, here; nobody has a place in it.
        unsafe { unmap(self.start.as_ptr().cast(), CHUNK_BYTES) };
    }
}

/// # Safety
/// The bytes must be a mapping, or the end of one, of which nobody has a reference. None are nothing.
unsafe fn unmap(start: *mut libc::c_void, bytes: usize) {
    // SAFETY: as the caller says.
    assert!(bytes == 0 || unsafe { libc::munmap(start, bytes) } == 0, "munmap refuses a mapping of this process");
}

/// Granules that hold a layout, if a mapping has as many.
fn granules_of(layout: Layout) -> Option<u32> {
    let fits = layout.size() <= CHUNK_BYTES && layout.align() <= GRANULE_BYTES;
    fits.then(|| layout.size().div_ceil(GRANULE_BYTES).max(1) as u32)
}

/// Memory of a layout, rounded up to 32 KiB. `None` for one that no huge page holds, and when the kernel gives no mapping.
pub fn lend(layout: Layout) -> Option<&'static mut [MaybeUninit<u8>]> {
    let count = granules_of(layout)?;
    let found = Chunk::lock_all().iter_mut().find_map(|chunk| chunk.take(count));
    let place = match found {
        Some(place) => place,
        None => {
            // Unlocked: the kernel may have to make room.
            let mut chunk = Chunk::map().ok()?;
            let place = chunk.take(count)?;
            Chunk::lock_all().push(chunk);
            place
        }
    };
    // SAFETY: so many bytes of a mapping that stays until they are given back; nobody else has them until then.
    Some(unsafe { NonNull::slice_from_raw_parts(place.cast(), count as usize * GRANULE_BYTES).as_mut() })
}

/// Takes back all that was [lent](lend) in one piece.
///
/// # Panics
/// For anything else.
pub fn give_back(place: &'static mut [MaybeUninit<u8>]) {
    let count = (place.len() / GRANULE_BYTES) as u32;
    let place = NonNull::from(place).cast::<u8>();
    let mut chunks = Chunk::lock_all();
    let index = chunks.iter_mut().position(|chunk| count > 0 && chunk.put_back(place, count));
    let index = index.expect("memory that was lent here, once");
    let unused = (chunks[index].used == 0).then(|| chunks.swap_remove(index));
    drop(chunks);
    // Unmapped when nobody waits for the lock.
    drop(unused);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smaps::mapping_of;

    /// Tests that count mappings take turns.
    static TURN: Mutex<()> = Mutex::new(());

    fn turn() -> MutexGuard<'static, ()> {
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(kib: usize) -> Layout {
        Layout::from_size_align(kib << 10, 64).unwrap()
    }

    fn chunks() -> usize {
        Chunk::lock_all().len()
    }

    #[test]
    fn tables_share_huge_pages_and_leave_none_behind() {
        let _turn = turn();
        let layouts = [32, 192, 256, 3].map(table);
        let mut taken = Vec::new();
        for layout in layouts.iter().cycle().take(400) {
            let place = lend(*layout).unwrap();
            assert!(place.len() >= layout.size() && place.as_ptr().addr().is_multiple_of(GRANULE_BYTES), "{layout:?}");
            place.fill(MaybeUninit::new(0xa5));
            taken.push(place);
        }
        let mut ranges: Vec<_> = taken.iter().map(|place| (place.as_ptr().addr(), place.len())).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
        // A hundred times 1 + 6 + 8 + 1 granules of 64, and what the gaps cost.
        assert!((25..=26).contains(&chunks()), "{}", chunks());
        let (odd, even): (Vec<_>, Vec<_>) = taken.into_iter().enumerate().partition(|(index, _)| index % 2 == 1);
        odd.into_iter().for_each(|(_, place)| give_back(place));
        // What was given back is used before anything is mapped.
        let before = chunks();
        give_back(lend(table(32)).unwrap());
        assert_eq!(chunks(), before);
        even.into_iter().for_each(|(_, place)| give_back(place));
        assert_eq!(chunks(), 0);
    }

    #[test]
    fn the_kernel_is_asked_for_a_huge_page() {
        let _turn = turn();
        let place = lend(table(2048)).unwrap();
        let start = place.as_ptr().addr();
        assert!(start.is_multiple_of(CHUNK_BYTES));
        let mapping = mapping_of(start);
        let flags = mapping.lines().find(|line| line.starts_with("VmFlags")).unwrap();
        let is_asked = flags.split(' ').any(|word| word == "hg");
        // SAFETY: advice on a place that was lent.
        let has_any = unsafe { libc::madvise(place.as_mut_ptr().cast(), CHUNK_BYTES, libc::MADV_HUGEPAGE) } == 0;
        assert_eq!(is_asked, has_any, "{flags}");
        give_back(place);
    }

    #[test]
    fn only_what_is_taken_is_put_back_and_once() {
        let mut chunk = Chunk::map().unwrap();
        let [first, second] = [3, 5].map(|count| chunk.take(count).unwrap());
        let start = chunk.start;
        // SAFETY: granules of the mapping, and its end.
        let at = |granule: usize| unsafe { start.add(granule * GRANULE_BYTES) };
        assert_eq!((first, second, chunk.used), (at(0), at(3), 0xff));
        // SAFETY: inside the first granule.
        let inside = unsafe { first.add(1) };
        let (behind, free) = (at(64), at(8));
        for (place, count) in [(inside, 1), (behind, 1), (free, 1), (second, 6), (at(60), 5)] {
            assert!(!chunk.put_back(place, count), "{count}");
        }
        assert_eq!(chunk.used, 0xff);
        assert!(chunk.put_back(first, 3) && !chunk.put_back(first, 3));
        // Four do not fit the gap of three; three do.
        assert_eq!((chunk.take(4), chunk.take(3)), (Some(free), Some(first)));
        assert_eq!((chunk.take(53), chunk.take(52), chunk.take(1)), (None, Some(at(12)), None));
    }

    #[test]
    fn what_no_huge_page_holds_is_not_lent() {
        assert!(lend(table(2049)).is_none());
        assert!(lend(Layout::from_size_align(64, 2 * GRANULE_BYTES).unwrap()).is_none());
    }

    #[test]
    #[should_panic(expected = "lent here")]
    fn what_was_not_lent_is_not_taken() {
        give_back(Box::leak(Box::new([MaybeUninit::new(1); GRANULE_BYTES])));
    }
}
