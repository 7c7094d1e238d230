//! Many messages: the choice between the kernels of several lanes.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::lanes::digest_all;
use super::lanes::{ALONE_MAX, Messages, Start, digest_alone};
use super::single;
#[cfg(target_arch = "aarch64")]
use super::{armv8, neon};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
#[cfg(target_arch = "x86_64")]
use crate::cpu::{Avx2, Int512, Sm3Ni};
#[cfg(target_arch = "aarch64")]
use crate::cpu::{Neon, NeonSm};

/// The kernels, best first.
#[derive(Clone, Copy, Debug)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512(Int512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Armv8(NeonSm),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// One message after the other.
    Single,
}

#[cfg(target_arch = "x86_64")]
fn select() -> Kernel {
    if let Some(token) = Int512::selected() {
        return Kernel::Avx512(token);
    }
    match (Sm3Ni::selected(), Avx2::selected()) {
        (None, Some(token)) => Kernel::Avx2(token),
        // Eight lanes without AVX-512's rotations gain nothing over instructions made for SM3.
        _ => Kernel::Single,
    }
}

#[cfg(target_arch = "aarch64")]
fn select() -> Kernel {
    match (NeonSm::selected(), Neon::selected()) {
        (Some(token), _) => Kernel::Armv8(token),
        (None, Some(token)) => Kernel::Neon(token),
        (None, None) => Kernel::Single,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn select() -> Kernel {
    Kernel::Single
}

/// Digests of all messages, each appended to what `start` stands for.
pub(super) fn digests(start: &Start, messages: &impl Messages, out: &mut [[u8; 32]]) {
    assert_eq!(messages.count(), out.len(), "one digest per message");
    if messages.count() <= ALONE_MAX {
        return digest_alone(start, messages, out);
    }
    match select() {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512(token) => digest_all(&mut avx512::Lanes::new(token), start, messages, out),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2(token) => digest_all(&mut avx2::Lanes::new(token), start, messages, out),
        #[cfg(target_arch = "aarch64")]
        Kernel::Armv8(token) => digest_all(&mut armv8::Lanes::new(token), start, messages, out),
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon(token) => digest_all(&mut neon::Lanes::new(token), start, messages, out),
        Kernel::Single => digest_alone(start, messages, out),
    }
}

pub(super) fn kernel_name() -> &'static str {
    match select() {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2(_) => "avx2",
        #[cfg(target_arch = "aarch64")]
        Kernel::Armv8(_) => "armv8-sm3",
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon(_) => "neon",
        Kernel::Single => single::kernel_name(),
    }
}
