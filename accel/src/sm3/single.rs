//! One message: the choice between the compression functions for a single stream.

use super::BLOCK_BYTES;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{bmi2, ni};
#[cfg(target_arch = "x86_64")]
use crate::cpu::{Bmi2, Sm3Ni};
use std::sync::OnceLock;

/// The compression functions, best first.
#[derive(Clone, Copy, Debug)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Ni(Sm3Ni),
    #[cfg(target_arch = "x86_64")]
    Bmi2(Bmi2),
    Portable,
}

static SELECTED: OnceLock<Kernel> = OnceLock::new();

#[cfg(target_arch = "x86_64")]
fn select() -> Kernel {
    if let Some(token) = Sm3Ni::selected() {
        return Kernel::Ni(token);
    }
    Bmi2::selected().map_or(Kernel::Portable, Kernel::Bmi2)
}

#[cfg(not(target_arch = "x86_64"))]
fn select() -> Kernel {
    Kernel::Portable
}

/// Folds whole blocks into the state.
pub(super) fn compress(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    match *SELECTED.get_or_init(select) {
        #[cfg(target_arch = "x86_64")]
        Kernel::Ni(token) => ni::compress(token, state, blocks),
        #[cfg(target_arch = "x86_64")]
        Kernel::Bmi2(token) => bmi2::compress(token, state, blocks),
        Kernel::Portable => portable::compress(state, blocks),
    }
}

pub(super) fn kernel_name() -> &'static str {
    match *SELECTED.get_or_init(select) {
        #[cfg(target_arch = "x86_64")]
        Kernel::Ni(_) => "sm3ni",
        #[cfg(target_arch = "x86_64")]
        Kernel::Bmi2(_) => "bmi2",
        Kernel::Portable => "portable",
    }
}
