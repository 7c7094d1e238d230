//! One plan for every kernel of a single stream: what portable gives.

use super::super::*;
use super::{bytes, skipped};

/// Runs the plan on `compress`.
pub(super) fn is_as_portable(name: &str, compress: impl Fn(&mut [u32; 8], &[[u8; BLOCK_BYTES]])) {
    let states = [IV, [0; 8], [u32::MAX; 8], core::array::from_fn(|i| 0x8000_0000 >> i), [0x7fff_ffff; 8]];
    let random = bytes(64 * 40 + 64);
    let ones = [0xff; 64 * 18];
    let zeros = [0; 64 * 18];
    for (start, data) in states.iter().flat_map(|state| [&random[..], &ones, &zeros].map(|data| (state, data))) {
        for offset in [0, 1, 7, 16, 33, 63] {
            let (blocks, _) = data[offset..].as_chunks();
            for count in 0..=blocks.len() {
                let (mut expected, mut state) = (*start, *start);
                portable::compress(&mut expected, &blocks[..count]);
                compress(&mut state, &blocks[..count]);
                assert_eq!(state, expected, "{name}: {count} blocks from offset {offset}, state {start:x?}");
            }
        }
    }
}

#[test]
fn the_selected_kernel_is_as_portable() {
    is_as_portable(single::kernel_name(), single::compress);
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::*;
    use crate::cpu::{Bmi2, Sm3Ni};

    #[test]
    fn bmi2_is_as_portable() {
        let Some(token) = Bmi2::new() else { return skipped("bmi2") };
        is_as_portable("bmi2", |state, blocks| bmi2::compress(token, state, blocks));
    }

    #[test]
    fn sm3ni_is_as_portable() {
        let Some(token) = Sm3Ni::new() else { return skipped("sm3ni") };
        is_as_portable("sm3ni", |state, blocks| ni::compress(token, state, blocks));
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::*;
    use crate::cpu::NeonSm;

    #[test]
    fn armv8_is_as_portable() {
        let Some(token) = NeonSm::new() else { return skipped("armv8-sm3") };
        is_as_portable("armv8-sm3", |state, blocks| armv8::compress(token, state, blocks));
    }
}
