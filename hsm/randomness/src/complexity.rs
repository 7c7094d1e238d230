//! Linear complexity test (GM/T 0005-2021 5.13): how long a shift register makes each block.
//!
//! Berlekamp and Massey's algorithm decides by a coin flip at every bit, so one block at a time is slow. Here 64 blocks go side by side:
//! word i holds coefficient i of 64 polynomials, one in each bit, and a decision is a mask.

use crate::Sample;
use crate::runs::categories;

/// Shares of T in (−∞, −2.5], (−2.5, −1.5], … (2.5, ∞).
const SHARES: [f64; 7] = [0.010_417, 0.031_25, 0.125, 0.5, 0.25, 0.062_5, 0.020_833];
/// Blocks side by side.
const LANES: usize = 64;

/// 5.13 with blocks of `block_bits`, an even number of at least 200.
///
/// For such blocks T = L − μ + 2/9 is L − m/2 but for (m/3 + 2/9) / 2^m, which is below every double's resolution. (μ is that of NIST
/// SP 800-22 and of later implementations; some of the edition of 2012 have (9 + (−1)^m) / 36 in it, which moves no T to another category.)
pub(crate) fn linear_complexity(sample: &Sample, block_bits: usize) -> (f64, f64) {
    debug_assert!(block_bits.is_multiple_of(2) && (200..=u16::MAX as usize).contains(&block_bits));
    let blocks = sample.bits() / block_bits;
    let mut registers = Registers::new(block_bits);
    let mut counts = [0; SHARES.len()];
    for first in (0..blocks).step_by(LANES) {
        let lanes = LANES.min(blocks - first);
        registers.load((0..lanes).map(|lane| (first + lane) * block_bits), |index| sample.bit(index));
        for length in &registers.shortest()[..lanes] {
            let beyond = i64::from(*length) - block_bits as i64 / 2;
            counts[(beyond.clamp(-3, 3) + 3) as usize] += 1;
        }
    }
    categories(&counts, &SHARES, blocks)
}

/// The shortest registers of 64 blocks.
struct Registers {
    block_bits: usize,
    /// The blocks, the last bit first, so that the bits before some bit follow it.
    backward: Vec<u64>,
    /// Connection polynomials.
    connection: Vec<u64>,
    /// Those before the last change of length times x^(steps since). A step moves the place of coefficient 0 down by one.
    previous: Vec<u64>,
}

impl Registers {
    fn new(block_bits: usize) -> Self {
        let words = |count: usize| vec![0; count];
        Self {
            block_bits,
            backward: words(block_bits),
            connection: words(block_bits + 1),
            previous: words(2 * block_bits + 1),
        }
    }

    /// Takes the blocks that begin at `begins`, one a lane; lanes without one hold zeros.
    fn load(&mut self, begins: impl Iterator<Item = usize>, bit: impl Fn(usize) -> bool) {
        self.backward.fill(0);
        for (lane, begin) in begins.enumerate() {
            for (place, word) in self.backward.iter_mut().rev().enumerate() {
                *word |= u64::from(bit(begin + place)) << lane;
            }
        }
    }

    /// The lengths of the shortest registers that make the blocks.
    fn shortest(&mut self) -> [u16; LANES] {
        let bits = self.block_bits;
        self.connection.fill(0);
        self.previous.fill(0);
        self.connection[0] = u64::MAX;
        self.previous[bits] = u64::MAX;
        let mut lengths = [0; LANES];
        let mut longest = 0;
        for step in 0..bits {
            // No connection polynomial has a degree above its register's length.
            let seen = &self.backward[bits - 1 - step..];
            let pairs = self.connection[..=longest].iter().zip(seen);
            let discrepant = pairs.fold(0, |sum, (coefficient, bit)| sum ^ (coefficient & bit));
            let grown = grow(&mut lengths, step as u16, discrepant);
            longest = usize::from(lengths.into_iter().max().unwrap_or_default());
            // A register that grows takes its old polynomial for the previous one, whose degree is at most the new length.
            let previous = &mut self.previous[bits - 1 - step..];
            for (coefficient, previous) in self.connection[..=longest].iter_mut().zip(previous) {
                let old = *coefficient;
                *coefficient ^= discrepant & *previous;
                *previous ^= grown & (*previous ^ old);
            }
        }
        lengths
    }
}

