//! What the compiler is told about the stack of functions that spill vectors.

/// A line of the cache, as long as the longest vector.
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; 64]);

/// Has the calling function align its stack for vectors. The compiler decides on that before it knows what it will
/// spill; a vector that is spilled across two lines of the cache costs twice, and a function full of them half its time again.
#[inline(always)]
pub(crate) fn align() {
    let mut line = core::mem::MaybeUninit::<Line>::uninit();
    core::hint::black_box(line.as_mut_ptr());
}
