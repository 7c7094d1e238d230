//! Kernels for SM2, SM3 and SM4.

pub mod sm3;
