//! Which kernel serves which operation in this process.
//!
//! A kernel for an instruction set takes a *token*: a value that exists only if this processor was found to have it. Tokens stand on
//! rungs of a ladder, [`Limit`]: `BIXI_CPU` names the highest rung to use and is read once, by [`configure_from_env`], so that
//! a library call never reads the environment by surprise. `Token::new` asks the processor only; `Token::selected`, which the
//! dispatchers use, asks the limit as well.

mod tokens;
mod vendor;

use std::sync::OnceLock;

pub use tokens::Portable;
#[cfg(target_arch = "x86_64")]
pub use tokens::{
    AesNi, Avx2, Bmi2, Bmi2Adx, Gfni256, Gfni512, Ifma512, Int512, Pclmul, Sm3Ni, Sm4Ni, Vpclmul256, Vpclmul512,
};
#[cfg(target_arch = "aarch64")]
pub use tokens::{Neon, NeonAes, NeonSm};
pub use vendor::Vendor;

/// The variable [`configure_from_env`] reads.
pub const OVERRIDE_VARIABLE: &str = "BIXI_CPU";

/// Upper bound on the instruction sets used. Higher rungs include the lower ones of the same architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Limit {
    /// Portable code only.
    Portable,
    /// x86-64-v2 with carry-less multiplication and AES, on 128-bit registers.
    Sse,
    /// x86-64-v3 with carry-less multiplication and AES: what every server of the last ten years has.
    Avx2,
    /// GFNI and VPCLMULQDQ on 256-bit registers.
    Gfni,
    /// AVX-512 with GFNI, VPCLMULQDQ and IFMA.
    Avx512,
    /// NEON alone: Armv8.0.
    Neon,
    /// NEON with AES and PMULL: Kunpeng 920 and most servers.
    Aes,
    /// The SM3 and SM4 instructions of Armv8.2: Phytium, newer Kunpeng.
    Sm,
    /// The best this processor has: the instructions made for SM3 too.
    Best,
}

impl Limit {
    /// Every rung with the name `BIXI_CPU` calls it by and the architecture it belongs to, if to one.
    const NAMES: [(&'static str, Self, Option<&'static str>); 9] = [
        ("portable", Self::Portable, None),
        ("sse", Self::Sse, Some("x86_64")),
        ("avx2", Self::Avx2, Some("x86_64")),
        ("gfni", Self::Gfni, Some("x86_64")),
        ("avx512", Self::Avx512, Some("x86_64")),
        ("neon", Self::Neon, Some("aarch64")),
        ("aes", Self::Aes, Some("aarch64")),
        ("sm", Self::Sm, Some("aarch64")),
        ("best", Self::Best, None),
    ];

    /// The rungs of this architecture's ladder, lowest first, as `BIXI_CPU` calls them.
    pub fn rungs() -> impl Iterator<Item = &'static str> {
        Self::here().map(|(name, _)| name)
    }

    fn here() -> impl Iterator<Item = (&'static str, Self)> {
        let here = |owner: Option<&str>| owner.is_none_or(|owner| owner == std::env::consts::ARCH);
        Self::NAMES.into_iter().filter(move |(_, _, owner)| here(*owner)).map(|(name, rung, _)| (name, rung))
    }
}

/// The override cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The value of `BIXI_CPU` names no instruction set known here.
    #[error("{OVERRIDE_VARIABLE}={0} is not known: use {names}, or unset it", names = names())]
    Unknown(String),
    /// The rung belongs to another architecture.
    #[error("{OVERRIDE_VARIABLE}={0} is for {1}, and this is {here}: use {names}, or unset it", here = std::env::consts::ARCH, names = names())]
    Elsewhere(&'static str, &'static str),
    /// The choice was made earlier, by an explicit call or by the first operation.
    #[error("the instruction set is already chosen ({0:?}): configure it before the first operation")]
    AlreadyChosen(Limit),
}

static LIMIT: OnceLock<Limit> = OnceLock::new();

/// One operation and the kernel that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The operation, e.g. `sm4`.
    pub operation: &'static str,
    /// The kernel, named by instruction set.
    pub kernel: &'static str,
}

/// The values of `BIXI_CPU`, for a message.
fn names() -> String {
    Limit::rungs().collect::<Vec<_>>().join(", ")
}

