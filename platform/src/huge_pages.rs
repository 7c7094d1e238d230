//! Large tables, public and long-lived, on huge pages.
//!
//! A verification under a registered key reads a line here and there in a table of 32 KiB: with thousands of keys every line is on another
//! page, and finding pages costs up to a tenth of it. Here tables share mappings of the size of a huge page, which the kernel is asked to back
//! by one (`MADV_HUGEPAGE`); where it has none, or is told to give none, they are on ordinary pages all the same.
//!
//! A mapping has places of one size and is unmapped when the last is given back: what is held is at most what tables take, rounded up to
//! powers of two, and one mapping more for each size, as long as they come and go one at a time.

use std::{
    alloc::Layout,
    io,
    mem::MaybeUninit,
    ptr::NonNull,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Bytes of a mapping and its alignment: the huge page of x86-64, and of AArch64 with pages of 4 KiB.
const CHUNK_BYTES: usize = 2 << 20;
/// Bytes of the smallest place.
const PLACE_BYTES_MIN: usize = 4 << 10;

static CHUNKS: Mutex<Vec<Chunk>> = Mutex::new(Vec::new());

/// A mapping, and its places that nobody has.
struct Chunk {
    start: NonNull<u8>,
    place_bytes: usize,
    free: Vec<NonNull<u8>>,
}

// SAFETY: it owns its mapping; of the places in `free` nobody else has a reference.
unsafe impl Send for Chunk {}

impl Chunk {
    fn lock_all() -> MutexGuard<'static, Vec<Self>> {
        CHUNKS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new(place_bytes: usize) -> io::Result<Self> {
        let start = map_aligned()?;
        let place = |index: usize| {
            // SAFETY: `index * place_bytes` is inside the mapping of `CHUNK_BYTES`.
            unsafe { start.add(index * place_bytes) }
        };
        // The lowest is taken first.
        Ok(Self { start, place_bytes, free: (0..CHUNK_BYTES / place_bytes).rev().map(place).collect() })
    }

    fn is_unused(&self) -> bool {
        self.free.len() * self.place_bytes == CHUNK_BYTES
    }

    /// Whether `place` is one of this chunk's, given its size.
    fn has(&self, place: NonNull<u8>, bytes: usize) -> bool {
        let offset = place.addr().get().wrapping_sub(self.start.addr().get());
        bytes == self.place_bytes && offset < CHUNK_BYTES && offset.is_multiple_of(bytes) && !self.free.contains(&place)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, unmapped once, here; nobody has a place in it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), CHUNK_BYTES) };
    }
}

/// Maps `CHUNK_BYTES` at a multiple of `CHUNK_BYTES`, to be backed by a huge page.
fn map_aligned() -> io::Result<NonNull<u8>> {
    let (bytes, rights) = (2 * CHUNK_BYTES, libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let before = mapped.addr().next_multiple_of(CHUNK_BYTES) - mapped.addr();
    // SAFETY: `before` is less than `CHUNK_BYTES`: the aligned half lies inside the mapping, with what is unmapped before and behind it.
    let start = unsafe {
        let start = mapped.byte_add(before);
        if before > 0 {
            libc::munmap(mapped, before);
        }
        libc::munmap(start.byte_add(CHUNK_BYTES), CHUNK_BYTES - before);
        start
    };
    // SAFETY: advice on a mapping made above, which changes no content. A kernel without huge pages refuses it, and nothing is lost.
    if unsafe { libc::madvise(start, CHUNK_BYTES, libc::MADV_HUGEPAGE) } != 0 {
        tracing::debug!(error = %io::Error::last_os_error(), "tables are on ordinary pages");
    }
    Ok(NonNull::new(start.cast::<u8>()).expect("mmap without MAP_FIXED never returns null"))
}

/// Memory of a layout of at most 2 MiB: as much as it wants, or more, up to the next power of two.
///
/// # Panics
/// For a larger one, and if the kernel gives no memory at all, as an ordinary allocation would.
pub fn lend(layout: Layout) -> &'static mut [MaybeUninit<u8>] {
    let bytes = layout.size().max(layout.align()).next_power_of_two().max(PLACE_BYTES_MIN);
    assert!(bytes <= CHUNK_BYTES, "a table of {layout:?} is larger than a huge page");
    let mut chunks = Chunk::lock_all();
    let found = chunks.iter_mut().find(|chunk| chunk.place_bytes == bytes && !chunk.free.is_empty());
    let chunk = match found {
        Some(chunk) => chunk,
        None => {
            let chunk =
                Chunk::new(bytes).unwrap_or_else(|error| panic!("no memory for a table of {bytes} bytes: {error}"));
            chunks.push_mut(chunk)
        }
    };
    let place = chunk.free.pop().expect("a chunk with a free place");
    // SAFETY: so many bytes of a mapping that stays until they are given back; nobody else has the place until then.
    unsafe { NonNull::slice_from_raw_parts(place.cast(), bytes).as_mut() }
}

