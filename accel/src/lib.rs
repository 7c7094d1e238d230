//! SM2, SM3 and SM4 as kernels: batch-first, constant time wherever a secret is touched, one implementation per
//! instruction set behind a CPU token and a portable one as the reference of all others.
//!
//! * [`sm3`]: GB/T 32905-2016 with HMAC, HKDF and the key derivation function of GB/T 32918.3.
//! * [`sm4`]: GB/T 32907-2016 with CBC, CTR, GCM (RFC 8998) and XTS (both tweak orders).
//! * [`sm2`]: GB/T 32918.2-2016 signatures: single, batched, and with tables for registered keys.
//! * [`memory`]: where expanded SM4 keys and tables of points are.
//! * [`cpu`]: which kernels this process uses; [`selftest`]: proof that they compute what they should.
//!
//! The crate performs no I/O, starts no thread and has no source of randomness: a [`Random`] is handed in.
#![deny(unsafe_code)]

pub mod cpu;
pub mod ct;
pub mod memory;
mod random;
#[cfg(any(test, feature = "seeded"))]
mod seeded;
pub mod selftest;
pub mod sm2;
pub mod sm3;
pub mod sm4;
#[cfg(target_arch = "x86_64")]
mod stack;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod transpose;
pub mod workload;

pub use random::{Random, RandomError};
#[cfg(any(test, feature = "seeded"))]
pub use seeded::Seeded;
