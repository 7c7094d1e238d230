//! One message: the choice between the compression functions for a single stream.

use super::BLOCK_BYTES;
#[cfg(target_arch = "x86_64")]
use super::bmi2;
use super::portable;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Bmi2;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
static SELECTED: OnceLock<Option<Bmi2>> = OnceLock::new();

#[cfg(target_arch = "x86_64")]
fn selected() -> Option<Bmi2> {
    *SELECTED.get_or_init(Bmi2::selected)
}

/// Folds whole blocks into the state.
pub(super) fn compress(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = selected() {
        return bmi2::compress(token, state, blocks);
    }
    portable::compress(state, blocks);
}

pub(super) fn kernel_name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if selected().is_some() {
        return "bmi2";
    }
    "portable"
}
