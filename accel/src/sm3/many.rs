//! Many messages: the choice between the kernels of several lanes.

use super::lanes::{Messages, Start, digest_all, digest_alone};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
#[cfg(target_arch = "x86_64")]
use crate::cpu::{Avx2, Int512};

/// Digests of all messages, each appended to what `start` stands for.
pub(super) fn digests(start: &Start, messages: &impl Messages, out: &mut [[u8; 32]]) {
    assert_eq!(messages.count(), out.len(), "one digest per message");
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = Int512::selected() {
        return digest_all(&mut avx512::Lanes::new(token), start, messages, out);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = Avx2::selected() {
        return digest_all(&mut avx2::Lanes::new(token), start, messages, out);
    }
    digest_alone(start, messages, out);
}

pub(super) fn kernel_name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if Int512::selected().is_some() {
        return "avx512";
    }
    #[cfg(target_arch = "x86_64")]
    if Avx2::selected().is_some() {
        return "avx2";
    }
    super::single::kernel_name()
}