/// Takes back all that was [lent](lend) in one piece.
///
/// # Panics
/// For anything else.
pub fn give_back(place: &'static mut [MaybeUninit<u8>]) {
    let bytes = place.len();
    let place = NonNull::from(place).cast::<u8>();
    let mut chunks = Chunk::lock_all();
    let index = chunks.iter().position(|chunk| chunk.has(place, bytes));
    let index = index.expect("memory that was lent here, once");
    chunks[index].free.push(place);
    if chunks[index].is_unused() {
        chunks.swap_remove(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::tests::mapping_of;

    /// Tests take turns: they count the mappings.
    static TURN: Mutex<()> = Mutex::new(());

    fn table(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 64).unwrap()
    }

    fn chunks() -> usize {
        Chunk::lock_all().len()
    }

    #[test]
    fn tables_share_huge_pages_and_leave_none_behind() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let layouts = [32 << 10, 192 << 10, 256 << 10, 100].map(table);
        let mut taken = Vec::new();
        for layout in layouts.iter().cycle().take(400) {
            let place = lend(*layout);
            assert!(place.len() >= layout.size() && place.as_ptr().addr().is_multiple_of(4096), "{layout:?}");
            place.fill(MaybeUninit::new(0xa5));
            taken.push(place);
        }
        let mut ranges: Vec<_> = taken.iter().map(|place| (place.as_ptr().addr(), place.len())).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
        // A hundred of each: 64, 8, 8 and 512 to a page; those of 192 and 256 KiB are of one size.
        assert_eq!(chunks(), 2 + 200 / 8 + 1);
        let (odd, even): (Vec<_>, Vec<_>) = taken.into_iter().enumerate().partition(|(index, _)| index % 2 == 1);
        odd.into_iter().for_each(|(_, place)| give_back(place));
        // What was given back is used before anything is mapped.
        let before = chunks();
        give_back(lend(table(32 << 10)));
        assert_eq!(chunks(), before);
        even.into_iter().for_each(|(_, place)| give_back(place));
        assert_eq!(chunks(), 0);
    }

    #[test]
    fn the_kernel_is_asked_for_a_huge_page() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let place = lend(table(CHUNK_BYTES));
        place.fill(MaybeUninit::new(1));
        let start = place.as_ptr().addr();
        assert!(start.is_multiple_of(CHUNK_BYTES));
        let mapping = mapping_of(start);
        let flags = mapping.lines().find(|line| line.starts_with("VmFlags")).unwrap();
        // A kernel built without them has no such flag to set.
        let is_built_in = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        assert_eq!(flags.split(' ').any(|word| word == "hg"), is_built_in, "{flags}");
        give_back(place);
    }

    #[test]
    #[should_panic(expected = "lent here")]
    fn what_was_not_lent_is_not_taken() {
        give_back(Box::leak(Box::new([MaybeUninit::new(1); 4096])));
    }

    #[test]
    #[should_panic(expected = "larger than a huge page")]
    fn a_table_fits_a_huge_page() {
        let _ = lend(table(CHUNK_BYTES + 1));
    }
}
