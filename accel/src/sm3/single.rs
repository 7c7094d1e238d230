//! One message: the choice between the compression functions for a single stream.

use super::BLOCK_BYTES;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx512::stream, bmi2};
#[cfg(target_arch = "x86_64")]
use crate::cpu::{Bmi2, Int512};
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

/// What this process may use; a vector unit only with [`Bmi2`].
#[cfg(target_arch = "x86_64")]
static SELECTED: OnceLock<Option<(Bmi2, Option<Int512>)>> = OnceLock::new();

#[cfg(target_arch = "x86_64")]
fn selected() -> Option<(Bmi2, Option<Int512>)> {
    *SELECTED.get_or_init(|| Bmi2::selected().map(|bmi2| (bmi2, Int512::selected())))
}

/// Folds whole blocks into the state.
pub(super) fn compress(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    #[cfg(target_arch = "x86_64")]
    match selected() {
        Some((bmi2, Some(int512))) if blocks.len() >= stream::BLOCKS_MIN => {
            return stream::compress((int512, bmi2), state, blocks);
        }
        Some((token, _)) => return bmi2::compress(token, state, blocks),
        None => {}
    }
    portable::compress(state, blocks);
}

pub(super) fn kernel_name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match selected() {
        Some((_, Some(_))) => return "bmi2+avx512",
        Some((_, None)) => return "bmi2",
        None => {}
    }
    "portable"
}
