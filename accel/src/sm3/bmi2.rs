//! One stream with BMI2 and a vector unit beside it.
//!
//! A step waits for the one before it: `E' = P0(GG + H + W + (A <<< 12 + E + T) <<< 7)` is six instructions in a row from `E` (add, rotate,
//! add, rotate, two XORs), and six from `A` through `A'`. Everything else must fit beside these two chains, 384 cycles a block. What
//! does not fit by itself is `GG = (E ∧ F) ∨ (¬E ∧ G)`: two terms that wait for `E` and have to be joined and added. It is written
//! `GG = ((E ⊕ G) ∧ (F ⊕ G)) + (¬(F ⊕ G) ∧ G)`, terms without a common bit, and the XOR with the next `G`, known long before, is taken along
//! in the sum of `P0`: `E' ⊕ G'` is there when `E'` is. `FF = (A ∧ (B ⊕ C)) + (¬(B ⊕ C) ∧ C)` needs no such help, since `A'` comes first.
//!
//! The compiler reorders such sums and joins `A <<< 12 + E + T` in one slow LEA; hence `asm!`. A step is 30 instructions (24 of the first form),
//! three of them moves that renaming removes. The message is expanded by four words at a time in the vector unit, twelve steps ahead,
//! and handed over in memory ([`Room`]); the last steps of a block read and store the words of the next. No address and no branch
//! depends on data.
#![allow(unsafe_code)]

#[macro_use]
mod text;

use super::{BLOCK_BYTES, wipe};
use crate::cpu::Bmi2;
use core::arch::asm;
use core::arch::x86_64::_mm_set_epi8;
use core::mem::{MaybeUninit, offset_of};

/// All that the instructions find in memory; wiped when dropped.
#[repr(C, align(64))]
struct Room {
    /// Quads of words and of mixed words in turn; see [`text`]. The last quad serves its mixed words only.
    words: MaybeUninit<[[[u32; 4]; 2]; 17]>,
    state: *mut [u32; 8],
    /// The block to be loaded next, and the last one there is.
    next: *const [u8; BLOCK_BYTES],
    last: *const [u8; BLOCK_BYTES],
    /// Blocks still to be folded, at least one.
    count: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        wipe(core::slice::from_mut(&mut self.words), MaybeUninit::zeroed());
    }
}

/// Folds whole blocks into the state.
pub(super) fn compress(_token: Bmi2, state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return };
    let mut room = Room { words: MaybeUninit::uninit(), state, next: first, last, count: blocks.len() as u64 };
    // SAFETY: the token exists only where the features were detected; `room` describes `state` and `blocks`.
    unsafe { compress_blocks(&mut room) }
}

/// # Safety
/// `state` can be read and written; `next` to `last` are `count` blocks that can be read, at least one.
#[target_feature(enable = "avx,bmi1,bmi2")]
unsafe fn compress_blocks(room: &mut Room) {
    // SAFETY: reads the blocks from `next` to `last` and nothing beyond, as `next` stops at `last`; reads and writes the state and the
    // fields of `room`, which is aligned for the vector stores. The stack is not touched. Of the general registers all thirteen that
    // inline assembly may name are used: `room`, the eight of the state, `t`, `s`, `q` and `u`.
    unsafe {
        asm!(
            load_state!(a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7),
            load!(),
            swap_bytes!(),
            store_words!(),
            store_mixed!(),
            "2:",
            "mov {u:e}, {e:e}",
            "xor {u:e}, {g:e}",
            quad_and_expand!(parity 0: x0 x1 x2 x3),
            quad_and_expand!(parity 1: x1 x2 x3 x0),
            quad_and_expand!(parity 2: x2 x3 x0 x1),
            quad_and_expand!(parity 3: x3 x0 x1 x2),
            quad_and_expand!(choose 4: x0 x1 x2 x3),
            quad_and_expand!(choose 5: x1 x2 x3 x0),
            quad_and_expand!(choose 6: x2 x3 x0 x1),
            quad_and_expand!(choose 7: x3 x0 x1 x2),
            quad_and_expand!(choose 8: x0 x1 x2 x3),
            quad_and_expand!(choose 9: x1 x2 x3 x0),
            quad_and_expand!(choose 10: x2 x3 x0 x1),
            quad_and_expand!(choose 11: x3 x0 x1 x2),
            quad_and_expand!(choose 12: x0 x1 x2 x3),
            quad!(choose 13, [load!(), "", swap_bytes!(), ""]),
            quad!(choose 14, [store_words!(), "", store_mixed!(), ""]),
            quad!(choose 15, ["", "", "", ""]),
            feed_forward!(a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7),
            "sub qword ptr [{room} + {count}], 1",
            "jnz 2b",
            room = in(reg) room,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            e = out(reg) _,
            f = out(reg) _,
            g = out(reg) _,
            h = out(reg) _,
            t = out(reg) _,
            s = out(reg) _,
            q = out(reg) _,
            u = out(reg) _,
            swap = in(xmm_reg) _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3),
            x0 = out(xmm_reg) _,
            x1 = out(xmm_reg) _,
            x2 = out(xmm_reg) _,
            x3 = out(xmm_reg) _,
            y0 = out(xmm_reg) _,
            y1 = out(xmm_reg) _,
            y2 = out(xmm_reg) _,
            y3 = out(xmm_reg) _,
            y4 = out(xmm_reg) _,
            y5 = out(xmm_reg) _,
            state = const offset_of!(Room, state),
            next = const offset_of!(Room, next),
            last = const offset_of!(Room, last),
            count = const offset_of!(Room, count),
            options(nostack),
        );
    }
}
