//! Is it faster? Both sides do the same work on this machine, in this process, at every size, and the shortest run counts.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bixi_accel::workload::pattern;
use bixi_hsm::DeviceError;

use crate::accelerator::Accelerator;
use crate::selftest::Signed;
use crate::{Operation, ours};

/// Sizes that are measured, in bytes: a record, a page, a batch's part, a snapshot's piece.
pub const BYTES: [usize; 4] = [64, 4096, 65536, 1 << 20];

/// By how much an accelerator must be faster, of our time, to be worth the risk.
pub const MARGIN_PERCENT: u64 = 10;

/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// accel.
    Ours,
    /// The engine or provider.
    Theirs,
}

/// Measures a call.
pub trait Clock {
    /// Nanoseconds of the shortest run of `call`.
    fn shortest_ns(&mut self, side: Side, operation: Operation, bytes: usize, call: &mut dyn FnMut()) -> u64;
}

/// The clock of this machine: runs until a budget is spent, and at least [`RUNS_MIN`] times.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    /// For one operation of one side at one size.
    pub budget: Duration,
}

/// Runs of a call at least.
pub const RUNS_MIN: u32 = 5;

impl Default for Stopwatch {
    /// Some 200 ms for everything; more where a call takes more than a millisecond.
    fn default() -> Self {
        Self { budget: Duration::from_millis(4) }
    }
}

impl Clock for Stopwatch {
    fn shortest_ns(&mut self, _: Side, _: Operation, _: usize, call: &mut dyn FnMut()) -> u64 {
        let begun = Instant::now();
        let mut shortest = Duration::MAX;
        let mut runs = 0;
        while runs < RUNS_MIN || begun.elapsed() < self.budget {
            let start = Instant::now();
            call();
            shortest = shortest.min(start.elapsed());
            runs += 1;
        }
        u64::try_from(shortest.as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// Both times at one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Input of the call; of SM2 a digest, whose size says nothing.
    pub bytes: usize,
    /// Nanoseconds of one call.
    pub ours_ns: u64,
    /// Nanoseconds of one call.
    pub theirs_ns: u64,
}

impl Cell {
    /// Whether theirs wins by the margin.
    pub fn is_faster(&self) -> bool {
        u128::from(self.theirs_ns) * u128::from(100 + MARGIN_PERCENT) <= u128::from(self.ours_ns) * 100
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The accelerator does not have it.
    NotOffered,
    /// The configuration leaves it out.
    NotWanted,
    /// It failed, or lied.
    Refused(DeviceError),
    /// It is right, and not faster.
    Slower,
    /// It is right and faster, for inputs of at least so many bytes.
    From(usize),
    /// It is right and was measured; a node does not use it (SM2 verification).
    MeasuredOnly,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("not offered"),
            Self::NotWanted => f.write_str("not in accelerator.operations"),
            Self::Refused(error) => write!(f, "REFUSED: {error}"),
            Self::Slower => write!(f, "ours: theirs is not {MARGIN_PERCENT} % faster"),
            Self::From(bytes) => write!(f, "theirs from {bytes} bytes"),
            Self::MeasuredOnly => f.write_str("ours: never used for signatures"),
        }
    }
}

/// The size from which on the accelerator wins at every larger size.
pub fn faster_from(cells: &[Cell]) -> Option<usize> {
    cells.iter().rev().take_while(|cell| cell.is_faster()).last().map(|cell| cell.bytes)
}

/// Both sides of `operation` at every size.
///
/// # Errors
/// What the accelerator says when it fails.
pub fn measure(
    accelerator: &Accelerator,
    operation: Operation,
    clock: &mut dyn Clock,
) -> Result<Vec<Cell>, DeviceError> {
    if operation == Operation::Sm2Verify {
        return Ok(vec![verification(accelerator, clock)?]);
    }
    BYTES.into_iter().map(|bytes| cell(accelerator, operation, bytes, clock)).collect()
}

fn cell(
    accelerator: &Accelerator,
    operation: Operation,
    bytes: usize,
    clock: &mut dyn Clock,
) -> Result<Cell, DeviceError> {
    const BLOCK: [u8; 16] = [7; 16];
    let (input, mut output, mut digest) = (pattern(bytes), vec![0; bytes], [[0; 32]]);
    let ours_ns = clock.shortest_ns(Side::Ours, operation, bytes, &mut || match operation {
        Operation::Sm3 => ours::sm3_many(&[black_box(&input)], &mut digest),
        cipher => ours::sm4(cipher, &BLOCK, &BLOCK, black_box(&input), &mut output),
    });
    let mut answer = Ok(());
    let theirs_ns = clock.shortest_ns(Side::Theirs, operation, bytes, &mut || {
        let done = match operation {
            Operation::Sm3 => accelerator.sm3_many(&[black_box(&input)], &mut digest),
            cipher => accelerator.sm4(cipher, &BLOCK, &BLOCK, black_box(&input), &mut output),
        };
        answer = std::mem::replace(&mut answer, Ok(())).and(done);
    });
    answer.map(|()| Cell { bytes, ours_ns, theirs_ns })
}

fn verification(accelerator: &Accelerator, clock: &mut dyn Clock) -> Result<Cell, DeviceError> {
    let (operation, bytes) = (Operation::Sm2Verify, 32);
    let Signed { public, digest, signature } = Signed::make(0);
    let der = signature.to_der();
    let ours_ns = clock.shortest_ns(Side::Ours, operation, bytes, &mut || {
        black_box(ours::sm2_verify(black_box(&public), &digest, &der));
    });
    let mut answer = Ok(true);
    let theirs_ns = clock.shortest_ns(Side::Theirs, operation, bytes, &mut || {
        let done = accelerator.sm2_verify(black_box(&public), &digest, &der);
        answer = std::mem::replace(&mut answer, Ok(true)).and(done);
    });
    answer.map(|_| Cell { bytes, ours_ns, theirs_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(ns: [(u64, u64); 4]) -> Vec<Cell> {
        BYTES.into_iter().zip(ns).map(|(bytes, (ours_ns, theirs_ns))| Cell { bytes, ours_ns, theirs_ns }).collect()
    }

    #[test]
    fn an_accelerator_wins_from_the_size_above_which_it_is_always_faster() {
        let table = [
            ([(1000, 100), (1000, 100), (1000, 100), (1000, 100)], Some(64)),
            ([(100, 1000), (1000, 100), (1000, 100), (1000, 100)], Some(4096)),
            ([(1000, 100), (1000, 100), (100, 1000), (1000, 100)], Some(1 << 20)),
            ([(1000, 100), (1000, 100), (1000, 100), (100, 1000)], None),
            ([(100, 1000), (100, 1000), (100, 1000), (100, 1000)], None),
        ];
        for (ns, expected) in table {
            assert_eq!(faster_from(&cells(ns)), expected, "{ns:?}");
        }
        assert_eq!(faster_from(&[]), None);
    }

    #[test]
    fn a_tie_and_less_than_the_margin_are_not_faster() {
        let cell = |ours_ns, theirs_ns| Cell { bytes: 64, ours_ns, theirs_ns };
        assert!(!cell(1000, 1000).is_faster());
        assert!(!cell(1000, 910).is_faster());
        assert!(cell(1000, 909).is_faster());
        assert!(!cell(u64::MAX, u64::MAX).is_faster());
    }
}
