//! Which kernel serves which operation in this process.
//!
//! A kernel for an instruction set takes a *token*: a value that exists only if this processor was found to have it.
//! [`Portable`] always exists. `BIXI_CPU` names the best set to use (`portable`, or `best`, the default); it is read once, by
//! [`configure_from_env`], so that a library call never reads the environment by surprise.

use std::sync::OnceLock;

/// The variable [`configure_from_env`] reads.
pub const OVERRIDE_VARIABLE: &str = "BIXI_CPU";

/// Proof that portable code may run, which is always.
#[derive(Clone, Copy, Debug)]
pub struct Portable {
    _private: (),
}

impl Portable {
    /// The token; never `None`.
    pub fn new() -> Option<Self> {
        Some(Self { _private: () })
    }
}

/// Proof that this processor and its operating system run AVX-512 F and BW with GFNI.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Gfni512 {
    _private: (),
}

#[cfg(target_arch = "x86_64")]
impl Gfni512 {
    /// The token, if the instructions are there. Whether to use them is [`limit`]'s question.
    pub fn new() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("gfni");
        found.then_some(Self { _private: () })
    }
}

/// Proof that this processor multiplies without carries (PCLMULQDQ).
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Pclmul {
    _private: (),
}

#[cfg(target_arch = "x86_64")]
impl Pclmul {
    /// The token, if the instruction is there.
    pub fn new() -> Option<Self> {
        is_x86_feature_detected!("pclmulqdq").then_some(Self { _private: () })
    }
}

/// Upper bound on the instruction sets used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// The best this processor has.
    Best,
    /// Portable code only.
    Portable,
}

/// The override cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The value of `BIXI_CPU` names no instruction set known here.
    #[error("{OVERRIDE_VARIABLE}={0} is not known: use `best` or `portable`, or unset it")]
    Unknown(String),
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

/// Fixes the limit for the life of the process.
pub fn configure(limit: Limit) -> Result<(), CpuError> {
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
    let sm4 = crate::sm4::kernel_names();
    [
        ("sm3", "portable"),
        ("sm3.many", "portable"),
        ("sm4", sm4.cipher),
        ("sm4.ghash", sm4.ghash),
        ("sm2.field", "portable"),
        ("sm2.verify_batch", "portable"),
    ]
    .map(|(operation, kernel)| Selected { operation, kernel })
    .to_vec()
}

fn parse(value: &str) -> Result<Limit, CpuError> {
    match value {
        "" | "best" => Ok(Limit::Best),
        "portable" => Ok(Limit::Portable),
        other => Err(CpuError::Unknown(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn override_values_are_checked() {
        assert_eq!(parse("portable"), Ok(Limit::Portable));
        assert_eq!(parse(""), Ok(Limit::Best));
        let error = parse("avx9000").expect_err("no such set");
        assert!(error.to_string().contains("avx9000") && error.to_string().contains("portable"));
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
