//! Randomness for keys, nonces and salts: the operating system's generator, handed to accel through its trait.

use bixi_accel::{Random, RandomError};
use bixi_platform::random::OsRandom;
use cryptoki_sys::CKR_FUNCTION_FAILED;

use crate::error::{CkError, CkResult};

/// The operating system's generator as accel wants it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        OsRandom.fill(out).map_err(|error| RandomError::new(error.to_string()))
    }
}

/// Fill `out`, or refuse the operation that needed it.
pub(crate) fn fill(out: &mut [u8]) -> CkResult<()> {
    OsRandom.fill(out).map_err(|_| CkError(CKR_FUNCTION_FAILED))
}

/// An array of random bytes.
pub(crate) fn array<const N: usize>() -> CkResult<[u8; N]> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}
