//! The system's random bytes, as the kernels take them.

use bixi_accel::{Random, RandomError};
use bixi_platform::random::OsRandom;

/// Draws from the system's generator at each call.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        OsRandom.fill(out).map_err(|error| RandomError::new(error.to_string()))
    }
}
