//! Reproducible bytes for tests and examples. Only dependencies of tests turn the feature `seeded` on.

use crate::{Random, RandomError, sm3};

/// A generator whose bytes follow from its seed alone, each filling other bytes: for what must repeat, never for a secret.
#[derive(Clone, Debug)]
pub struct Seeded {
    seed: u64,
    fillings: u64,
}

impl Seeded {
    /// The generator of this seed; no two seeds share bytes.
    pub const fn new(seed: u64) -> Self {
        Self { seed, fillings: 0 }
    }

    /// The next bytes.
    pub fn bytes<const BYTES: usize>(&mut self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        self.draw(&mut bytes);
        bytes
    }

    fn draw(&mut self, out: &mut [u8]) {
        let mut input = [0; 16];
        input[..8].copy_from_slice(&self.seed.to_be_bytes());
        input[8..].copy_from_slice(&self.fillings.to_be_bytes());
        self.fillings += 1;
        sm3::kdf(&input, out);
    }
}

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        self.draw(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_follow_from_the_seed_and_never_repeat() {
        let (mut one, mut again, mut other) = (Seeded::new(1), Seeded::new(1), Seeded::new(2));
        let first: [u8; 40] = one.bytes();
        assert_eq!(first, again.bytes());
        assert_ne!(first, one.bytes());
        assert_ne!(first, other.bytes());
        let mut filled = [0; 40];
        Seeded::new(1).fill(&mut filled).unwrap();
        assert_eq!(first, filled);
    }
}
