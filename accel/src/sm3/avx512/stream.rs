//! One stream, its messages expanded sixteen blocks at a time: expansion does not depend on the chaining value. The steps
//! are [`bmi2`]'s.

use super::super::bmi2::{self, Words};
use super::*;
use crate::cpu::Bmi2;

/// Fewer blocks than this are not worth an expansion of sixteen.
pub(in crate::sm3) const BLOCKS_MIN: usize = 6;

/// Folds whole blocks into the state.
pub(in crate::sm3) fn compress(_tokens: (Int512, Bmi2), state: &mut [u32; 8], blocks: &[Block]) {
    let mut room = Room::<1>::new();
    // SAFETY: the tokens exist only where the features were detected.
    unsafe { compress_blocks(state, blocks, room.expanded()) };
}

#[target_feature(enable = "avx512f,avx512bw,bmi1,bmi2")]
fn compress_blocks(state: &mut [u32; 8], blocks: &[Block], w: &mut Expanded<1>) {
    for group in blocks.chunks(GROUP) {
        let mut x = [_mm512_setzero_si512(); GROUP];
        for (x, block) in x.iter_mut().zip(group) {
            *x = load(block);
        }
        put_words(w, 0, transpose::square(x));
        expand(w);
        // SAFETY: a vector is sixteen words of 32 bits, and its alignment is greater than theirs.
        let words = unsafe { &*core::ptr::from_ref(w).cast::<Words>() };
        for block in 0..group.len() {
            bmi2::steps(state, words, block);
        }
    }
}
