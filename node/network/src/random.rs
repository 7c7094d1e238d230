//! The operating system's generator, as rustls and accel ask for it.

use bixi_platform::random::OsRandom;
use rustls::crypto::{GetRandomFailed, SecureRandom};

/// The operating system's generator.
#[derive(Debug)]
pub(crate) struct System;

impl SecureRandom for System {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        OsRandom.fill(buffer).map_err(|_| GetRandomFailed)
    }
}

impl bixi_accel::Random for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), bixi_accel::RandomError> {
        OsRandom.fill(out).map_err(|error| bixi_accel::RandomError::new(error.to_string()))
    }
}