/// Makes registers of lanes in `discrepant` longer that are too short to be corrected, and tells which.
fn grow(lengths: &mut [u16; LANES], step: u16, discrepant: u64) -> u64 {
    let mut grown = 0;
    for (lane, length) in lengths.iter_mut().enumerate() {
        let is_short = *length <= step / 2;
        let grows = discrepant >> lane & u64::from(is_short);
        grown |= grows << lane;
        *length = if grows == 1 { step + 1 - *length } else { *length };
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of blocks that all have the length of the first.
    fn lengths(blocks: &[Vec<bool>]) -> Vec<u16> {
        let bits = blocks[0].len();
        let mut registers = Registers::new(bits);
        registers.load((0..blocks.len()).map(|block| block * bits), |index| blocks[index / bits][index % bits]);
        registers.shortest()[..blocks.len()].to_vec()
    }

    /// One block at a time, as the algorithm is written down everywhere.
    fn length_alone(block: &[bool]) -> u16 {
        let (mut connection, mut previous) = (vec![true], vec![true]);
        let (mut length, mut since) = (0, 1);
        for step in 0..block.len() {
            let is_set = |place: &usize| connection.get(*place) == Some(&true) && block[step - place];
            let discrepancy = (0..=length.min(step)).filter(is_set).count() % 2 == 1;
            if !discrepancy {
                since += 1;
                continue;
            }
            let old = connection.clone();
            connection.resize(connection.len().max(previous.len() + since), false);
            previous.iter().enumerate().for_each(|(place, bit)| connection[place + since] ^= bit);
            if 2 * length <= step {
                (length, since, previous) = (step + 1 - length, 1, old);
            } else {
                since += 1;
            }
        }
        length as u16
    }

    /// NIST SP 800-22 2.10.8 works this block out: 1101011110001 has length 4.
    #[test]
    fn the_published_example_has_length_four() {
        let bits: Vec<bool> = "1101011110001".bytes().map(|digit| digit == b'1').collect();
        assert_eq!(length_alone(&bits), 4);
        assert_eq!(lengths(&[bits]), [4]);
    }

    #[test]
    fn a_register_is_found_and_constants_have_none() {
        let mut register: Vec<bool> = (0..67).map(|index| index % 3 == 0 || index == 66).collect();
        while register.len() < 400 {
            let n = register.len();
            register.push(register[n - 67] ^ register[n - 65] ^ register[n - 50] ^ register[n - 49]);
        }
        let last = (0..400).map(|index| index == 399).collect();
        assert_eq!(lengths(&[register, vec![false; 400], vec![true; 400], last]), [67, 0, 1, 400]);
    }

    #[test]
    fn side_by_side_finds_what_one_at_a_time_finds() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 63 == 1
        };
        let blocks: Vec<Vec<bool>> = (0..LANES).map(|_| (0..200).map(|_| next()).collect()).collect();
        let alone: Vec<u16> = blocks.iter().map(|block| length_alone(block)).collect();
        assert_eq!(lengths(&blocks), alone);
    }

    #[test]
    fn registers_forget_the_blocks_before() {
        let mut used = Registers::new(256);
        used.load(0..64, |index| index * index % 7 < 3);
        used.shortest();
        let bit = |index: usize| (index.wrapping_mul(2_654_435_761)) >> 7 & 1 == 1;
        let mut fresh = Registers::new(256);
        used.load(0..3, bit);
        fresh.load(0..3, bit);
        assert_eq!(used.shortest(), fresh.shortest());
    }
}
