//! One message: the choice between the compression functions for a single stream.

use super::BLOCK_BYTES;
#[cfg(target_arch = "aarch64")]
use super::armv8;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{bmi2, ni};
#[cfg(target_arch = "aarch64")]
use crate::cpu::NeonSm;
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
    #[cfg(target_arch = "aarch64")]
    Armv8(NeonSm),
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

#[cfg(target_arch = "aarch64")]
fn select() -> Kernel {
    NeonSm::selected().map_or(Kernel::Portable, Kernel::Armv8)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
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
        #[cfg(target_arch = "aarch64")]
        Kernel::Armv8(token) => armv8::compress(token, state, blocks),
        Kernel::Portable => portable::compress(state, blocks),
    }
}

pub(super) fn kernel_name() -> &'static str {
    match *SELECTED.get_or_init(select) {
        #[cfg(target_arch = "x86_64")]
        Kernel::Ni(_) => "sm3ni",
        #[cfg(target_arch = "x86_64")]
        Kernel::Bmi2(_) => "bmi2",
        #[cfg(target_arch = "aarch64")]
        Kernel::Armv8(_) => "armv8-sm3",
        Kernel::Portable => "portable",
    }
}