/// Fixes the limit for the life of the process.
pub fn configure(limit: Limit) -> Result<(), CpuError> {
    check(limit)?;
    match LIMIT.set(limit) {
        Ok(()) => Ok(()),
        Err(_) if self::limit() == limit => Ok(()),
        Err(_) => Err(CpuError::AlreadyChosen(self::limit())),
    }
}

/// Reads `BIXI_CPU` and fixes the limit; unset means [`Limit::Best`]. Call it once at start.
pub fn configure_from_env() -> Result<(), CpuError> {
    match std::env::var(OVERRIDE_VARIABLE) {
        Err(std::env::VarError::NotPresent) => configure(Limit::Best),
        Err(std::env::VarError::NotUnicode(value)) => Err(CpuError::Unknown(value.to_string_lossy().into_owned())),
        Ok(value) => configure(parse(&value)?),
    }
}

/// The limit in force.
pub fn limit() -> Limit {
    *LIMIT.get_or_init(|| Limit::Best)
}

/// The kernel of each operation, for `doctor` and the start-up log.
pub fn selected() -> Vec<Selected> {
    let sm3 = crate::sm3::kernel_names();
    let sm4 = crate::sm4::kernel_names();
    [
        ("sm3", sm3.single),
        ("sm3.many", sm3.many),
        ("sm4", sm4.cipher),
        ("sm4.ghash", sm4.ghash),
        ("sm2.field", crate::sm2::field_kernel_name()),
        ("sm2.verify_batch", crate::sm2::batch_kernel_name()),
        ("sm2.sign_batch", crate::sm2::sign_batch_kernel_name()),
        ("sm2.multiply_batch", crate::sm2::sign_batch_kernel_name()),
    ]
    .map(|(operation, kernel)| Selected { operation, kernel })
    .to_vec()
}

fn parse(value: &str) -> Result<Limit, CpuError> {
    if value.is_empty() {
        return Ok(Limit::Best);
    }
    let rung = Limit::NAMES.iter().find(|(name, ..)| *name == value);
    let (_, limit, _) = rung.ok_or_else(|| CpuError::Unknown(value.to_owned()))?;
    check(*limit).map(|()| *limit)
}

/// Refuses rungs of other architectures: what a limit means here would be a guess.
fn check(limit: Limit) -> Result<(), CpuError> {
    match Limit::NAMES.iter().find(|(_, rung, _)| *rung == limit) {
        Some((name, _, Some(owner))) if *owner != std::env::consts::ARCH => Err(CpuError::Elsewhere(name, owner)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn override_values_are_checked() {
        for (name, limit) in Limit::here() {
            assert_eq!(parse(name), Ok(limit));
        }
        assert!(Limit::NAMES.is_sorted_by_key(|(_, limit, _)| *limit), "rungs in order");
        assert_eq!(parse(""), Ok(Limit::Best));
        let error = parse("avx9000").expect_err("no such set");
        let text = error.to_string();
        assert!(text.contains("avx9000") && Limit::rungs().all(|name| text.contains(name)), "{text}");
    }

    #[test]
    fn rungs_of_another_architecture_are_refused_by_name() {
        let foreign = |owner: Option<&str>| owner.is_some_and(|owner| owner != std::env::consts::ARCH);
        let mut refused = 0;
        for (name, limit, owner) in Limit::NAMES.into_iter().filter(|(_, _, owner)| foreign(*owner)) {
            let error = parse(name).expect_err("not of this ladder");
            assert_eq!(configure(limit), Err(error.clone()));
            let text = error.to_string();
            assert!(text.contains(name) && text.contains(owner.expect("filtered")), "{text}");
            assert!(Limit::rungs().all(|rung| rung != name && text.contains(rung)), "{text}");
            refused += 1;
        }
        assert!(refused >= 3, "{refused}");
    }

    #[test]
    fn the_choice_is_made_once() {
        let first = limit();
        assert_eq!(configure(first), Ok(()));
        let other = if first == Limit::Best { Limit::Portable } else { Limit::Best };
        assert_eq!(configure(other), Err(CpuError::AlreadyChosen(first)));
        assert_eq!(limit(), first);
    }

    #[test]
    fn every_operation_names_its_kernel() {
        assert!(Portable::new().is_some());
        assert!(selected().iter().all(|s| !s.operation.is_empty() && !s.kernel.is_empty()));
    }
}
