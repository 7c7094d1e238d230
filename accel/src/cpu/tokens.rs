//! One type per set of instructions that a kernel needs.

use super::{Limit, limit};

/// Proof that portable code may run, which is always.
#[derive(Clone, Copy, Debug)]
pub struct Portable {
    _private: (),
}

impl Portable {
    /// The token, where it must be known when compiled.
    pub(crate) const TOKEN: Self = Self { _private: () };

    /// The token; never `None`.
    pub fn new() -> Option<Self> {
        Some(Self::TOKEN)
    }
}

/// Tokens for the processors `$arch`, whose instructions `$detect` finds.
macro_rules! tokens {
    ($arch:tt, $detect:ident; $($(#[$doc:meta])* $name:ident on $rung:ident: $($feature:tt),+;)+) => {$(
        $(#[$doc])*
        #[cfg(target_arch = $arch)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            _private: (),
        }

        #[cfg(target_arch = $arch)]
        impl $name {
            /// The token, if processor and operating system have the instructions.
            pub fn new() -> Option<Self> {
                let found = $(std::arch::$detect!($feature))&&+;
                found.then_some(Self { _private: () })
            }

            /// The token, if the instructions are there and [`limit`] allows their rung.
            pub fn selected() -> Option<Self> {
                if limit() >= Limit::$rung { Self::new() } else { None }
            }
        }
    )+};
}

tokens! {
    "x86_64", is_x86_feature_detected;
    /// Proof of AVX2.
    Avx2 on Avx2: "avx2";
    /// Proof of Intel's SM3 instructions.
    Sm3Ni on Best: "sm3", "avx", "ssse3";
    /// Proof of RORX and ANDN (BMI1 and BMI2) and of AVX.
    Bmi2 on Avx2: "avx", "bmi1", "bmi2";
    /// Proof of MULX, RORX and the two carry chains (BMI2 and ADX).
    Bmi2Adx on Avx2: "bmi1", "bmi2", "adx";
    /// Proof of AES-NI and SSSE3's byte shuffle.
    AesNi on Sse: "aes", "ssse3", "sse4.1";
    /// Proof of multiplication without carries, 128 bits wide.
    Pclmul on Sse: "pclmulqdq", "ssse3";
    /// Proof of GFNI on 256-bit registers.
    Gfni256 on Gfni: "avx2", "gfni";
    /// Proof of AVX-512 F and BW with GFNI.
    Gfni512 on Avx512: "avx512f", "avx512bw", "gfni";
    /// Proof of AVX-512's integer instructions: F, BW, DQ and VL.
    Int512 on Avx512: "avx512f", "avx512bw", "avx512dq", "avx512vl";
    /// Proof of 52-bit multiply-add and of permutations across two registers: F, BW, DQ, VL, VBMI and IFMA.
    Ifma512 on Avx512: "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512ifma";
    /// Proof of Intel's instructions for SM4, and of AVX2.
    Sm4Ni on Best: "avx2", "sm4";
    /// Proof of multiplication without carries on 256-bit registers.
    Vpclmul256 on Gfni: "avx2", "vpclmulqdq", "pclmulqdq";
    /// Proof of multiplication without carries on 512-bit registers.
    Vpclmul512 on Avx512: "avx512f", "avx512bw", "vpclmulqdq", "pclmulqdq";
}

tokens! {
    "aarch64", is_aarch64_feature_detected;
    /// Proof of NEON, which every Armv8-A processor has.
    Neon on Neon: "neon";
    /// Proof of AES's round and of multiplication without carries, 64 bits wide.
    NeonAes on Aes: "neon", "aes", "pmull";
    /// Proof of the SM3 and SM4 instructions of Armv8.2.
    NeonSm on Sm: "neon", "sm4";
}
