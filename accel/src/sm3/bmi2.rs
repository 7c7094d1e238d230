//! One stream with BMI2: the portable function, compiled so that a rotation keeps its source (RORX) and `¬x ∧ y` is one
//! instruction (ANDN).
#![allow(unsafe_code)]

use super::BLOCK_BYTES;
use super::portable;
use crate::cpu::Bmi2;

/// Folds whole blocks into the state.
pub(super) fn compress(_token: Bmi2, state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    // SAFETY: the token exists only where BMI1 and BMI2 were detected.
    unsafe { compress_blocks(state, blocks) }
}

#[target_feature(enable = "bmi1,bmi2")]
fn compress_blocks(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    portable::compress_inline(state, blocks);
}
